package transport

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// pickInterface finds the interface that the user named, by name or by one of
// its addresses, and the address to send from. Without a name it is the one
// that the host's routes choose for the group, else the first that can do
// multicast, else loopback.
func pickInterface(name string, group netip.AddrPort) (*net.Interface, netip.Addr, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, netip.Addr{}, fmt.Errorf("list the network interfaces: %w", err)
	}
	if name == "" {
		return pickByRoute(all, group)
	}
	if addr, err := netip.ParseAddr(name); err == nil {
		if ifi := interfaceOf(all, addr); ifi != nil {
			return usable(ifi, addr)
		}
		return nil, netip.Addr{}, fmt.Errorf("no interface has the address %s; there are: %s", name, list(all))
	}
	for i := range all {
		if all[i].Name == name {
			addrs := addresses(&all[i])
			if len(addrs) == 0 {
				return nil, netip.Addr{}, fmt.Errorf("interface %s has no IPv4 address: give it one, or name another; there are: %s", name, list(all))
			}
			return usable(&all[i], addrs[0])
		}
	}
	return nil, netip.Addr{}, fmt.Errorf("no interface is called %s; there are: %s", name, list(all))
}

func usable(ifi *net.Interface, addr netip.Addr) (*net.Interface, netip.Addr, error) {
	if ifi.Flags&net.FlagUp == 0 {
		return nil, netip.Addr{}, fmt.Errorf("interface %s is down: bring it up (ip link set %s up), or name another", ifi.Name, ifi.Name)
	}
	return ifi, addr, nil
}

func pickByRoute(all []net.Interface, group netip.AddrPort) (*net.Interface, netip.Addr, error) {
	// Connecting a UDP socket sends nothing; it asks the routing table.
	if c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(group)); err == nil {
		addr := c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
		c.Close()
		if ifi := interfaceOf(all, addr); ifi != nil {
			return ifi, addr, nil
		}
	}
	for _, want := range []net.Flags{net.FlagMulticast, net.FlagLoopback} {
		for i := range all {
			ifi := &all[i]
			if ifi.Flags&net.FlagUp == 0 || ifi.Flags&want == 0 {
				continue
			}
			if addrs := addresses(ifi); len(addrs) > 0 {
				return ifi, addrs[0], nil
			}
		}
	}
	return nil, netip.Addr{}, fmt.Errorf("no interface is up and has an IPv4 address; there are: %s", list(all))
}

// interfaceOf returns the interface that has the address, nil if none.
func interfaceOf(all []net.Interface, addr netip.Addr) *net.Interface {
	for i := range all {
		for _, a := range addresses(&all[i]) {
			if a == addr {
				return &all[i]
			}
		}
	}
	return nil
}

// addresses returns the IPv4 addresses of an interface.
func addresses(ifi *net.Interface) []netip.Addr {
	addrs, err := ifi.Addrs()
	if err != nil {
		return nil // the interface has gone since it was listed
	}
	var out []netip.Addr
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok && ip.Unmap().Is4() {
				out = append(out, ip.Unmap())
			}
		}
	}
	return out
}

// list names the interfaces for people.
func list(all []net.Interface) string {
	var b strings.Builder
	for i := range all {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(all[i].Name)
		addrs := addresses(&all[i])
		switch {
		case all[i].Flags&net.FlagUp == 0:
			b.WriteString(" (down)")
		case len(addrs) == 0:
			b.WriteString(" (no IPv4 address)")
		default:
			fmt.Fprintf(&b, " (%s)", addrs[0])
		}
	}
	return b.String()
}
