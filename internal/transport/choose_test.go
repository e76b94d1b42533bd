package transport

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
)

const upMulticast = net.FlagUp | net.FlagMulticast

func testLink(name string, kind linkKind, flags net.Flags, addrs ...string) link {
	l := link{Interface: net.Interface{Name: name, Flags: flags}, kind: kind}
	for _, a := range addrs {
		l.addrs = append(l.addrs, netip.MustParseAddr(a))
	}
	return l
}

func TestChoose(t *testing.T) {
	lo := testLink("lo", software, net.FlagUp|net.FlagLoopback, "127.0.0.1")
	eth0 := testLink("eth0", hardware, upMulticast, "10.0.0.1", "10.0.0.2")
	eth1 := testLink("eth1", hardware, upMulticast, "10.1.0.1")
	vlan := testLink("eth0.7", software, upMulticast, "10.7.0.1")
	docker := testLink("docker0", inward, upMulticast, "172.17.0.1")
	tun := testLink("tun0", inward, upMulticast|net.FlagPointToPoint, "10.8.0.1")
	down := testLink("eth2", hardware, net.FlagMulticast, "10.2.0.1")
	bare := testLink("eth3", hardware, upMulticast)
	self := testLink("eth4", hardware, upMulticast, "169.254.3.4", "10.4.0.1")
	all := []link{lo, docker, tun, bare, down, vlan, eth0, eth1, self}
	addr := func(s string) netip.Addr {
		if s == "" {
			return netip.Addr{}
		}
		return netip.MustParseAddr(s)
	}
	for name, c := range map[string]struct {
		links        []link
		routed       string
		named        string
		used         seat
		link, source string // wanted
		guess        bool
		lacks        string // part of the error, instead
	}{
		"by name":                            {links: all, named: "docker0", link: "docker0", source: "172.17.0.1"},
		"loopback by name":                   {links: all, named: "lo", link: "lo", source: "127.0.0.1"},
		"by address":                         {links: all, named: "10.0.0.2", link: "eth0", source: "10.0.0.2"},
		"no such name":                       {links: all, named: "eth9", lacks: "no interface is called eth9; there are: lo (127.0.0.1), docker0 (172.17.0.1)"},
		"no such address":                    {links: all, named: "10.9.9.9", lacks: "no interface has the address 10.9.9.9"},
		"named, down":                        {links: all, named: "eth2", lacks: "ip link set eth2 up"},
		"named by address, down":             {links: all, named: "10.2.0.1", lacks: "ip link set eth2 up"},
		"named, IPv6 alone":                  {links: all, named: "eth3", lacks: "eth3 has no IPv4 address"},
		"the route":                          {links: all, routed: "172.17.0.1", link: "docker0", source: "172.17.0.1"},
		"the route's source":                 {links: all, routed: "10.0.0.2", link: "eth0", source: "10.0.0.2"},
		"the route to loopback":              {links: []link{lo}, routed: "127.0.0.1", lacks: "--interface lo"},
		"no route":                           {links: all, link: "eth0", source: "10.0.0.1", guess: true},
		"no route, a VLAN":                   {links: []link{lo, docker, vlan}, link: "eth0.7", source: "10.7.0.1", guess: true},
		"no route, containers":               {links: []link{lo, docker, down, bare}, link: "docker0", source: "172.17.0.1", guess: true},
		"nothing":                            {links: []link{lo, down, bare}, lacks: "there are: lo (127.0.0.1), eth2 (down), eth3 (no IPv4 address)"},
		"in use, another route":              {links: all, routed: "10.1.0.1", used: seat{"eth0", addr("10.0.0.2"), false}, link: "eth0", source: "10.0.0.2"},
		"in use, its address changed":        {links: all, used: seat{"eth0", addr("10.0.0.9"), false}, link: "eth0", source: "10.0.0.1"},
		"in use, named":                      {links: all, named: "eth0", used: seat{"eth0", addr("10.0.0.2"), false}, link: "eth0", source: "10.0.0.2"},
		"in use, gone":                       {links: []link{lo, eth1}, used: seat{"eth0", addr("10.0.0.1"), false}, link: "eth1", source: "10.1.0.1", guess: true},
		"a guess stays":                      {links: all, used: seat{"docker0", addr("172.17.0.1"), true}, link: "docker0", source: "172.17.0.1", guess: true},
		"a guess gives way to a route":       {links: all, routed: "10.1.0.1", used: seat{"docker0", addr("172.17.0.1"), true}, link: "eth1", source: "10.1.0.1"},
		"a guess gives not way to loopback":  {links: all, routed: "127.0.0.1", used: seat{"eth1", addr("10.1.0.1"), true}, link: "eth1", source: "10.1.0.1", guess: true},
		"an address of its own":              {links: []link{testLink("e", hardware, upMulticast, "169.254.1.1")}, link: "e", source: "169.254.1.1", guess: true},
		"one of its own gives way to a lent": {links: []link{self}, used: seat{"eth4", addr("169.254.3.4"), false}, link: "eth4", source: "10.4.0.1"},
		"a routed one of its own":            {links: []link{self}, routed: "169.254.3.4", link: "eth4", source: "10.4.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := choose(surroundings{c.links, addr(c.routed)}, c.named, c.used)
			if c.lacks != "" {
				var none *NoInterfaceError
				if !errors.As(err, &none) || !strings.Contains(none.Text, c.lacks) {
					t.Fatalf("%v, want %q", err, c.lacks)
				}
				return
			}
			if err != nil || got.link.Name != c.link || got.addr != addr(c.source) || got.guess != c.guess || got.why == "" {
				t.Errorf("%+v, %v; want %s of %s, guess %v", got, err, c.source, c.link, c.guess)
			}
		})
	}
}
