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

// listenGroup opens a socket that receives what is sent to the group's port on
// interfaces where this socket, not just any of the host's, has joined. Other
// daemons on this host can do the same.
func listenGroup(group netip.AddrPort, _ *net.Interface) (*net.UDPConn, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	// The net package would bind a multicast address as the wildcard address.
	f := os.NewFile(uintptr(fd), "group socket")
	defer f.Close() // FilePacketConn duplicates it
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return nil, os.NewSyscallError("SO_REUSEADDR", err)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0); err != nil {
		return nil, os.NewSyscallError("IP_MULTICAST_ALL", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: int(group.Port()), Addr: group.Addr().As4()}); err != nil {
		return nil, os.NewSyscallError("bind", err)
	}
	c, err := net.FilePacketConn(f)
	if err != nil {
		return nil, err
	}
	return c.(*net.UDPConn), nil
}

// setBuffer asks for a socket buffer of size bytes, with force where that is
// allowed, and returns what the kernel gave.
func setBuffer(c *net.UDPConn, receive bool, size int) (int, error) {
	opt, force := unix.SO_SNDBUF, unix.SO_SNDBUFFORCE
	if receive {
		opt, force = unix.SO_RCVBUF, unix.SO_RCVBUFFORCE
	}
	got := 0
	err := control(c, func(fd int) error {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, size); err != nil {
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, opt, size); err != nil {
				return os.NewSyscallError("SO_RCVBUF or SO_SNDBUF", err)
			}
		}
		v, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, opt)
		got = v / 2 // the kernel doubles it for its own book-keeping: socket(7)
		return os.NewSyscallError("getsockopt", err)
	})
	return got, err
}

// bufferSysctl names what limits a socket buffer.
func bufferSysctl(receive bool) string {
	if receive {
		return "net.core.rmem_max"
	}
	return "net.core.wmem_max"
}

// dropped returns how many packets the socket's buffer, filter and checksum
// have turned away, modulo 2^32. SO_MEMINFO has it as the last of nine numbers.
func dropped(c *net.UDPConn) uint32 {
	var mem [9]uint32
	size := uint32(unsafe.Sizeof(mem))
	err := control(c, func(fd int) error {
		_, _, e := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&mem[0])), uintptr(unsafe.Pointer(&size)), 0)
		if e != 0 {
			return e
		}
		return nil
	})
	if err != nil || size != uint32(unsafe.Sizeof(mem)) {
		return 0 // closed, or a kernel before 4.12: the number is not to be had
	}
	return mem[8]
}

func control(c *net.UDPConn, f func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// batch reads packets from one socket, many in one system call. It is used
// instead of ipv4.PacketConn.ReadBatch, which allocates every sender's address
// twice. It belongs to one goroutine.
type batch struct {
	raw   syscall.RawConn
	msgs  [maxBatch]mmsghdr
	iovs  [maxBatch]unix.Iovec
	names [maxBatch]unix.RawSockaddrInet4
	slot  int
	call  func(fd uintptr) bool
	n     int
	errno syscall.Errno
}

// newBatch returns a batch for packets of at most slot bytes.
func newBatch(c *net.UDPConn, slot int) (*batch, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	b := &batch{raw: raw, slot: slot}
	for i := range b.msgs {
		h := &b.msgs[i].hdr
		h.Name = (*byte)(unsafe.Pointer(&b.names[i]))
		h.Iov = &b.iovs[i]
		h.SetIovlen(1)
		b.iovs[i].SetLen(slot)
	}
	b.call = b.recv // bound once: it would be allocated at every read
	return b, nil
}

func (b *batch) recv(fd uintptr) bool {
	n, _, e := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&b.msgs[0])), maxBatch, unix.MSG_DONTWAIT, 0, 0)
	if e == unix.EAGAIN {
		return false // wait until readable
	}
	b.n, b.errno = int(n), e
	return true
}

// read blocks until there are packets, puts them into slab, one a slot, and
// returns how many and when.
func (b *batch) read(slab []byte) (int, time.Time, error) {
	for i := range b.msgs {
		b.iovs[i].Base = &slab[i*b.slot]
		b.msgs[i].hdr.Namelen = unix.SizeofSockaddrInet4
	}
	b.n, b.errno = 0, 0
	if err := b.raw.Read(b.call); err != nil {
		return 0, time.Time{}, err
	}
	if b.errno != 0 {
		return 0, time.Time{}, os.NewSyscallError("recvmmsg", b.errno)
	}
	return b.n, time.Now(), nil
}

// packet tells about the i-th packet of the last read.
func (b *batch) packet(i int) (n int, from netip.AddrPort, truncated bool) {
	m, sa := &b.msgs[i], &b.names[i]
	port := (*[2]byte)(unsafe.Pointer(&sa.Port)) // network order
	from = netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(port[0])<<8|uint16(port[1]))
	return int(m.len), from, m.hdr.Flags&unix.MSG_TRUNC != 0
}
