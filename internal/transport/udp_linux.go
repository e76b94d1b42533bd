package transport

import (
	"net"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// listenGroup opens a socket that receives what is sent to the group's port on
// interfaces where this socket, not just any of the host's, has joined. Other
// daemons on this host can do the same.
//
// The socket is a blocking file, so that the runtime's poller does not know
// it: that would wake a thread for each train that arrives, whether anybody
// waits for it or not.
func listenGroup(group netip.AddrPort, _ *net.Interface) (groupSocket, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	// The net package would bind a multicast address as the wildcard address.
	f := os.NewFile(uintptr(fd), "group socket")
	if err := bindGroup(fd, group); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func bindGroup(fd int, group netip.AddrPort) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return os.NewSyscallError("SO_REUSEADDR", err)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0); err != nil {
		return os.NewSyscallError("IP_MULTICAST_ALL", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: int(group.Port()), Addr: group.Addr().As4()}); err != nil {
		return os.NewSyscallError("bind", err)
	}
	return nil
}

// withGroup calls f with the group's socket as a connection of its own for as
// long as f runs.
func withGroup(s groupSocket, f func(*ipv4.PacketConn) error) error {
	c, err := net.FilePacketConn(s.(*os.File))
	if err != nil {
		return err
	}
	defer c.Close()
	return f(ipv4.NewPacketConn(c))
}

// waiter waits until a socket that the runtime's poller does not know is
// readable, or until it is told to end.
type waiter struct {
	end *os.File
	fds [2]unix.PollFd // the socket and end
}

func newWaiter(groupSocket) (*waiter, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	w := &waiter{end: os.NewFile(uintptr(fd), "end of reading")}
	w.fds[0].Events = unix.POLLIN
	w.fds[1] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	return w, nil
}

// wait reports whether fd may be readable; false is the end.
func (w *waiter) wait(fd uintptr) bool {
	w.fds[0].Fd = int32(fd)
	for {
		if _, err := unix.Poll(w.fds[:], -1); err != unix.EINTR {
			return w.fds[1].Revents == 0
		}
	}
}

// stop ends all waits, now and later.
func (w *waiter) stop() { w.end.Write([]byte{0, 0, 0, 0, 0, 0, 0, 1}) }

func (w *waiter) close() { w.end.Close() }

// setBuffer asks for a socket buffer of size bytes, with force where that is
// allowed, and returns what the kernel gave.
func setBuffer(c syscall.Conn, receive bool, size int) (int, error) {
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

// queued returns how much of what was sent has not left, socket buffers count.
func queued(c syscall.RawConn) int {
	n := 0
	if err := c.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }); err != nil {
		return 0
	}
	return n
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
func dropped(c syscall.Conn) uint32 {
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
func canSegment(c syscall.Conn) bool {
	return control(c, func(fd int) error {
		_, err := unix.GetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT)
		return err
	}) == nil
}

// coalesce has the kernel hand over datagrams that it holds in one piece
// without cutting them. It reports whether the kernel knows how.
func coalesce(c syscall.Conn) bool {
	return control(c, func(fd int) error { return unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1) }) == nil
}

func control(c syscall.Conn, f func(fd int) error) error {
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
