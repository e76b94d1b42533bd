package transport

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/net/bpf"

	"makuo/internal/transport/leak"
	"makuo/protocol"
)

func TestOpenErrorsAreSentences(t *testing.T) {
	leak.Check(t)
	good := loopback(t)
	for _, c := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.Group = netip.MustParseAddr("10.0.0.1") }, "10.0.0.1 is not an IPv4 multicast address: choose one"},
		{func(c *Config) { c.Group = netip.Addr{} }, "is not an IPv4 multicast address"},
		{func(c *Config) { c.Group = netip.MustParseAddr("ff02::1") }, "is not an IPv4 multicast address"},
		{func(c *Config) { c.Port = 0 }, "port must not be 0"},
		{func(c *Config) { c.TTL = 256 }, "time to live of 256 is not possible: choose"},
		{func(c *Config) { c.MTU = 100 }, "MTU of 100 is not possible: choose one from 576 to 9000"},
		{func(c *Config) { c.MTU = 9001 }, "MTU of 9001 is not possible"},
		{func(c *Config) { c.RecvBuffer = -1 }, "buffers of -1 and 0 bytes"},
		{func(c *Config) { c.Session = 0 }, "no session id"},
		{func(c *Config) { c.Interface = "nosuch0" }, "no interface is called nosuch0; there are: "},
		{func(c *Config) { c.Interface = "203.0.113.77" }, "no interface has the address 203.0.113.77; there are: "},
	} {
		cfg := good
		c.change(&cfg)
		conn, err := Open(cfg)
		if err == nil {
			conn.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Open(%+v): %v, want %q", cfg, err, c.want)
		}
	}
	_, err := Open(func() Config { c := good; c.Interface = "nosuch0"; return c }())
	if !strings.Contains(err.Error(), "lo (127.0.0.1)") {
		t.Errorf("the interfaces are not listed: %v", err)
	}
}

func TestPortInUse(t *testing.T) {
	leak.Check(t)
	cfg := loopback(t)
	c, err := net.ListenUDP("udp4", &net.UDPAddr{Port: int(cfg.Port)}) // the wildcard address, without sharing
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = Open(cfg)
	if err == nil || !strings.Contains(err.Error(), "another program has UDP port") {
		t.Errorf("Open: %v", err)
	}
}

func TestTheFirstDaemonOfAHostHasTheGroupsPort(t *testing.T) {
	leak.Check(t)
	cfg := loopback(t)
	a := openUDP(t, cfg)
	cfg.Session, cfg.Interface = 2, "127.0.0.1" // by address
	b := openUDP(t, cfg)
	if a.Local() != netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), cfg.Port) {
		t.Errorf("first at %v", a.Local())
	}
	if b.Local().Addr() != a.Local().Addr() || b.Local().Port() == cfg.Port || b.Info().Interface != "lo" {
		t.Errorf("second at %v on %s", b.Local(), b.Info().Interface)
	}
}

func TestPayloadFollowsMTU(t *testing.T) {
	leak.Check(t)
	for _, c := range []struct{ mtu, want int }{{0, 1472}, {576, 548}, {1500, 1472}, {9000, protocol.MaxPacket}} {
		cfg := loopback(t)
		cfg.MTU = c.mtu
		if got := openUDP(t, cfg).Payload(); got != c.want {
			t.Errorf("MTU %d: payload %d, want %d", c.mtu, got, c.want)
		}
	}
}

func TestLargePacketsReachOrdinaryMembers(t *testing.T) {
	leak.Check(t)
	cfg := loopback(t)
	b := openUDP(t, cfg)
	cfg.MTU, cfg.Session = 9000, 2
	a := openUDP(t, cfg)
	body := strings.Repeat("x", a.Payload()-protocol.PrefixLen-protocol.CheckLen)
	say(t, a, 2, netip.AddrPort{}, body)
	if got := hear(t, b, 1); got[0].body != body {
		t.Errorf("%d bytes arrived", len(got[0].body))
	}
}

func TestBuffers(t *testing.T) {
	leak.Check(t)
	cfg := loopback(t)
	cfg.RecvBuffer, cfg.SendBuffer = 100_000, 50_000
	i := openUDP(t, cfg).Info()
	if i.RecvAsked != 100_000 || i.SendAsked != 50_000 || i.RecvGot != 100_000 || i.SendGot != 50_000 || i.Warning != "" {
		t.Errorf("%+v", i)
	}
	small := Info{RecvAsked: 8 << 20, RecvGot: 212992, SendAsked: 1, SendGot: 1}
	if w := bufferWarning(small); !strings.Contains(w, bufferSysctl(true)+"=8388608") || !strings.Contains(w, "212992") {
		t.Errorf("warning %q", w)
	}
	small = Info{RecvAsked: 1, RecvGot: 1, SendAsked: 512 << 10, SendGot: 100}
	if w := bufferWarning(small); !strings.Contains(w, bufferSysctl(false)+"=524288") {
		t.Errorf("warning %q", w)
	}
}

func TestOwnFilter(t *testing.T) {
	const session = 0x1122334455667788
	raw, err := ownFilter(session)
	if err != nil {
		t.Fatal(err)
	}
	prog, ok := bpf.Disassemble(raw)
	if !ok {
		t.Fatal("the filter does not disassemble")
	}
	vm, err := bpf.NewVM(prog)
	if err != nil {
		t.Fatal(err)
	}
	packet := func(s protocol.Session) []byte {
		return protocol.AppendCheck(append(prefix(s).Append(make([]byte, udpHeader)), "body"...))
	}
	for _, c := range []struct {
		what string
		in   []byte
		pass bool
	}{
		{"own", packet(session), false},
		{"another", packet(1), true},
		{"half of it", packet(0x11223344_00000000), true},
		{"the other half", packet(0x55667788), true},
		{"short", packet(session)[:udpHeader+protocol.PrefixLen-1], true},
		{"empty", make([]byte, udpHeader), true},
	} {
		n, err := vm.Run(c.in)
		if err != nil || n > 0 != c.pass || c.pass && n < len(c.in) {
			t.Errorf("%s: %d bytes pass, %v", c.what, n, err)
		}
	}
}

func TestOwnPacketsCostNothing(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the filter is in the kernel of Linux; elsewhere the gate drops own packets")
	}
	leak.Check(t)
	cfg := loopback(t)
	a := openUDP(t, cfg)
	cfg.Session = 2
	b := openUDP(t, cfg)
	for range 100 {
		say(t, a, 1, netip.AddrPort{}, "mine")
	}
	say(t, b, 2, netip.AddrPort{}, "yours")
	if got := hear(t, a, 1); got[0].body != "yours" {
		t.Errorf("heard %v", got)
	}
	if s := a.Stats(); s.Own != 0 || s.Overflow != 0 || s.Packets != 1 {
		t.Errorf("counted %+v", s)
	}
}

func TestOverflowIsCounted(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells how many packets a socket has lost")
	}
	leak.Check(t)
	cfg := loopback(t)
	cfg.RecvBuffer = 4096
	a := openUDP(t, cfg) // nobody calls its Recv
	cfg.Session, cfg.RecvBuffer = 2, 0
	b := openUDP(t, cfg)
	for range 100_000 {
		say(t, b, 2, netip.AddrPort{}, strings.Repeat("x", 1000))
		if a.Stats().Overflow > 0 {
			return
		}
	}
	t.Errorf("100000 packets were sent, none was lost: %+v", a.Stats())
}

func TestTheDefaultInterfaceIsUsable(t *testing.T) {
	leak.Check(t)
	cfg := loopback(t)
	cfg.Interface = ""
	i := openUDP(t, cfg).Info()
	if i.Interface == "" || i.Index == 0 {
		t.Errorf("%+v", i)
	}
}

// inNamespace runs the calling test again in a network namespace of its own,
// where it may do as it likes, and returns false; in there it returns true.
func inNamespace(t *testing.T) bool {
	t.Helper()
	const key = "MAKUO_TEST_IN_NAMESPACE"
	if os.Getenv(key) == t.Name() {
		return true
	}
	if _, err := exec.LookPath("ip"); runtime.GOOS != "linux" || err != nil {
		t.Skip("needs Linux and the ip command; what is left untested: " + t.Name())
	}
	if out, err := exec.Command("unshare", "-rn", "ip", "link", "add", "probe0", "type", "veth").CombinedOutput(); err != nil {
		t.Skipf("cannot make a network namespace (%v: %s); what is left untested: %s", err, out, t.Name())
	}
	cmd := exec.Command("unshare", "-rn", os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), key+"="+t.Name())
	out, err := cmd.CombinedOutput()
	switch s := string(out); {
	case err == nil && strings.Contains(s, "--- SKIP"):
		t.Skipf("in the namespace: %s", s)
	case err != nil || !strings.Contains(s, "--- PASS"):
		t.Errorf("in the namespace: %v\n%s", err, s)
	}
	return false
}

func ip(t testing.TB, args string) {
	t.Helper()
	if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", args, err, out)
	}
}

// carrier waits until the wire's ends carry packets, which the kernel sees to
// some time after they are up; before, it drops what is sent.
func carrier(t testing.TB, devs ...string) {
	t.Helper()
	for _, dev := range devs {
		for {
			out, err := exec.Command("ip", "-o", "link", "show", "dev", dev).Output()
			if err != nil {
				t.Fatalf("look at %s: %v", dev, err)
			}
			if s := string(out); strings.Contains(s, "state UP") && !strings.Contains(s, "qdisc noop ") {
				break
			}
		}
	}
}

// wire makes eth0 and eth1, the two ends of one wire, in one namespace: what is
// sent out of one arrives at the other.
func wire(t *testing.T) {
	t.Helper()
	ip(t, "link add eth0 type veth peer name eth1")
	ip(t, "addr add 10.77.0.1/24 dev eth0")
	ip(t, "addr add 10.77.0.2/24 dev eth1")
	ip(t, "link set eth0 up")
	ip(t, "link set eth1 up")
	carrier(t, "eth0", "eth1")
	for _, dev := range []string{"all", "eth0", "eth1"} { // the source is an address of this host
		for _, knob := range []string{"accept_local=1", "rp_filter=0"} {
			name, value, _ := strings.Cut(knob, "=")
			if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+dev+"/"+name, []byte(value), 0o644); err != nil {
				t.Skipf("cannot set %s (%v); two interfaces in one namespace are left untested", name, err)
			}
		}
	}
}

func TestOnlyTheNamedInterfaceIsHeard(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	wire(t)
	cfg := Config{Interface: "eth0", Group: netip.MustParseAddr("239.1.2.3"), Port: 5000, Cluster: testCluster, Session: 1}
	a := openUDP(t, cfg)
	cfg.Session = 2
	b := openUDP(t, cfg)
	cfg.Interface, cfg.Session = "eth1", 3
	c := openUDP(t, cfg) // this host has now joined on both

	// a's packet comes to this host twice: looped on eth0, and over the wire on
	// eth1. b is to hear the first, c the second.
	for _, s := range []string{"one", "two", "three"} {
		say(t, a, 1, netip.AddrPort{}, s)
		for _, conn := range []Conn{c, b} {
			if got := hear(t, conn, 1); len(got) != 1 || got[0].body != s {
				t.Errorf("heard %v, want %s once", got, s)
			}
		}
	}
}

// look does what a Follower does from time to time.
func look(u *UDP) {
	ifi, _ := net.InterfaceByName(u.info.Interface)
	u.checkInterface(ifi)
}

func TestTheGroupIsJoinedAgainWhenTheInterfaceComesBack(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	up := func() { wire(t) }
	up()
	cfg := Config{Interface: "eth0", Group: netip.MustParseAddr("239.1.2.3"), Port: 5000, Cluster: testCluster, Session: 1}
	a := openUDP(t, cfg)
	cfg.Interface, cfg.Session = "eth1", 2
	b := openUDP(t, cfg)
	say(t, b, 2, netip.AddrPort{}, "before")
	if got := hear(t, a, 1); got[0].body != "before" {
		t.Fatalf("heard %v", got)
	}

	look(a)
	if n := a.Stats().Rejoins; n != 0 {
		t.Errorf("%d rejoins though nothing happened", n)
	}
	ip(t, "link del eth0")
	look(a)
	look(b)
	tr := NewTrain(netip.AddrPort{}, Control)
	tr.Message(prefix(2), text("into the void"))
	var e SendErrors
	err := b.Send(tr)
	if e.add(errors.Unwrap(err), 1); e.Unreachable != 1 {
		t.Errorf("sending without an interface: %v, counted as %+v", err, e)
	}
	up()
	look(a)
	look(b)
	look(a)
	if a.Stats().Rejoins != 1 || b.Stats().Rejoins != 1 {
		t.Errorf("%d and %d rejoins", a.Stats().Rejoins, b.Stats().Rejoins)
	}
	say(t, b, 2, netip.AddrPort{}, "after")
	if got := hear(t, a, 1); got[0].body != "after" {
		t.Errorf("heard %v", got)
	}

	ip(t, "link set eth0 down")
	look(a)
	ip(t, "link set eth0 up")
	carrier(t, "eth0", "eth1")
	look(a)
	if a.Stats().Rejoins != 2 {
		t.Errorf("%d rejoins", a.Stats().Rejoins)
	}
	say(t, b, 2, netip.AddrPort{}, "again")
	if got := hear(t, a, 1); got[0].body != "again" {
		t.Errorf("heard %v", got)
	}
}

func TestAnInterfaceThatIsDownIsNotUsable(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	ip(t, "link add eth0 type veth peer name eth1")
	cfg := Config{Interface: "eth0", Group: netip.MustParseAddr("239.1.2.3"), Port: 5000, Session: 1}
	if _, err := Open(cfg); err == nil || !strings.Contains(err.Error(), "eth0 has no IPv4 address: give it one") {
		t.Errorf("without address: %v", err)
	}
	ip(t, "addr add 10.77.0.1/24 dev eth0")
	if _, err := Open(cfg); err == nil || !strings.Contains(err.Error(), "eth0 is down: bring it up") {
		t.Errorf("down: %v", err)
	}
	cfg.Interface = ""
	if _, err := Open(cfg); err == nil || !strings.Contains(err.Error(), "no interface is up, can do multicast and has an IPv4 address; there are: lo (down)") {
		t.Errorf("nothing is up: %v", err)
	}
	ip(t, "link set lo up")
	if _, err := Open(cfg); err == nil || !strings.Contains(err.Error(), "loopback is used only where it is named") {
		t.Errorf("with lo alone, which nobody named: %v", err)
	}
	ip(t, "link set eth0 up")
	ip(t, "link set eth1 up")
	cfg.Session = 2
	if i := openUDP(t, cfg).Info(); i.Interface != "eth0" {
		t.Errorf("with an interface: %+v", i)
	}
}
