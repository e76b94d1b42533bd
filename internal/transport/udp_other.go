//go:build !linux

package transport

import (
	"net"
	"net/netip"
	"time"
)

// listenGroup opens a socket for the group's port. Other daemons on this host
// can do the same.
func listenGroup(group netip.AddrPort, ifi *net.Interface) (*net.UDPConn, error) {
	return net.ListenMulticastUDP("udp4", ifi, net.UDPAddrFromAddrPort(group))
}

// setBuffer asks for a socket buffer. What was given cannot be read back
// portably: an error says that it was not what was asked for.
func setBuffer(c *net.UDPConn, receive bool, size int) (int, error) {
	if receive {
		return size, c.SetReadBuffer(size)
	}
	return size, c.SetWriteBuffer(size)
}

func bufferSysctl(bool) string { return "kern.ipc.maxsockbuf" }

func dropped(*net.UDPConn) uint32 { return 0 }

// batch reads packets from one socket, one at a time.
type batch struct {
	c    *net.UDPConn
	slot int
	n    int
	from netip.AddrPort
}

func newBatch(c *net.UDPConn, slot int) (*batch, error) { return &batch{c: c, slot: slot}, nil }

func (b *batch) read(slab []byte) (int, time.Time, error) {
	// One byte more than a slot tells a packet that is cut off.
	n, from, err := b.c.ReadFromUDPAddrPort(slab[:min(b.slot+1, len(slab))])
	if err != nil {
		return 0, time.Time{}, err
	}
	b.n, b.from = n, netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
	return 1, time.Now(), nil
}

func (b *batch) packet(int) (n int, from netip.AddrPort, truncated bool) {
	return min(b.n, b.slot), b.from, b.n > b.slot
}
