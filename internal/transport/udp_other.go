//go:build !linux

package transport

import (
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
)

// listenGroup opens a socket for the group's port. Other daemons on this host
// can do the same.
func listenGroup(group netip.AddrPort, ifi *net.Interface) (groupSocket, error) {
	return net.ListenMulticastUDP("udp4", ifi, net.UDPAddrFromAddrPort(group))
}

// setBuffer asks for a socket buffer. What was given cannot be read back
// portably: an error says that it was not what was asked for.
func setBuffer(s syscall.Conn, receive bool, size int) (int, error) {
	c := s.(*net.UDPConn)
	if receive {
		return size, c.SetReadBuffer(size)
	}
	return size, c.SetWriteBuffer(size)
}

// withGroup calls f with the group's socket.
func withGroup(s groupSocket, f func(*ipv4.PacketConn) error) error {
	return f(ipv4.NewPacketConn(s.(*net.UDPConn)))
}

// waiter ends reading by closing the group's socket, which the runtime's poller
// knows.
type waiter struct{ s groupSocket }

func newWaiter(s groupSocket) (*waiter, error) { return &waiter{s}, nil }

func (w *waiter) stop() { w.s.Close() }

func (*waiter) close() {}

func bufferSysctl(bool) string { return "kern.ipc.maxsockbuf" }

func dropped(syscall.Conn) uint32 { return 0 }

func queued(syscall.RawConn) int { return 0 }

func canSegment(syscall.Conn) bool { return false }

func coalesce(syscall.Conn) bool { return false }

// batch reads packets from one socket, one at a time.
type batch struct {
	c    *net.UDPConn
	slot int
	last datagram
}

func newBatch(c syscall.Conn, slot int, _ bool, _ *waiter) (*batch, error) {
	return &batch{c: c.(*net.UDPConn), slot: slot}, nil
}

// read reads one packet into slab, which has more than one slot at the first
// read; there is no further one.
func (b *batch) read(slab []byte, _ []*spill, _ int, wait bool) (int, time.Time, error) {
	if !wait {
		return 0, time.Time{}, nil
	}
	// One byte more than a slot tells a packet that is cut off.
	n, from, err := b.c.ReadFromUDPAddrPort(slab[:min(b.slot+1, len(slab))])
	if err != nil {
		return 0, time.Time{}, err
	}
	b.last = datagram{size: n, from: netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), cut: n > b.slot}
	return 1, time.Now(), nil
}

func (b *batch) datagram(int) datagram { return b.last }

// outBatch writes packets to one socket, one at a time.
type outBatch struct {
	c   *net.UDPConn
	dst netip.AddrPort
}

func newOutBatch(_ syscall.RawConn, c *net.UDPConn) *outBatch { return &outBatch{c: c} }

func (b *outBatch) to(dst netip.AddrPort) { b.dst = dst }

func (b *outBatch) send(runs []run) (int, error) {
	for i, r := range runs {
		if _, err := b.c.WriteToUDPAddrPort(r.data, b.dst); err != nil {
			return i, err
		}
	}
	return len(runs), nil
}
