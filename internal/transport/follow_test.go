package transport

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// follow returns a Follower whose looks the test makes by hand.
func follow(t *testing.T, cfg Config) *Follower {
	t.Helper()
	f, err := Follow(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestFollowerIsAConnection(t *testing.T) {
	a, b := follow(t, loopback(t)), Conn(nil)
	cfg := a.cfg
	cfg.Session = 2
	b = follow(t, cfg)
	say(t, a, 1, netip.AddrPort{}, "one")
	say(t, b, 2, a.Local(), "two")
	if got := hear(t, b, 1); got[0] != (heard{a.Local(), true, "one"}) {
		t.Errorf("heard %v", got)
	}
	if got := hear(t, a, 1); got[0] != (heard{b.Local(), false, "two"}) {
		t.Errorf("heard %v", got)
	}
	if s := a.Stats(); s.Packets != 1 || s.SentPackets != 1 {
		t.Errorf("counted %+v", s)
	}
	a.Close()
	if _, err := a.Recv(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Recv after Close: %v", err)
	}
	tr := NewTrain(netip.AddrPort{}, Control)
	defer tr.Release()
	tr.Message(prefix(1), text("late"))
	if err := a.Send(tr); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Send after Close: %v", err)
	}
}

func TestFollowerFailsForOtherThanInterfaces(t *testing.T) {
	cfg := loopback(t)
	cfg.Port = 0
	if _, err := Follow(cfg); err == nil {
		t.Error("a port of 0 passes")
	}
}

// TestFollowerGoesWithTheInterface: a daemon that starts before its network,
// and whose address, link and interface then change, hears and is heard at each
// place.
func TestFollowerGoesWithTheInterface(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	ip(t, "link set lo up") // the host talks to its own addresses through it
	cfg := Config{Interface: "eth0", Group: netip.MustParseAddr("239.1.2.3"), Port: 5000, Cluster: testCluster, Session: 1}
	f := follow(t, cfg)
	var places []Place
	look := func() { t.Helper(); f.lookAndTell(func(p Place) { places = append(places, p) }) }
	waits := func(for_ string) {
		t.Helper()
		look()
		if w := f.Info().Waiting; !strings.Contains(w, for_) {
			t.Fatalf("waits for %q, want %q", w, for_)
		}
		tr := NewTrain(netip.AddrPort{}, Control)
		defer tr.Release()
		tr.Message(prefix(1), text("lost"))
		var part *SendError
		if err := f.Send(tr); err != nil && !errors.As(err, &part) {
			t.Fatalf("Send: %v", err)
		}
	}
	waits("no interface is called eth0")
	if f.Local().IsValid() || f.Payload() != 1472 {
		t.Errorf("at %v with %d bytes before it is anywhere", f.Local(), f.Payload())
	}
	wire(t)
	ip(t, "addr del 10.77.0.1/24 dev eth0")
	waits("eth0 has no IPv4 address")

	cfg.Interface, cfg.Session = "eth1", 2
	other := openUDP(t, cfg)
	heardAt := func(addr string) {
		t.Helper()
		look()
		say(t, f, 1, netip.AddrPort{}, addr)
		got := hear(t, other, 1)[0]
		if got.body != addr || got.from.Addr().String() != addr || got.from != f.Local() {
			t.Fatalf("heard %v from %v, want it from %s", got.body, got.from, addr)
		}
		say(t, other, 2, netip.AddrPort{}, "all")
		say(t, other, 2, f.Local(), "you")
		var bodies []string
		for _, h := range hear(t, f, 2) {
			bodies = append(bodies, h.body)
		}
		if slices.Sort(bodies); !slices.Equal(bodies, []string{"all", "you"}) {
			t.Fatalf("at %s: heard %v", addr, bodies)
		}
	}
	ip(t, "addr add 10.77.0.1/24 dev eth0")
	heardAt("10.77.0.1")
	port := f.Local().Port()

	ip(t, "addr add 10.77.1.7/16 dev eth0") // not in the first one's subnet, which would make it a secondary
	heardAt("10.77.0.1")
	ip(t, "addr del 10.77.0.1/24 dev eth0")
	heardAt("10.77.1.7")
	if f.Local().Port() != port {
		t.Errorf("port %d, was %d", f.Local().Port(), port)
	}
	if n := f.Stats().Packets; n != 6 {
		t.Errorf("%d packets counted, want those of all sockets", n)
	}

	ip(t, "link set eth0 down")
	waits("eth0 is down")
	ip(t, "link set eth0 up")
	carrier(t, "eth0", "eth1")
	heardAt("10.77.1.7")
	if n := f.Stats().Rejoins; n != 1 {
		t.Errorf("%d rejoins", n)
	}

	other.Close()
	ip(t, "link del eth0")
	waits("no interface is called eth0")
	wire(t)
	other = openUDP(t, cfg)
	heardAt("10.77.0.1")

	var moves []string
	for _, p := range places {
		moves = append(moves, p.Local.Addr().String()+" "+strings.SplitN(p.Waiting, ";", 2)[0])
	}
	want := []string{"invalid IP interface eth0 has no IPv4 address: give it one, or name another", "10.77.0.1 ", "10.77.1.7 ",
		"10.77.1.7 interface eth0 is down: bring it up (ip link set eth0 up), or name another", "10.77.1.7 ",
		"10.77.1.7 no interface is called eth0", "10.77.0.1 "}
	if !slices.Equal(moves, want) {
		t.Errorf("told of\n%s\nwant\n%s", strings.Join(moves, "\n"), strings.Join(want, "\n"))
	}
}

// TestFollowerNeedsNoRoute: multicast goes out of the interface though no
// route leads to the group.
func TestFollowerNeedsNoRoute(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	cfg := Config{Group: netip.MustParseAddr("224.0.0.108"), Port: 5000, Cluster: testCluster, Session: 1}
	ip(t, "link set lo up")
	f := follow(t, cfg)
	if w := f.Place().Waiting; !strings.Contains(w, "no interface is up, can do multicast and has an IPv4 address; there are: lo (127.0.0.1)") {
		t.Fatalf("with lo alone: %q", w)
	}
	wire(t)
	ip(t, "addr del 10.77.0.1/24 dev eth0")
	ip(t, "addr add 10.77.0.1/32 dev eth0")
	ip(t, "addr del 10.77.0.2/24 dev eth1") // its subnet's route would lead to eth0 and back
	ip(t, "addr add 10.77.0.2/32 dev eth1")
	f.lookAndTell(nil)
	used, other := f.Place().Interface, "eth1"
	if used == "eth1" {
		other = "eth0"
	}
	if p := f.Place(); p.Waiting != "" || p.Why != whyGuess {
		t.Fatalf("at %+v", p)
	}
	cfg.Interface, cfg.Session = other, 2
	o := openUDP(t, cfg)
	say(t, f, 1, netip.AddrPort{}, "hello")
	if got := hear(t, o, 1); got[0].body != "hello" || got[0].from != f.Local() {
		t.Errorf("heard %v", got)
	}
}
