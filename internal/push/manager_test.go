package push

import (
	"net/netip"
	"testing"
	"time"

	"go.uber.org/zap"

	"makuo/internal/push/journal"
	"makuo/protocol"
	"makuo/transfer"
)

// quietWire keeps the reports that are sent.
type quietWire struct{ reports []protocol.Report }

func (w *quietWire) Send(_ netip.AddrPort, t protocol.Type, m Message) {
	if t == protocol.TypeReport {
		rep, err := protocol.ParseReport(m.Append(nil))
		if err != nil {
			panic(err)
		}
		w.reports = append(w.reports, rep)
	}
}

func (w *quietWire) Room() int { return 0 }

func (w *quietWire) Departed(dst []time.Time) []time.Time { return dst }

func (w *quietWire) SendData(time.Time, []protocol.Data) {}

func (w *quietWire) Payload() int { return simPayload }

// bench is a Manager without modules.
type bench struct {
	t    *testing.T
	m    *Manager
	wire quietWire
	now  time.Time
	seq  uint32
}

func newBench(t *testing.T) *bench {
	b, dir := &bench{t: t, now: testStart}, t.TempDir()
	j := journal.New(func(f func(time.Time)) { b.m.cfg.Post(f) })
	t.Cleanup(j.Close)
	store, err := journal.OpenStore(dir, 2, testStart, j)
	if err != nil {
		t.Fatal(err)
	}
	b.m = New(Config{Self: 2, Store: store, Wire: &b.wire, Log: zap.NewNop(), Post: func(func(time.Time)) {}})
	t.Cleanup(b.m.Close)
	return b
}

func (b *bench) state(origin protocol.Session, stream uint32, phase protocol.Phase, heard ...uint32) *memberRun {
	b.seq++
	st := protocol.State{Stream: stream, Push: protocol.PushID{Start: int64(stream), Origin: origin}, Phase: phase, Seq: b.seq,
		Silence: 30 * time.Second, Heard: heard}
	if err := b.m.Handle(b.now, netip.AddrPort{}, protocol.Prefix{Type: protocol.TypeState, Session: origin}, st.Append(nil)); err != nil {
		b.t.Fatal(err)
	}
	return b.m.members[streamKey{origin, stream}]
}

// join makes the machine a roster member's whose lock is held.
func (r *memberRun) join() {
	r.m.header, r.m.state = &protocol.PushHeader{Roster: []protocol.Session{2}}, streaming
}

// TestIdleMachinesAreBounded: one origin's pushes do not push out others', and
// the newest push always finds room.
func TestIdleMachinesAreBounded(t *testing.T) {
	b := newBench(t)
	for origin := range protocol.Session(40) {
		for stream := range uint32(maxAside + 3) {
			b.now = b.now.Add(time.Millisecond)
			if b.state(100+origin, stream+1, protocol.PhaseLock) == nil {
				t.Fatalf("no machine for push %d of origin %d", stream, origin)
			}
		}
		if n := len(b.m.members); n != min(maxAside*int(origin+1), maxMemberRuns) {
			t.Fatalf("%d machines after %d origins", n, origin+1)
		}
	}
}

// TestKnownPushes: no machine is made for a push of ours, nor a second one for
// a push, and none that is committed is begun again.
func TestKnownPushes(t *testing.T) {
	b := newBench(t)
	if b.state(2, 1, protocol.PhaseLock) != nil {
		t.Error("a machine for a push of our own session")
	}
	b.state(9, 1, protocol.PhaseLock)
	st := protocol.State{Stream: 5, Push: protocol.PushID{Start: 1, Origin: 9}, Phase: protocol.PhaseLock}
	b.m.state(b.now, netip.AddrPort{}, 9, &st)
	if len(b.m.members) != 1 {
		t.Errorf("%d machines of one push", len(b.m.members))
	}
	if b.m.cfg.Store.Ordered(st.Push, "default", b.now, nil); b.m.known(st.Push) == "" {
		t.Error("a committed push is taken again")
	}
}

// TestOnlyANewerPushEndsASilentOne: an older one is told who is in the way.
func TestOnlyANewerPushEndsASilentOne(t *testing.T) {
	b := newBench(t)
	r := b.state(9, 5, protocol.PhaseLock)
	r.join()
	b.m.locks.Hold(r.m.ID(), "x", "default", []string{"."})
	b.now = b.now.Add(time.Minute)
	b.m.now = b.now
	if _, ok := b.m.tryLock(testClaim(4, 8, "a")); ok || r.m.state == finished {
		t.Error("an older push ended a newer one")
	}
	if _, ok := b.m.tryLock(testClaim(6, 8, "a")); !ok {
		t.Error("a newer push does not end a silent one")
	}
}

// TestRoomIsShared: all receivers together hold no more than one.
func TestRoomIsShared(t *testing.T) {
	b := newBench(t)
	for i := range uint32(4) {
		b.state(9, i+1, protocol.PhaseLock).join()
	}
	b.state(9, 5, protocol.PhaseLock)
	b.m.Poll(b.now)
	for k, r := range b.m.members {
		fb := r.feedback(b.now)
		if want := map[bool]uint32{true: transfer.DefaultRoom / 4, false: smallRoom}[k.stream < 5]; fb != want {
			t.Errorf("stream %d: room %d, want %d", k.stream, fb, want)
		}
	}
}

func (r *memberRun) feedback(now time.Time) uint32 {
	for range 1000 {
		fb, at := r.m.r.Poll(now)
		if fb != nil {
			return fb.Room
		}
		now = at
	}
	return 0
}

// TestOriginOfADroppedPushIsTold: the report takes the number that the origin
// wants next. A push whose header never came is not begun anew.
func TestOriginOfADroppedPushIsTold(t *testing.T) {
	b := newBench(t)
	r := b.state(9, 1, protocol.PhaseStream)
	r.join()
	b.state(9, 2, protocol.PhaseStream)
	b.m.Gone(b.now, 9, "it left the cluster", false)
	b.m.Poll(b.now)
	if len(b.m.members) != 0 {
		t.Fatalf("%d machines", len(b.m.members))
	}
	if b.state(9, 1, protocol.PhaseStream, 7) != nil || b.state(9, 2, protocol.PhaseStream, 7) != nil {
		t.Error("a push that ended here is begun anew")
	}
	b.state(9, 1, protocol.PhaseStream, 7) // too soon
	if w := b.wire.reports; len(w) != 1 || w[0].First != 7 || w[0].Records[0].Type != protocol.RecordFailed || w[0].Records[0].Text == "" {
		t.Errorf("reports %+v", w)
	}
	b.now = b.now.Add(tombKept)
	if b.state(9, 1, protocol.PhaseLock, 7) == nil {
		t.Error("remembered for ever")
	}
	for i := range uint32(maxTombs + 100) {
		b.now = b.now.Add(time.Millisecond)
		r := b.state(9, i+10, protocol.PhaseLock)
		r.m.end("x")
		b.m.memberOver(r, "x")
	}
	if len(b.m.tombs) != maxTombs {
		t.Errorf("%d pushes remembered", len(b.m.tombs))
	}
}

// TestStandstill: the time this process stood still is nobody's silence.
func TestStandstill(t *testing.T) {
	b := newBench(t)
	r := b.state(9, 1, protocol.PhaseStream)
	r.join()
	b.now = b.m.Poll(b.now).Add(time.Hour)
	if b.m.Poll(b.now); r.m.state != streaming || r.m.Preemptible(b.now) {
		t.Errorf("%v after an hour in which nothing could be heard", r.m.state)
	}
}

// testClaim is a push's claim to a path of the module default.
func testClaim(start int64, origin protocol.Session, path string) claim {
	id := protocol.PushID{Start: start, Origin: origin}
	return claim{id: id, place: id, name: "y", module: "default", paths: []string{path}}
}
