package transport

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"makuo/protocol"
)

// lab is a switch in this namespace, which is the test's own, with hosts in
// namespaces of their own.
type lab struct {
	hosts int
	cut   bool // the switch cuts trains into packets, as real ones get them
}

func newLab(t testing.TB, cut bool) *lab {
	t.Helper()
	ip(t, "link set lo up")
	ip(t, "link add br0 type bridge mcast_snooping 0")
	ip(t, "addr add 10.77.0.254/24 dev br0")
	ip(t, "link set br0 up")
	return &lab{cut: cut}
}

// remove removes the switch and the wires.
func (l *lab) remove(t testing.TB) {
	for i := range l.hosts {
		ip(t, fmt.Sprintf("link del port%d", i+1))
	}
	ip(t, "link del br0")
}

// labHost is a host with an interface eth0.
type labHost struct {
	ns   *os.File
	addr netip.Addr
}

// host adds a host.
func (l *lab) host(t testing.TB) *labHost {
	t.Helper()
	l.hosts++
	h := &labHost{addr: netip.AddrFrom4([4]byte{10, 77, 0, byte(l.hosts)})}
	onThread(func() {
		var err error
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			h.ns, err = os.Open("/proc/thread-self/ns/net")
		}
		if err != nil {
			t.Errorf("make a network namespace: %v", err)
		}
	})
	if h.ns == nil {
		t.FailNow()
	}
	t.Cleanup(func() { h.ns.Close() })
	port := fmt.Sprintf("port%d", l.hosts)
	ip(t, fmt.Sprintf("link add %s type veth peer name eth0 netns /proc/%d/fd/%d", port, os.Getpid(), h.ns.Fd()))
	ip(t, "link set "+port+" master br0 up")
	if l.cut {
		run := exec.Command("ethtool", "-K", port, "tx-udp-segmentation", "off")
		if out, err := run.CombinedOutput(); err != nil {
			t.Skipf("ethtool cannot have the switch cut trains (%v: %s); loss per packet is left untested", err, out)
		}
	}
	h.do(t, func() {
		ip(t, "link set lo up")
		ip(t, "addr add "+h.addr.String()+"/24 brd + dev eth0")
		ip(t, "link set eth0 up")
		ip(t, "route add 224.0.0.0/4 dev eth0")
		carrier(t, "eth0")
	})
	carrier(t, port)
	for { // a port passes packets some time after it has a carrier
		b, err := os.ReadFile("/sys/class/net/" + port + "/brport/state")
		if err != nil || strings.TrimSpace(string(b)) == "3" {
			return h
		}
	}
}

// do runs f in the host's namespace.
func (h *labHost) do(t testing.TB, f func()) {
	t.Helper()
	onThread(func() {
		if err := unix.Setns(int(h.ns.Fd()), unix.CLONE_NEWNET); err != nil {
			t.Errorf("enter the host's namespace: %v", err)
			return
		}
		f()
	})
}

// onThread runs f on a thread that ends with it.
func onThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		f()
	}()
	<-done
}

// labConn is a Conn of a host. Only what opens sockets has to be in there.
type labConn struct {
	*UDP
	t *testing.T
	h *labHost
}

// Probe implements Conn.
func (c labConn) Probe(ctx context.Context, addr netip.AddrPort) (err error) {
	c.h.do(c.t, func() { err = c.UDP.Probe(ctx, addr) })
	return err
}

// open opens a connection in the host.
func (h *labHost) open(t *testing.T, cfg Config) (u *UDP) {
	t.Helper()
	var err error
	h.do(t, func() { u, err = Open(cfg) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	return u
}

func labConfig(session protocol.Session) Config {
	return Config{Interface: "eth0", Group: netip.MustParseAddr("239.1.2.3"), Port: 5000, Cluster: testCluster, Session: session}
}

// wireWorld has a switch between the hosts.
func wireWorld(t *testing.T, cut bool) world {
	l := newLab(t, cut)
	return world{
		host: func(t *testing.T, session protocol.Session) Conn {
			h := l.host(t)
			return labConn{h.open(t, labConfig(session)), t, h}
		},
		raw:  sendRaw,
		over: protocol.DefaultPayload + 1,
	}
}

// TestLossIsPerPacketWhereTrainsAreCut drops every tenth datagram that arrives.
func TestLossIsPerPacketWhereTrainsAreCut(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	l := newLab(t, true)
	from, to := l.host(t), l.host(t)
	var out []byte
	var err error
	to.do(t, func() {
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader("table inet t { chain c { type filter hook input priority 0; udp dport 5000 numgen inc mod 10 == 3 drop; }; }")
		out, err = cmd.CombinedOutput()
	})
	if err != nil {
		t.Skipf("nft cannot drop packets (%v: %s); loss per packet is left untested", err, out)
	}
	a, b := from.open(t, labConfig(1)), to.open(t, labConfig(2))
	for n := range 5 {
		train := dataTrain(a, 1, n*40)
		if err := a.Send(train); err != nil {
			t.Fatal(err)
		}
		train.Release()
	}
	say(t, a, 1, netip.AddrPort{}, "end")
	got := hear(t, b, 5*36+1)
	if got[len(got)-1].body != "end" || b.Stats().Packets != 5*36+1 || !a.Info().Segmentation {
		t.Errorf("after %d packets %q, counted %+v", len(got), got[len(got)-1].body[:3], b.Stats())
	}
}
