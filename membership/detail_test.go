package membership

import (
	"net/netip"
	"strconv"
	"testing"
	"time"

	"makuo/protocol"
)

func TestSolicited(t *testing.T) {
	s := newStep(t)
	s.pass(3 * time.Second)
	s.sent(protocol.TypeBeacon)
	b := web1.beacon()
	b.Flags = protocol.FlagSolicit
	s.tab.HandleBeacon(s.now, web1.from(), web1.prefix(protocol.TypeBeacon), b)
	s.poll()
	s.pass(30 * time.Millisecond)
	if n := len(s.sent(protocol.TypeBeacon)); n != 1 {
		t.Errorf("%d beacons for a newcomer", n)
	}
	for range 100 {
		s.tab.HandleBeacon(s.now, web1.from(), web1.prefix(protocol.TypeBeacon), b)
		s.poll()
		s.pass(10 * time.Millisecond)
	}
	if n := len(s.sent(protocol.TypeBeacon)); n > 7 {
		t.Errorf("%d beacons in a second for one who asks without end", n)
	}
	m, _ := s.tab.Lookup(1)
	if m.Flags != 0 {
		t.Errorf("flags %#x", m.Flags)
	}
}

func TestDetails(t *testing.T) {
	s := newStep(t)
	s.pass(3 * time.Second)
	if n := len(s.sent(protocol.TypeDetail)); n != 1 {
		t.Errorf("own details sent %d times after the start", n)
	}
	p := web1
	p.digest = 77
	s.hear(p)
	s.pass(30*time.Second, p)
	asks := s.sent(protocol.TypeAsk)
	if len(asks) < 3 || asks[0].To != netip.MustParseAddrPort("10.0.0.1:4001") {
		t.Fatalf("asks %v", asks)
	}
	s.events = nil
	d := protocol.Detail{Digest: 77, Version: "1.0", Base: "/srv"}
	s.events = s.tab.HandleDetail(s.now, p.prefix(protocol.TypeDetail), d)
	if len(s.events) != 1 || s.events[0].Kind != EventDetail || s.events[0].Member.Detail.Base != "/srv" {
		t.Errorf("events %v", s.events)
	}
	s.pass(30*time.Second, p)
	if n := len(s.sent(protocol.TypeAsk)); n > 0 {
		t.Errorf("%d asks after the answer", n)
	}
	p.digest = 78
	s.hear(p)
	s.pass(3*time.Second, p)
	if n := len(s.sent(protocol.TypeAsk)); n == 0 {
		t.Error("no ask after the digest changed")
	}

	old := s.tab.Self().Detail.Digest
	s.tab.SetDetail(s.now, protocol.Detail{Version: "1.1"})
	s.pass(time.Second)
	out := s.sent(protocol.TypeDetail)
	if len(out) != 1 || out[0].To.IsValid() {
		t.Fatalf("own details after a change: %v", out)
	}
	got, err := protocol.ParseDetail(out[0].Body)
	if err != nil || got.Version != "1.1" || got.Digest == old || got.Digest != s.tab.Self().Detail.Digest {
		t.Errorf("details %+v, %v", got, err)
	}
}

// An ask is answered to the group once a round; in between who asked hears a
// beacon, since it may want a sign of life.
func TestAsked(t *testing.T) {
	s := newStep(t)
	s.pass(5 * time.Second)
	s.hear(web1)
	s.out = nil
	ask := func() []Out {
		s.tab.HandleAsk(s.now, web1.from(), web1.prefix(protocol.TypeAsk))
		s.poll()
		defer func() { s.out = nil }()
		return s.out
	}
	if out := ask(); len(out) != 1 || out[0].Type != protocol.TypeDetail || out[0].To.IsValid() {
		t.Fatalf("first answer %v", out)
	}
	s.now = s.now.Add(30 * time.Millisecond)
	if out := ask(); len(out) != 1 || out[0].Type != protocol.TypeBeacon || out[0].To != netip.MustParseAddrPort("10.0.0.1:4001") {
		t.Fatalf("second answer %v", out)
	}
	total := 0
	for range 1000 {
		s.now = s.now.Add(time.Millisecond)
		total += len(ask())
	}
	if total > 60 {
		t.Errorf("%d answers in a second", total)
	}
}

// Receivers that lost beacons judge by an older interval, so it grows slowly.
func TestIntervalGrows(t *testing.T) {
	s := newStep(t)
	s.pass(5 * time.Second)
	s.sent(protocol.TypeBeacon)
	for i := range 2000 {
		p := peer{session: protocol.Session(1000 + i), name: "a-server-with-a-long-name-" + strconv.Itoa(i), ip: "10.0.0.1", port: uint16(1000 + i)}
		b := p.beacon()
		b.Interval = time.Minute
		s.tab.HandleBeacon(s.now, p.from(), p.prefix(protocol.TypeBeacon), b)
	}
	last := time.Second
	s.pass(time.Minute)
	for _, o := range s.sent(protocol.TypeBeacon) {
		b, err := protocol.ParseBeacon(o.Body)
		if err != nil || b.Interval > last*5/4+time.Millisecond { // it is cut to milliseconds
			t.Fatalf("interval %v after %v, %v", b.Interval, last, err)
		}
		last = b.Interval
	}
	if last < 6*time.Second || last != s.tab.interval().Truncate(time.Millisecond) {
		t.Errorf("interval %v with 2,000 members", last)
	}
}

// One that is killed in a large cluster is not asked by everybody.
func TestProbers(t *testing.T) {
	b := newBus(t, 3, 0)
	for i := range 200 {
		b.add("web"+strconv.Itoa(i), i+1, 5001, nil)
	}
	b.run(40 * time.Second)
	dead, asks := b.nodes[0], 0
	b.onOut = func(_ *node, o Out) {
		if o.Type == protocol.TypeAsk && o.To == dead.addr {
			asks++
		}
	}
	b.checkKilled(dead, 6*time.Second)
	if asks < 10 || asks > 3*2*probers {
		t.Errorf("asked %d times", asks)
	}
}
