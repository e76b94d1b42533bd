package transport

import (
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is struct mmsghdr of recvmmsg(2) and sendmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// ancillary has room for one control message of up to eight bytes.
type ancillary struct {
	hdr  unix.Cmsghdr
	data [8]byte
}

// batch reads packets from one socket, many in one system call. It is used
// instead of ipv4.PacketConn.ReadBatch, which allocates every sender's address
// twice. It belongs to one goroutine.
type batch struct {
	raw      syscall.RawConn
	msgs     [maxBatch]mmsghdr
	iovs     [maxBatch][2]unix.Iovec // slot and spill
	names    [maxBatch]unix.RawSockaddrInet4
	controls [maxBatch]ancillary
	slot     int
	coalesce bool
	call     func(fd uintptr) bool
	waiter   *waiter // nil: the runtime's poller knows the socket
	fd       uintptr // with a waiter: open until the reader has ended

	// Of the call that is under way.
	want  int
	wait  bool
	ended bool
	n     int
	errno syscall.Errno
}

// newBatch returns a batch for packets of at most slot bytes.
func newBatch(c syscall.Conn, slot int, coalesce bool, w *waiter) (*batch, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	b := &batch{raw: raw, slot: slot, coalesce: coalesce, waiter: w}
	for i := range b.msgs {
		h := &b.msgs[i].hdr
		h.Name = (*byte)(unsafe.Pointer(&b.names[i]))
		h.Iov = &b.iovs[i][0]
		h.SetIovlen(1)
		b.iovs[i][0].SetLen(slot)
		if coalesce {
			h.SetIovlen(2)
			b.iovs[i][1].SetLen(spillSize - slot)
			h.Control = (*byte)(unsafe.Pointer(&b.controls[i]))
		}
	}
	if w != nil {
		if err := control(c, func(fd int) error { b.fd = uintptr(fd); return nil }); err != nil {
			return nil, err
		}
	}
	b.call = b.recv // bound once: it would be allocated at every read
	return b, nil
}

func (b *batch) recv(fd uintptr) bool {
	for b.waiter != nil {
		if b.receive(fd) || !b.wait {
			return true
		}
		if b.ended = !b.waiter.wait(fd); b.ended {
			return true
		}
	}
	return b.receive(fd) || !b.wait // or wait until readable
}

// receive reports whether it was not in vain.
func (b *batch) receive(fd uintptr) bool {
	n, _, e := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&b.msgs[0])), uintptr(b.want), unix.MSG_DONTWAIT, 0, 0)
	if e == unix.EAGAIN {
		return false
	}
	b.n, b.errno = int(n), e
	return true
}

// read reads up to want packets into slab, one a slot, and what is beyond a
// slot of the i-th into the i-th spill. It returns how many there were and
// when. If it is to wait there is at least one.
func (b *batch) read(slab []byte, spills []*spill, want int, wait bool) (int, time.Time, error) {
	for i := range want {
		h := &b.msgs[i].hdr
		h.Namelen = unix.SizeofSockaddrInet4
		b.iovs[i][0].Base = &slab[i*b.slot]
		if b.coalesce {
			b.iovs[i][1].Base = &spills[i][b.slot]
			h.SetControllen(unix.CmsgSpace(4))
		}
	}
	b.n, b.errno, b.want, b.wait = 0, 0, want, wait
	if b.waiter != nil {
		b.recv(b.fd)
	} else if err := b.raw.Read(b.call); err != nil {
		return 0, time.Time{}, err
	}
	if b.ended {
		return 0, time.Time{}, net.ErrClosed
	}
	if b.errno != 0 {
		return 0, time.Time{}, os.NewSyscallError("recvmmsg", b.errno)
	}
	return b.n, time.Now(), nil
}

// datagram tells about the i-th of the last read.
func (b *batch) datagram(i int) datagram {
	m, sa := &b.msgs[i], &b.names[i]
	port := (*[2]byte)(unsafe.Pointer(&sa.Port)) // network order
	d := datagram{size: int(m.len), cut: m.hdr.Flags&unix.MSG_TRUNC != 0,
		from: netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(port[0])<<8|uint16(port[1]))}
	c := &b.controls[i]
	if b.coalesce && int(m.hdr.Controllen) >= unix.CmsgLen(4) && c.hdr.Level == unix.IPPROTO_UDP && c.hdr.Type == unix.UDP_GRO {
		d.segment = int(*(*int32)(unsafe.Pointer(&c.data)))
	}
	return d
}

// outBatch writes runs of packets to one socket, many in one system call. It
// belongs to one goroutine at a time.
type outBatch struct {
	raw      syscall.RawConn
	msgs     [maxBatch]mmsghdr
	iovs     [maxBatch]unix.Iovec
	controls [maxBatch]ancillary
	name     unix.RawSockaddrInet4
	call     func(fd uintptr) bool

	// Of the call that is under way.
	want  int
	n     int
	errno syscall.Errno
}

func newOutBatch(raw syscall.RawConn, _ *net.UDPConn) *outBatch {
	b := &outBatch{raw: raw}
	for i := range b.msgs {
		h := &b.msgs[i].hdr
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&b.name)), unix.SizeofSockaddrInet4
		h.Iov = &b.iovs[i]
		h.SetIovlen(1)
		c := &b.controls[i].hdr
		c.Level, c.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
		c.SetLen(unix.CmsgLen(2))
	}
	b.call = b.write
	return b
}

// to sets where the next runs go.
func (b *outBatch) to(dst netip.AddrPort) {
	b.name.Family, b.name.Addr = unix.AF_INET, dst.Addr().As4()
	port := (*[2]byte)(unsafe.Pointer(&b.name.Port)) // network order
	port[0], port[1] = byte(dst.Port()>>8), byte(dst.Port())
}

func (b *outBatch) write(fd uintptr) bool {
	n, _, e := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&b.msgs[0])), uintptr(b.want), unix.MSG_DONTWAIT, 0, 0)
	if e == unix.EAGAIN {
		return false // wait until writable
	}
	b.n, b.errno = int(n), e
	return true
}

// send writes the runs in order, at most maxBatch of them, and returns how many
// were taken. There is an error only if none was: that of the first.
func (b *outBatch) send(runs []run) (int, error) {
	for i, r := range runs {
		h := &b.msgs[i].hdr
		b.iovs[i].Base = &r.data[0]
		b.iovs[i].SetLen(len(r.data))
		h.Control = nil
		h.SetControllen(0)
		if r.packets > 1 {
			c := &b.controls[i]
			*(*uint16)(unsafe.Pointer(&c.data)) = uint16(r.size)
			h.Control = (*byte)(unsafe.Pointer(c))
			h.SetControllen(unix.CmsgSpace(2))
		}
	}
	b.n, b.errno, b.want = 0, 0, len(runs)
	if err := b.raw.Write(b.call); err != nil {
		return 0, err
	}
	if b.errno != 0 {
		return 0, os.NewSyscallError("sendmmsg", b.errno)
	}
	return b.n, nil
}
