package membership

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"makuo/protocol"
)

// step drives one table by hand.
type step struct {
	t      *testing.T
	tab    *Table
	start  time.Time
	now    time.Time
	next   time.Time
	out    []Out
	events []Event
}

const selfSession = 99

func newStep(t *testing.T, saved ...Saved) *step {
	now := time.Unix(1700000000, 0)
	s := &step{t: t, start: now, now: now}
	s.tab = New(Config{Self: Self{Session: selfSession, Name: "self", Port: 5001, Started: now, Flags: protocol.FlagNoSend}}, now, saved)
	s.poll()
	return s
}

func (s *step) poll() {
	out, events, next := s.tab.Poll(s.now)
	s.out = append(s.out, out...)
	s.events = append(s.events, events...)
	s.next = next
}

// pass lets d pass, polling whenever the table asks for it. Those in beat
// send a beacon every second.
func (s *step) pass(d time.Duration, beat ...peer) {
	end := s.now.Add(d)
	tick := s.now.Add(time.Second)
	for {
		at := s.next
		if len(beat) > 0 && tick.Before(at) {
			at = tick
		}
		if at.After(end) {
			break
		}
		s.now = at
		if at.Equal(tick) {
			tick = tick.Add(time.Second)
			for _, p := range beat {
				s.hear(p)
			}
		}
		s.poll()
	}
	s.now = end
	s.poll()
}

type peer struct {
	session protocol.Session
	name    string
	ip      string
	port    uint16
	started uint32
	digest  uint64
}

func (p peer) from() netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(p.ip), 5000) }
func (p peer) prefix(ty protocol.Type) protocol.Prefix {
	return protocol.Prefix{Version: protocol.Version, Type: ty, Session: p.session}
}

func (p peer) beacon() protocol.Beacon {
	return protocol.Beacon{Name: p.name, Port: p.port, MinVersion: 1, MaxVersion: 1, Interval: time.Second, Started: p.started, Digest: p.digest}
}

func (s *step) hear(p peer) {
	s.events = append(s.events, s.tab.HandleBeacon(s.now, p.from(), p.prefix(protocol.TypeBeacon), p.beacon())...)
}

func (s *step) leave(p peer) {
	s.events = append(s.events, s.tab.HandleLeave(s.now, netip.AddrPortFrom(netip.MustParseAddr(p.ip), p.port), p.prefix(protocol.TypeLeave))...)
}

// want checks the events since the last call, as "kind name" in order, and
// leaves out news of details.
func (s *step) want(want ...string) {
	s.t.Helper()
	s.poll()
	var got []string
	for _, e := range s.events {
		if e.Kind != EventDetail {
			got = append(got, fmt.Sprintf("%v %s/%d", e.Kind, e.Member.Name, e.Member.Session))
		}
	}
	s.events = nil
	if !slices.Equal(got, want) {
		s.t.Fatalf("at %v: events %q, want %q", s.now.Sub(s.start), got, want)
	}
}

// table checks all members, as "name/session state".
func (s *step) table(want ...string) {
	s.t.Helper()
	var got []string
	for _, m := range s.tab.Members() {
		v := fmt.Sprintf("%s/%d %v", m.Name, m.Session, m.State)
		if m.DuplicateName {
			v += " duplicate"
		}
		if m.Superseded {
			v += " superseded"
		}
		got = append(got, v)
	}
	if !slices.Equal(got, want) {
		s.t.Fatalf("at %v: table %q, want %q", s.now.Sub(s.start), got, want)
	}
}

func (s *step) sent(ty protocol.Type) (found []Out) {
	for _, o := range s.out {
		if o.Type == ty {
			found = append(found, o)
		}
	}
	s.out = nil
	return found
}

var (
	web1      = peer{session: 1, name: "web1", ip: "10.0.0.1", port: 4001, started: 1000}
	web1again = peer{session: 11, name: "web1", ip: "10.0.0.1", port: 4077, started: 2000}
	web1same  = peer{session: 12, name: "web1", ip: "10.0.0.1", port: 4001, started: 2000}
	web1else  = peer{session: 13, name: "web1", ip: "10.0.0.9", port: 4001, started: 2000}
	web2      = peer{session: 2, name: "web2", ip: "10.0.0.2", port: 4001, started: 1000}
)

func TestFirstBeacons(t *testing.T) {
	s := newStep(t)
	s.pass(1600 * time.Millisecond)
	out := s.sent(protocol.TypeBeacon)
	if len(out) != 4 {
		t.Fatalf("%d beacons in the first 1.6 s", len(out))
	}
	for i, o := range out {
		b, err := protocol.ParseBeacon(o.Body)
		if err != nil || o.To.IsValid() {
			t.Fatalf("beacon %d to %v: %v", i, o.To, err)
		}
		want := protocol.Beacon{Name: "self", Port: 5001, MinVersion: 1, MaxVersion: 1, Flags: protocol.FlagNoSend, Interval: time.Second,
			Started: 1700000000, Digest: s.tab.Self().Detail.Digest}
		if i < 2 {
			want.Flags |= protocol.FlagSolicit
		}
		if b != want {
			t.Errorf("beacon %d is %+v, want %+v", i, b, want)
		}
	}
	s.pass(100 * time.Second)
	if n := len(s.sent(protocol.TypeBeacon)); n < 100 || n > 125 {
		t.Errorf("%d beacons in 100 s", n)
	}
}

func TestSilence(t *testing.T) {
	s := newStep(t)
	s.hear(web1)
	s.hear(web2)
	s.want("joined web1/1", "joined web2/2")
	s.pass(4900*time.Millisecond, web2)
	s.want()
	s.pass(time.Second, web2)
	s.want("missing web1/1")
	s.table("web1/1 missing", "web2/2 alive")
	if m := s.tab.ByName("web1")[0]; !m.LastHeard.Equal(s.start) || m.Since.Sub(s.start) != 5500*time.Millisecond {
		t.Errorf("last heard %v, missing since %v", m.LastHeard, m.Since)
	}
	s.tab.Heard(s.now, web1.session)
	s.want("returned web1/1")
	s.leave(web1)
	s.want("left web1/1")
	s.hear(web1) // was on its way
	s.tab.Heard(s.now, web1.session)
	s.want()
	s.table("web1/1 away", "web2/2 alive")
}

// A member that announces a longer interval is judged by that.
func TestSilenceByInterval(t *testing.T) {
	s := newStep(t)
	b := web1.beacon()
	b.Interval = 10 * time.Second
	s.tab.HandleBeacon(s.now, web1.from(), web1.prefix(protocol.TypeBeacon), b)
	s.pass(54 * time.Second)
	s.table("web1/1 alive")
	if n := len(s.sent(protocol.TypeAsk)); n != maxProbes {
		t.Errorf("asked %d times for a sign of life", n)
	}
	s.pass(2 * time.Second)
	s.table("web1/1 missing")
}

// The process stands still for a minute: nobody could be heard.
func TestStandstill(t *testing.T) {
	s := newStep(t)
	s.hear(web1)
	s.hear(web2)
	s.pass(3*time.Second, web1, web2)
	s.now = s.now.Add(time.Minute)
	s.poll()
	s.pass(5*time.Second, web2)
	s.table("web1/1 alive", "web2/2 alive")
	s.pass(time.Second, web2)
	s.table("web1/1 missing", "web2/2 alive")
	// The packet comes before the Poll.
	s.now = s.now.Add(time.Hour)
	s.hear(web1)
	s.pass(5*time.Second, web1)
	s.table("web1/1 alive", "web2/2 alive")
}

func TestTimeBackwards(t *testing.T) {
	s := newStep(t)
	s.hear(web1)
	s.now = s.now.Add(-time.Hour)
	s.poll()
	s.hear(web2)
	s.poll()
	s.now = s.start
	s.pass(7*time.Second, web2)
	s.table("web1/1 missing", "web2/2 alive")
}

func TestForget(t *testing.T) {
	s := newStep(t)
	s.hear(web1)
	s.hear(web2)
	s.pass(time.Second)
	if s.tab.Forget(s.now, "web1") {
		t.Error("forgot a member that is there")
	}
	s.pass(10 * time.Second)
	s.table("web1/1 missing", "web2/2 missing")
	if !s.tab.Forget(s.now, "web1") || s.tab.Forget(s.now, "web1") {
		t.Error("wrong answer from Forget")
	}
	s.want("joined web1/1", "joined web2/2", "missing web2/2", "missing web1/1")
	s.pass(7*24*time.Hour - 10*time.Second)
	s.table("web2/2 missing")
	s.pass(10 * time.Second)
	s.want("forgotten web2/2")
	s.table()
}

func TestSaved(t *testing.T) {
	s := newStep(t)
	if s.tab.Changed() {
		t.Error("changed at the start")
	}
	s.hear(web1)
	s.pass(10 * time.Second)
	s.hear(web2)
	if !s.tab.Changed() {
		t.Error("not changed")
	}
	text, err := json.Marshal(s.tab.Saved())
	if err != nil || s.tab.Changed() {
		t.Fatal("still changed", err)
	}
	s.pass(time.Second, web2)
	if s.tab.Changed() {
		t.Error("changed by a beacon")
	}
	var saved []Saved
	if err := json.Unmarshal(text, &saved); err != nil {
		t.Fatal(err)
	}
	n := newStep(t, saved...)
	n.table("web1/1 missing", "web2/2 missing")
	m := n.tab.ByName("web1")[0]
	if !m.LastHeard.Equal(s.start) || m.Addr != netip.MustParseAddrPort("10.0.0.1:4001") {
		t.Errorf("loaded %+v", m)
	}
	n.pass(time.Second)
	n.hear(web2)
	n.want("joined web2/2")
	n.pass(20*time.Second, web2)
	n.want()

	// One that was there when saved and is not now: missing, said once.
	n = newStep(t, saved...)
	n.pass(20 * time.Second)
	n.want("missing web2/2")
	n.pass(6 * 24 * time.Hour)
	n.table("web1/1 missing", "web2/2 missing")

	// Nonsense on disk is left out.
	n = newStep(t, Saved{Name: "self", Session: 5, Addr: m.Addr}, Saved{Name: "a b", Session: 6, Addr: m.Addr}, Saved{Name: "x", Addr: m.Addr}, Saved{Name: "y", Session: 7})
	n.table()
}

func TestForeign(t *testing.T) {
	s := newStep(t)
	p := web1.prefix(protocol.TypeBeacon)
	p.Version = 9
	b := protocol.Beacon{Name: "web1", Port: 4001, MinVersion: 7, MaxVersion: 9}
	s.events = s.tab.HandleForeign(s.now, web1.from(), p, b)
	s.want("joined web1/1")
	s.table("web1/1 other version")
	if m, _ := s.tab.Lookup(1); m.MinVersion != 7 || m.MaxVersion != 9 {
		t.Errorf("versions %d to %d", m.MinVersion, m.MaxVersion)
	}
	s.pass(30 * time.Second)
	s.table("web1/1 other version")
	s.pass(10 * time.Second)
	s.table("web1/1 missing")
	s.hear(web1same) // upgraded
	s.table("web1/12 alive")

	c := web2.beacon()
	c.MinVersion, c.MaxVersion = 2, 3
	s.tab.HandleBeacon(s.now, web2.from(), web2.prefix(protocol.TypeBeacon), c)
	s.table("web1/12 alive", "web2/2 other version")
}

func TestSettled(t *testing.T) {
	s := newStep(t)
	if s.tab.Settled(s.start.Add(1999*time.Millisecond)) || !s.tab.Settled(s.start.Add(2*time.Second)) {
		t.Error("not settled after exactly 2 s")
	}
	b := web1.beacon()
	b.Interval = 4 * time.Second
	s.tab.HandleBeacon(s.now, web1.from(), web1.prefix(protocol.TypeBeacon), b)
	if s.tab.Settled(s.start.Add(4*time.Second)) || !s.tab.Settled(s.start.Add(5*time.Second)) {
		t.Error("does not wait for a slow member's beacon")
	}
}

// TestSelfMoved: a member that is at another address, or at its first, makes itself
// known as at the start, and holds nobody's silence before against them.
func TestSelfMoved(t *testing.T) {
	s := newStep(t)
	s.hear(web1)
	s.pass(5 * time.Second)
	s.events, s.out = nil, nil
	s.tab.Moved(s.now, 7007)
	at := s.now
	s.poll()
	if len(s.out) != 1 {
		t.Fatalf("sent %d messages at once", len(s.out))
	}
	b, err := protocol.ParseBeacon(s.out[0].Body)
	if err != nil || b.Port != 7007 || b.Flags&protocol.FlagSolicit == 0 || s.tab.Self().Addr.Port() != 7007 {
		t.Errorf("beacon %+v, %v", b, err)
	}
	s.pass(1500 * time.Millisecond)
	beacons := 0
	for _, o := range s.out {
		if o.Type == protocol.TypeBeacon {
			beacons++
		}
	}
	if beacons != len(startBeacons) {
		t.Errorf("%d beacons in the first 1.5 s", beacons)
	}
	s.table("web1/1 alive")
	if s.tab.Settled(at.Add(1999*time.Millisecond)) || !s.tab.Settled(at.Add(2*time.Second)) {
		t.Error("not settled after exactly 2 s")
	}
}

func TestStop(t *testing.T) {
	s := newStep(t)
	s.hear(web1)
	out := s.tab.Stop(s.now)
	if len(out) != 3 || out[0].Type != protocol.TypeLeave || out[0].To.IsValid() {
		t.Errorf("leave messages %v", out)
	}
	s.out = nil
	s.pass(10 * time.Second)
	if len(s.out) != 0 {
		t.Errorf("sends %v after it stopped", s.out)
	}
}

func TestBounds(t *testing.T) {
	s := newStep(t)
	refused := 0
	add := func(i int, name string) {
		p := peer{session: protocol.Session(1000 + i), name: name, ip: fmt.Sprintf("10.1.%d.%d", i>>8, i&255), port: 4000}
		for _, e := range s.tab.HandleBeacon(s.now, p.from(), p.prefix(protocol.TypeBeacon), p.beacon()) {
			if e.Kind == EventRefused {
				refused++
			}
		}
	}
	for i := range 100 {
		add(i, "same")
	}
	if n := len(s.tab.ByName("same")); n != maxSameName || refused != 1 {
		t.Errorf("%d sessions under one name, %d refusals told", n, refused)
	}
	for i := 100; i < 25000; i++ {
		add(i, fmt.Sprintf("m%d", i))
	}
	if n := len(s.tab.Members()); n != MaxMembers {
		t.Errorf("%d members", n)
	}
	for i := range 3 * maxDead {
		s.leave(peer{session: protocol.Session(1<<40 + i), ip: "10.0.0.1"})
	}
	if n := len(s.tab.dead.set); n != maxDead || len(s.tab.dead.ring) != maxDead {
		t.Errorf("%d ended sessions remembered", n)
	}
	base := string(make([]byte, protocol.MaxDetail))
	for i := range 25000 {
		s.tab.HandleDetail(s.now, protocol.Prefix{Session: protocol.Session(1000 + i)}, protocol.Detail{Digest: 1, Base: base})
	}
	if s.tab.detailBytes > maxDetailBytes {
		t.Errorf("%d bytes of details", s.tab.detailBytes)
	}
	held := 0
	for _, m := range s.tab.list {
		held += m.detailSize
	}
	s.pass(time.Hour)
	if s.tab.live != 0 || held != s.tab.detailBytes || s.tab.liveBytes != beaconBytes("self") {
		t.Errorf("%d live, %d bytes of details, %d of beacons", s.tab.live, s.tab.detailBytes, s.tab.liveBytes)
	}
	s.pass(8 * 24 * time.Hour)
	if n := len(s.tab.list) + len(s.tab.byID) + len(s.tab.names) + len(s.tab.addrs) + len(s.tab.wanted) + s.tab.detailBytes; n != 0 {
		t.Errorf("%d things left in the table", n)
	}
}

func TestNoAllocation(t *testing.T) {
	s := newStep(t)
	s.hear(web1)
	s.poll()
	p, b, from := web1.prefix(protocol.TypeBeacon), web1.beacon(), web1.from()
	if n := testing.AllocsPerRun(100, func() {
		s.tab.Heard(s.now, 1)
		s.tab.Heard(s.now, 1234)
		s.tab.HandleBeacon(s.now, from, p, b)
		s.tab.Poll(s.now)
	}); n != 0 {
		t.Errorf("%v allocations for a packet", n)
	}
}

func TestWords(t *testing.T) {
	if Foreign.String() != "other version" || State(77).String() != "unknown" || EventRefused.String() != "table full" || EventKind(0).String() != "unknown" {
		t.Error("wrong words")
	}
}

// TestForgedLeave: a leave from another address is none; one with a forged
// address hides its victim for a short time only.
func TestForgedLeave(t *testing.T) {
	s := newStep(t)
	s.hear(web1)
	forger := web1
	forger.port++
	s.leave(forger)
	s.table("web1/1 alive")
	s.leave(web1)
	s.hear(web1) // was long on its way
	s.table("web1/1 away")
	s.want("joined web1/1", "left web1/1")
	s.pass(graveTime, web1)
	s.table("web1/1 alive")
	s.want("returned web1/1")
}
