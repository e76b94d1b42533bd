package transport

import (
	"net"
	"net/netip"
	"os"
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

// canSegment reports whether the kernel cuts datagrams that are sent.
func canSegment(c *net.UDPConn) bool {
	return control(c, func(fd int) error {
		_, err := unix.GetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT)
		return err
	}) == nil
}

// coalesce has the kernel hand over datagrams that it holds in one piece
// without cutting them. It reports whether the kernel knows how.
func coalesce(c *net.UDPConn) bool {
	return control(c, func(fd int) error { return unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1) }) == nil
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
