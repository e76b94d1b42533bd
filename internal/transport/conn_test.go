package transport

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"makuo/internal/transport/leak"
	"makuo/protocol"
)

const testCluster = 0xc1

// world is a kind of network that the contract is tested on.
type world struct {
	host func(t *testing.T, session protocol.Session) Conn
	raw  func(t *testing.T, to Conn, packet []byte) // delivered as it is
	over int                                        // bytes of a packet that is too long to be received
}

// worlds are the implementations of Conn, each on a network of its own.
var worlds = []struct {
	name string
	open func(t *testing.T) world
}{
	{"memory", memoryWorld},
	{"udp", func(t *testing.T) world { return udpWorld(t, func(protocol.Session) bool { return false }) }},
	{"udp packet by packet", func(t *testing.T) world { return udpWorld(t, func(protocol.Session) bool { return true }) }},
	{"udp of both kinds", func(t *testing.T) world { return udpWorld(t, func(s protocol.Session) bool { return s%2 == 0 }) }},
	{"udp of both kinds, other way round", func(t *testing.T) world { return udpWorld(t, func(s protocol.Session) bool { return s%2 == 1 }) }},
	{"wire", func(t *testing.T) world { return wireWorld(t, false) }},
	{"wire that cuts", func(t *testing.T) world { return wireWorld(t, true) }},
}

func memoryWorld(*testing.T) world {
	hub := NewMemory(MemoryConfig{Seed: 1})
	return world{
		host: func(t *testing.T, session protocol.Session) Conn {
			c := hub.Host(testCluster, session)
			t.Cleanup(func() { c.Close() })
			return c
		},
		raw: func(_ *testing.T, to Conn, packet []byte) {
			to.(*memoryHost).put(memoryPacket{from: netip.MustParseAddrPort("10.1.1.1:1"), raw: packet})
		},
		over: protocol.DefaultPayload + 1,
	}
}

// udpWorld is lo, where trains stay whole. plain tells which hosts do without
// segmentation.
func udpWorld(t *testing.T, plain func(protocol.Session) bool) world {
	cfg := loopback(t)
	return world{
		host: func(t *testing.T, session protocol.Session) Conn {
			c := cfg
			c.Session, c.NoSegmentation = session, plain(session)
			return openUDP(t, c)
		},
		raw:  sendRaw,
		over: protocol.MaxPacket + 1,
	}
}

// loopback returns a Config for a group and port on lo that nothing else uses.
func loopback(t *testing.T) Config {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	group := netip.AddrFrom4([4]byte{239, 255, byte(rand.IntN(256)), byte(rand.IntN(256))})
	return Config{Interface: "lo", Group: group, Port: uint16(c.LocalAddr().(*net.UDPAddr).Port), Cluster: testCluster, Session: 1}
}

func openUDP(t *testing.T, cfg Config) *UDP {
	t.Helper()
	c, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// sendRaw sends bytes to a Conn's unicast address from a plain socket.
func sendRaw(t *testing.T, to Conn, packet []byte) {
	t.Helper()
	c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(to.Local()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write(packet); err != nil {
		t.Fatal(err)
	}
}

// eachWorld runs a test of the contract on every implementation.
func eachWorld(t *testing.T, f func(t *testing.T, w world)) {
	for _, w := range worlds {
		t.Run(w.name, func(t *testing.T) {
			if strings.HasPrefix(w.name, "wire") && !inNamespace(t) {
				return
			}
			leak.Check(t)
			f(t, w.open(t))
		})
	}
}

func prefix(session protocol.Session) protocol.Prefix {
	return protocol.Prefix{Version: protocol.Version, Type: protocol.TypeData, Cluster: testCluster, Session: session}
}

// text is a message in tests.
type text string

func (m text) Append(dst []byte) []byte { return append(dst, m...) }

// say sends one packet.
func say(t *testing.T, c Conn, session protocol.Session, dst netip.AddrPort, s string) {
	t.Helper()
	train := NewTrain(dst, Control)
	defer train.Release()
	train.Message(prefix(session), text(s))
	if err := c.Send(train); err != nil {
		t.Fatal(err)
	}
}

// heard is a received packet, copied.
type heard struct {
	from      netip.AddrPort
	multicast bool
	body      string
}

// hear returns the next n packets.
func hear(t *testing.T, c Conn, n int) []heard {
	t.Helper()
	var out []heard
	for len(out) < n {
		in, err := c.Recv()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range in.Packets {
			out = append(out, heard{p.From, p.Multicast, string(p.Body())})
			if p.Prefix != prefix(p.Prefix.Session) || p.At.IsZero() {
				t.Errorf("packet %+v", p)
			}
		}
		in.Release()
	}
	return out
}

func TestMulticastReachesAllOthersNotItself(t *testing.T) {
	eachWorld(t, func(t *testing.T, w world) {
		a, b, c := w.host(t, 1), w.host(t, 2), w.host(t, 3)
		say(t, a, 1, netip.AddrPort{}, "one")
		say(t, a, 1, a.Group(), "two")
		for _, conn := range []Conn{b, c} {
			got := hear(t, conn, 2)
			if got[0] != (heard{a.Local(), true, "one"}) || got[1] != (heard{a.Local(), true, "two"}) {
				t.Errorf("heard %v", got)
			}
		}
		say(t, b, 2, netip.AddrPort{}, "three")
		if got := hear(t, a, 1); got[0] != (heard{b.Local(), true, "three"}) {
			t.Errorf("the sender heard %v", got)
		}
	})
}

func TestUnicastReachesOne(t *testing.T) {
	eachWorld(t, func(t *testing.T, w world) {
		a, b, c := w.host(t, 1), w.host(t, 2), w.host(t, 3)
		if a.Local() == b.Local() || b.Local() == c.Local() || a.Local().Port() == 0 {
			t.Fatalf("addresses %v %v %v", a.Local(), b.Local(), c.Local())
		}
		say(t, a, 1, b.Local(), "to b")
		say(t, a, 1, c.Local(), "to c")
		say(t, b, 2, a.Local(), "to a")
		for conn, want := range map[Conn]heard{b: {a.Local(), false, "to b"}, c: {a.Local(), false, "to c"}, a: {b.Local(), false, "to a"}} {
			if got := hear(t, conn, 1); len(got) != 1 || got[0] != want {
				t.Errorf("heard %v, want %v", got, want)
			}
		}
	})
}

func TestTrainsKeepTheirOrder(t *testing.T) {
	eachWorld(t, func(t *testing.T, w world) {
		a, b := w.host(t, 1), w.host(t, 2)
		const trains, each = 8, MaxTrainPackets
		n := 0
		for range trains {
			train := NewTrain(netip.AddrPort{}, Data)
			for range each {
				size := 1 + n*37%900 // of different lengths
				train.Append(func(dst []byte) []byte {
					dst = binary.BigEndian.AppendUint32(prefix(1).Append(dst), uint32(n))
					return append(dst, make([]byte, size)...)
				})
				n++
			}
			if err := a.Send(train); err != nil {
				t.Fatal(err)
			}
			train.Release()
		}
		for i, p := range hear(t, b, trains*each) {
			if got := binary.BigEndian.Uint32([]byte(p.body)); got != uint32(i) || len(p.body) != 4+1+i*37%900 {
				t.Fatalf("packet %d of %d bytes came as number %d", got, len(p.body), i)
			}
		}
		if s := a.Stats(); s.SentPackets != trains*each || s.SentBytes == 0 {
			t.Errorf("sender counted %+v", s)
		}
		if s := b.Stats(); s.Packets != trains*each || s.Bytes != a.Stats().SentBytes || s.Overflow != 0 {
			t.Errorf("receiver counted %+v", s)
		}
	})
}

// dataTrain returns a train as pushes have them: full packets, and short ones
// at the ends of blocks. They are numbered from first.
func dataTrain(c Conn, session protocol.Session, first int) *Train {
	tr := NewTrain(netip.AddrPort{}, Data)
	full := c.Payload() - protocol.PrefixLen - protocol.CheckLen
	for i := range 40 {
		size := full
		if i == 17 || i == 18 || i == 30 || i == 39 {
			size = 5 + i
		}
		tr.Append(func(dst []byte) []byte {
			dst = binary.BigEndian.AppendUint32(prefix(session).Append(dst), uint32(first+i))
			return append(dst, make([]byte, size-4)...)
		})
	}
	return tr
}

func TestDataTrainsArriveAsTheyWere(t *testing.T) {
	eachWorld(t, func(t *testing.T, w world) {
		a, b, c := w.host(t, 1), w.host(t, 2), w.host(t, 3)
		const trains = 6
		for n := range trains {
			train := dataTrain(a, 1, n*40)
			if err := a.Send(train); err != nil {
				t.Fatal(err)
			}
			for _, conn := range []Conn{b, c} {
				for i, p := range hear(t, conn, 40) {
					want := train.Packet(i)[protocol.PrefixLen : len(train.Packet(i))-protocol.CheckLen]
					if p.body != string(want) || !p.multicast || p.from != a.Local() {
						t.Fatalf("packet %d of train %d: %d bytes from %v, want %d", i, n, len(p.body), p.from, len(want))
					}
				}
			}
			train.Release()
		}
		say(t, b, 2, a.Local(), "the end")
		hear(t, a, 1)
		sent := a.Stats()
		if sent.SentPackets != 40*trains || sent.Own != 0 || sent.Overflow != 0 {
			t.Errorf("the sender counted %+v", sent)
		}
		for _, conn := range []Conn{b, c} {
			if s := conn.Stats(); s.Packets != 40*trains || s.Bytes != sent.SentBytes || s.Overflow != 0 {
				t.Errorf("a receiver counted %+v", s)
			}
		}
	})
}

func TestTheLargestPayloadPasses(t *testing.T) {
	eachWorld(t, func(t *testing.T, w world) {
		a, b := w.host(t, 1), w.host(t, 2)
		if a.Payload() != protocol.DefaultPayload {
			t.Errorf("payload of %d", a.Payload())
		}
		body := strings.Repeat("x", a.Payload()-protocol.PrefixLen-protocol.CheckLen)
		say(t, a, 1, b.Local(), body)
		if got := hear(t, b, 1); got[0].body != body {
			t.Errorf("%d bytes arrived", len(got[0].body))
		}
	})
}

func TestOnlyWhatIsMeantForUsIsDelivered(t *testing.T) {
	eachWorld(t, func(t *testing.T, w world) {
		a, b := w.host(t, 1), w.host(t, 2)
		good := protocol.AppendCheck(prefix(9).Append(nil))
		bad := append([]byte(nil), good...)
		bad[len(bad)-1] ^= 1
		foreign, sealed := prefix(9), prefix(9)
		foreign.Cluster++
		sealed.Key = 7
		for _, p := range [][]byte{
			bad,
			good[:10],
			[]byte("GET / HTTP/1.1 and enough bytes to hold a prefix"),
			protocol.AppendCheck(foreign.Append(nil)),
			protocol.AppendCheck(sealed.Append(nil)),
			protocol.AppendCheck(prefix(2).Append(nil)), // b's own session
			protocol.AppendCheck(append(prefix(9).Append(nil), make([]byte, w.over-protocol.PrefixLen-protocol.CheckLen)...)),
		} {
			w.raw(t, b, p)
		}
		if err := a.Probe(context.Background(), b.Local()); err != nil {
			t.Error(err)
		}
		say(t, a, 1, b.Local(), "good")
		if got := hear(t, b, 1); got[0].body != "good" {
			t.Errorf("delivered %v", got)
		}
		s := b.Stats()
		want := Stats{Packets: 1, Bytes: protocol.PrefixLen + 4 + protocol.CheckLen,
			BadCheck: 1, BadPrefix: 2, Foreign: 1, Sealed: 1, Own: 1, Oversized: 1, Probes: 1}
		if s != want {
			t.Errorf("counted %+v\n   want %+v", s, want)
		}
	})
}

func TestOtherVersionsAreDelivered(t *testing.T) {
	eachWorld(t, func(t *testing.T, w world) {
		b := w.host(t, 2)
		other := prefix(9)
		other.Version, other.Type = 200, 99
		w.raw(t, b, protocol.AppendCheck(other.Append(nil)))
		in, err := b.Recv()
		if err != nil {
			t.Fatal(err)
		}
		defer in.Release()
		if len(in.Packets) != 1 || in.Packets[0].Prefix != other {
			t.Errorf("delivered %+v", in.Packets)
		}
	})
}

func TestTooLargePacketsFailAlone(t *testing.T) {
	eachWorld(t, func(t *testing.T, w world) {
		a, b := w.host(t, 1), w.host(t, 2)
		train := NewTrain(b.Local(), Data)
		defer train.Release()
		train.Message(prefix(1), text("before"))
		train.Message(prefix(1), text(strings.Repeat("x", MaxTrainBytes))) // over any UDP payload
		train.Message(prefix(1), text("after"))
		err := a.Send(train)
		var part *SendError
		if !errors.As(err, &part) || part.Sent != 2 || part.Failed != 1 || part.Bytes != 2*(protocol.PrefixLen+protocol.CheckLen)+len("beforeafter") {
			t.Fatalf("Send: %+v", err)
		}
		var e SendErrors
		if e.add(part.Err, 1); e.TooBig != 1 {
			t.Errorf("%v counted as %+v", part.Err, e)
		}
		if got := hear(t, b, 2); got[0].body != "before" || got[1].body != "after" {
			t.Errorf("heard %v", got)
		}
	})
}

func TestProbe(t *testing.T) {
	eachWorld(t, func(t *testing.T, w world) {
		a, b := w.host(t, 1), w.host(t, 2)
		ctx := context.Background()
		if err := a.Probe(ctx, b.Local()); err != nil {
			t.Errorf("an open port: %v", err)
		}
		b.Close()
		err := a.Probe(ctx, b.Local())
		if !errors.Is(err, ErrUnreachable) {
			t.Errorf("a closed port: %v", err)
		}
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		if err := a.Probe(ctx, a.Local()); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	})
}

func TestConcurrentSends(t *testing.T) {
	eachWorld(t, func(t *testing.T, w world) {
		a, b := w.host(t, 1), w.host(t, 2)
		const senders, each = 4, 50
		done := make(chan error, senders)
		for s := range senders {
			go func() {
				var err error
				for i := range each {
					train := NewTrain(b.Local(), Control)
					train.Message(prefix(1), text(fmt.Sprint(s, i)))
					err = errors.Join(err, a.Send(train))
					train.Release()
				}
				done <- err
			}()
		}
		seen := map[string]bool{}
		for _, p := range hear(t, b, senders*each) {
			seen[p.body] = true
		}
		if len(seen) != senders*each {
			t.Errorf("%d different packets arrived", len(seen))
		}
		for range senders {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestReleasingTwicePanics(t *testing.T) {
	eachWorld(t, func(t *testing.T, w world) {
		a, b := w.host(t, 1), w.host(t, 2)
		say(t, a, 1, b.Local(), "x")
		in, err := b.Recv()
		if err != nil {
			t.Fatal(err)
		}
		in.Release()
		mustPanic(t, "released twice", in.Release)
	})
}

func mustPanic(t *testing.T, want string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if r := recover(); r == nil || !strings.Contains(fmt.Sprint(r), want) {
			t.Errorf("panic with %v, want %q", r, want)
		}
	}()
	f()
}

func TestInfo(t *testing.T) {
	eachWorld(t, func(t *testing.T, w world) {
		a := w.host(t, 1)
		i := a.Info()
		if i.Interface == "" || i.MTU < a.Payload() || i.TTL != DefaultTTL || !a.Group().Addr().IsMulticast() {
			t.Errorf("%+v, group %v", i, a.Group())
		}
		if (i.RecvGot < i.RecvAsked || i.SendGot < i.SendAsked) != (i.Warning != "") {
			t.Errorf("warning %q for %+v", i.Warning, i)
		}
	})
}

var _ = []Conn{(*UDP)(nil), (*memoryHost)(nil)}

func TestInboundAtIsNow(t *testing.T) {
	eachWorld(t, func(t *testing.T, w world) {
		a, b := w.host(t, 1), w.host(t, 2)
		before := time.Now()
		say(t, a, 1, b.Local(), "x")
		in, err := b.Recv()
		if err != nil {
			t.Fatal(err)
		}
		defer in.Release()
		if at := in.Packets[0].At; at.Before(before) || at.After(time.Now()) {
			t.Errorf("read at %v", at)
		}
	})
}
