package transport

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// NoInterfaceError tells that there is no interface to use now; one may come.
type NoInterfaceError struct {
	Text string // a sentence for people: what lacks, and what there is
}

// Error returns the sentence.
func (e *NoInterfaceError) Error() string { return e.Text }

// link is what the kernel tells of one network interface.
type link struct {
	net.Interface
	addrs []netip.Addr // IPv4, in the kernel's order
	kind  linkKind
}

// linkKind orders interfaces to which no route points by how likely they lead
// to the other servers.
type linkKind int

const (
	hardware linkKind = iota // has a device
	software                 // such as a VLAN, a bond, a container's end of a wire
	inward                   // a bridge or a point-to-point link: often of containers or a VPN alone
)

// surroundings are the host's interfaces, and the source address with which it
// would send to the group, if it has a route there.
type surroundings struct {
	links  []link
	routed netip.Addr
}

// choice is an interface and the address to send from.
type choice struct {
	link  *link
	addr  netip.Addr
	why   string // the interface, in a few words
	guess bool   // nobody named it and no route points to it
}

// seat is what a connection uses already; zero if nothing.
type seat struct {
	name  string
	addr  netip.Addr
	guess bool
}

// choose decides which interface and address a member uses.
//
//  1. The interface that the user named, by its name or one of its addresses.
//     It must be up.
//  2. Without a name: the one in use, for as long as it is up and has an
//     address, so that a route that comes and goes moves nobody. One that was
//     a guess gives way to the one with the route.
//  3. Else the one that the host's routes choose for the group.
//  4. Else, as a guess, the first of the most likely kind. From 2 on only
//     interfaces count that are up and can do multicast, and never loopback.
//
// The address is the one in use as long as the interface has it, else its
// first. One that the host gave itself (169.254.0.0/16) counts only where
// there is no other.
func choose(s surroundings, named string, used seat) (choice, error) {
	if named != "" {
		return chooseNamed(s, named, used)
	}
	routed := s.byAddr(s.routed)
	if routed != nil && !routed.unasked() {
		routed = nil
	}
	if l := s.byName(used.name); l != nil && l.unasked() && (!used.guess || routed == nil) {
		why := "it is in use"
		if used.guess {
			why = whyGuess
		}
		return choice{l, l.source(used.addr), why, used.guess}, nil
	}
	if routed != nil {
		addr := s.routed
		if addr.IsLinkLocalUnicast() {
			addr = routed.source(addr)
		}
		return choice{routed, addr, "the host's route to the group leads there", false}, nil
	}
	var best *link
	for i := range s.links {
		if l := &s.links[i]; l.unasked() && (best == nil || l.kind < best.kind) {
			best = l
		}
	}
	if best == nil {
		return choice{}, &NoInterfaceError{"no interface is up, can do multicast and has an IPv4 address; there are: " + s.list() + "; loopback is used only where it is named: --interface lo"}
	}
	return choice{best, best.source(netip.Addr{}), whyGuess, true}, nil
}

const whyGuess = "no route leads to the group, and it looks most like the way to other servers; --interface names another"

func chooseNamed(s surroundings, named string, used seat) (choice, error) {
	missing := func(format string, args ...any) (choice, error) {
		return choice{}, &NoInterfaceError{fmt.Sprintf(format, args...)}
	}
	if addr, err := netip.ParseAddr(named); err == nil {
		l := s.byAddr(addr)
		switch {
		case l == nil:
			return missing("no interface has the address %s; there are: %s", named, s.list())
		case l.Flags&net.FlagUp == 0:
			return missing("interface %s, which has the address %s, is down: bring it up (ip link set %s up), or name another", l.Name, named, l.Name)
		}
		return choice{l, addr, "its address was named", false}, nil
	}
	l := s.byName(named)
	switch {
	case l == nil:
		return missing("no interface is called %s; there are: %s", named, s.list())
	case len(l.addrs) == 0:
		return missing("interface %s has no IPv4 address: give it one, or name another; there are: %s", named, s.list())
	case l.Flags&net.FlagUp == 0:
		return missing("interface %s is down: bring it up (ip link set %s up), or name another", named, named)
	}
	return choice{l, l.source(used.addr), "it was named", false}, nil
}

// unasked reports whether the interface may be used though nobody named it.
func (l *link) unasked() bool {
	const want = net.FlagUp | net.FlagMulticast
	return l.Flags&want == want && l.Flags&net.FlagLoopback == 0 && len(l.addrs) > 0
}

// source returns the address to send from: used, if the interface has it.
func (l *link) source(used netip.Addr) netip.Addr {
	best := l.addrs[0]
	for _, a := range l.addrs {
		if best.IsLinkLocalUnicast() && !a.IsLinkLocalUnicast() {
			best = a
		}
		if a == used && !a.IsLinkLocalUnicast() {
			return used
		}
	}
	return best
}

func (s *surroundings) byName(name string) *link {
	for i := range s.links {
		if s.links[i].Name == name {
			return &s.links[i]
		}
	}
	return nil
}

// byAddr returns the interface that has the address, nil if none.
func (s *surroundings) byAddr(addr netip.Addr) *link {
	for i := range s.links {
		for _, a := range s.links[i].addrs {
			if a == addr {
				return &s.links[i]
			}
		}
	}
	return nil
}

// list names the interfaces for people.
func (s *surroundings) list() string {
	var b strings.Builder
	for i := range s.links {
		if i == mostListed {
			fmt.Fprintf(&b, ", and %d more", len(s.links)-i)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		l := &s.links[i]
		b.WriteString(l.Name)
		switch {
		case l.Flags&net.FlagUp == 0:
			b.WriteString(" (down)")
		case len(l.addrs) == 0:
			b.WriteString(" (no IPv4 address)")
		default:
			fmt.Fprintf(&b, " (%s)", l.addrs[0])
		}
	}
	return b.String()
}

// mostListed is how many interfaces a message names.
const mostListed = 16
