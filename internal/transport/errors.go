package transport

import (
	"errors"
	"net"
	"syscall"
)

// SendErrors counts packets that could not be sent, by cause.
type SendErrors struct {
	NoBuffers   uint64 // the device's queue stayed full
	Unreachable uint64 // no route, or the interface is down or gone
	Refused     uint64 // a firewall of this host forbids it
	TooBig      uint64 // larger than the interface carries
	Closed      uint64 // the connection was closed
	Other       uint64
}

// Total returns the sum of all causes.
func (e *SendErrors) Total() uint64 {
	return e.NoBuffers + e.Unreachable + e.Refused + e.TooBig + e.Closed + e.Other
}

// add counts n packets that failed for err.
func (e *SendErrors) add(err error, n uint64) {
	switch {
	case errors.Is(err, net.ErrClosed):
		e.Closed += n
	case isQueueFull(err):
		e.NoBuffers += n
	case isAny(err, syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.ENETDOWN, syscall.EHOSTDOWN,
		syscall.ENODEV, syscall.ENXIO, syscall.EADDRNOTAVAIL, syscall.EINVAL):
		e.Unreachable += n // EINVAL: the source address is no longer on this host
	case isAny(err, syscall.EPERM, syscall.EACCES):
		e.Refused += n
	case isAny(err, syscall.EMSGSIZE):
		e.TooBig += n
	default:
		e.Other += n
	}
}

// SegmentationError tells why packets are sent one by one though the kernel
// knows how to cut a train.
type SegmentationError struct {
	Interface string // name
	Err       error  // what the kernel or the device said
}

// Error names the interface and the cause.
func (e *SegmentationError) Error() string {
	return "segmented sending on interface " + e.Interface + " was refused: " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *SegmentationError) Unwrap() error { return e.Err }

// mayRefuseSegments reports whether a segmented send may have failed for being
// segmented: a device that computes no checksums says EIO, a kernel that does
// not know the message ENOPROTOOPT, EOPNOTSUPP or EINVAL, and one whose MTU the
// segments exceed EINVAL or EMSGSIZE. Most of them have other causes, too.
func mayRefuseSegments(err error) bool {
	return isAny(err, syscall.EIO, syscall.EINVAL, syscall.ENOPROTOOPT, syscall.EOPNOTSUPP, syscall.EMSGSIZE)
}

// isQueueFull reports whether a send failed because a queue below the socket
// is full, which passes by itself.
func isQueueFull(err error) bool { return isAny(err, syscall.ENOBUFS, syscall.EAGAIN, syscall.ENOMEM) }

// isRefused reports whether the other host said that nobody listens.
func isRefused(err error) bool { return isAny(err, syscall.ECONNREFUSED) }

func isAny(err error, causes ...syscall.Errno) bool {
	for _, c := range causes {
		if errors.Is(err, c) {
			return true
		}
	}
	return false
}

// errTooBig is what a network says of a packet larger than its MTU.
var errTooBig error = syscall.EMSGSIZE
