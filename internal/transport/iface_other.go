//go:build !linux

package transport

import (
	"net"
	"net/netip"
)

// addresses returns the IPv4 addresses of all interfaces, by index.
func addresses(all []net.Interface) (map[int][]netip.Addr, error) {
	found := make(map[int][]netip.Addr)
	for i := range all {
		addrs, err := all[i].Addrs()
		if err != nil {
			continue // the interface has gone since it was listed
		}
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok {
				if ip, ok := netip.AddrFromSlice(n.IP); ok && ip.Unmap().Is4() {
					found[all[i].Index] = append(found[all[i].Index], ip.Unmap())
				}
			}
		}
	}
	return found, nil
}

func kindOf(ifi *net.Interface) linkKind {
	if ifi.Flags&net.FlagPointToPoint != 0 {
		return inward
	}
	return hardware
}
