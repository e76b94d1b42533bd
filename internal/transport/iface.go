package transport

import (
	"fmt"
	"net"
	"net/netip"
)

// lookAround asks the kernel for the host's interfaces and its route to the
// group.
func lookAround(group netip.AddrPort) (surroundings, error) {
	all, err := net.Interfaces()
	if err != nil {
		return surroundings{}, fmt.Errorf("list the network interfaces: %w", err)
	}
	addrs, err := addresses(all)
	if err != nil {
		return surroundings{}, fmt.Errorf("list the addresses of the network interfaces: %w", err)
	}
	var s surroundings
	for i := range all {
		s.links = append(s.links, link{Interface: all[i], addrs: addrs[all[i].Index], kind: kindOf(&all[i])})
	}
	// Connecting a UDP socket sends nothing; it asks the routing table.
	if c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(group)); err == nil {
		s.routed = c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
		c.Close()
	}
	return s, nil
}
