package push

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"makuo/internal/transport/simnet"
	"makuo/protocol"
	"makuo/transfer"
)

// testRun puts a shell without a daemon around a simulated push.
func testRun(s *sim) *run {
	return &run{mgr: &Manager{}, req: &Request{}, o: s.o.m, s: s.o.s, src: &source{}, notes: newQueue[Note](),
		cancel: func() {}, problems: make(problemSet), entries: make(map[uint32]*protocol.Batch)}
}

// TestShutdownAfterDecision: a push that a shutdown cuts off ends with a
// summary that names who may have the new tree.
func TestShutdownAfterDecision(t *testing.T) {
	s := newSim(t, 3, simnet.Link{Down: 125e6}, smallTree, nil)
	s.members[2].slow = 200 * time.Millisecond
	if !s.net.RunUntil(s.net.Now().Add(time.Minute), func() bool {
		return s.o.m.members[0].stage == MemberDone && s.o.m.members[1].stage == MemberDone
	}) {
		t.Fatal("nobody is done")
	}
	r := testRun(s)
	r.notes.close()
	final, err := r.deliver(func(Note) {})
	if err != nil {
		t.Fatal(err)
	}
	var notes []NoteMember
	sum, _ := r.report(final, func(n Note) { notes = append(notes, n.(NoteMember)) })
	if sum.Ending != EndedPartial || sum.Lost != 1 || sum.Done != 2 {
		t.Errorf("summary %+v", sum)
	}
	if m := notes[2]; m.Outcome != MemberLost || !m.Maybe || m.Where != "committing" {
		t.Errorf("the member that was not done is %v, maybe %v, %q", m.Outcome, m.Maybe, m.Where)
	}
}

func TestShutdownBeforeDecision(t *testing.T) {
	s := newSim(t, 3, simnet.Link{Down: 125e6}, smallTree, nil)
	r := testRun(s)
	r.notes.close()
	if _, err := r.deliver(func(Note) {}); !errors.Is(err, ErrShutdown) {
		t.Errorf("error %v", err)
	}
}

// TestParkedAreNamedWhenTheyCannotBeServed: the others have committed, so the
// push has a summary.
func TestParkedAreNamedWhenTheyCannotBeServed(t *testing.T) {
	var notes []Note
	sum := Summary{Done: 2}
	unserved([]RosterMember{{Name: "slow"}}, ErrShutdown, &sum, func(n Note) { notes = append(notes, n) })
	if sum.Failed != 1 || sum.Ending != EndedPartial || len(notes) != 1 || notes[0].(NoteMember).Name != "slow" {
		t.Errorf("%+v, %v", sum, notes)
	}
}

// TestShare: all pushes together keep to the daemon's limits, also the first
// when a second one starts, and it has all to itself again afterwards.
func TestShare(t *testing.T) {
	m := &Manager{cfg: Config{RateCap: 4e6}}
	add := func() *run {
		s := newSim(t, 1, simnet.Link{Down: 125e6}, smallTree, nil)
		r := testRun(s)
		r.mgr, r.src = m, &source{jobs: newQueue[readJob]()}
		m.runs = append(m.runs, r)
		m.share()
		return r
	}
	holds := func(r *run, window int, limit int64) {
		t.Helper()
		if r.s.Window() != window || r.s.Cap() != limit {
			t.Errorf("a window of %d and %d bytes a second, want %d and %d", r.s.Window(), r.s.Cap(), window, limit)
		}
	}
	a := add()
	holds(a, transfer.DefaultWindow, 4e6)
	b := add()
	holds(a, transfer.DefaultWindow/2, 2e6)
	holds(b, transfer.DefaultWindow/2, 2e6)
	b.end(time.Unix(1000, 0))
	holds(a, transfer.DefaultWindow, 4e6)
}

func TestProblemSetIsBounded(t *testing.T) {
	p := problemSet{}
	for i := range 3 * maxProblems {
		p.add("m", fmt.Sprint("d/", i))
	}
	if n := len(p["m"]); n > maxProblems || !p.covers("m", "d/7") || !p.covers("m", "else") || p.covers("n", "d/7") {
		t.Errorf("%d paths are kept", n)
	}
}

// TestNothingIsNotedAfterTheEnd: the report reads what the loop has noted.
func TestNothingIsNotedAfterTheEnd(t *testing.T) {
	r := testRun(newSim(t, 1, simnet.Link{Down: 125e6}, smallTree, nil))
	r.problem("", "a", "x", false)
	r.over = true
	r.problem("", "b", "x", false)
	if r.pathErrs != 1 || r.problems.covers("", "b") {
		t.Errorf("%d errors", r.pathErrs)
	}
}

// TestProgressCountsWhatIsSent: what is read and waits in the window is no
// progress.
func TestProgressCountsWhatIsSent(t *testing.T) {
	s := newSim(t, 1, simnet.Link{Down: 125e6}, smallTree, nil)
	r := testRun(s)
	r.total, r.scanEnd = 1000, true
	r.offered = []offered{{0, 300}, {1, 700}}
	now := s.net.Now()
	if st := r.status(now); st.Percent != 0 || st.Content != 0 {
		t.Errorf("%v %% at the start", st.Percent)
	}
	for s.o.s.Blocks() == 0 {
		now = now.Add(time.Millisecond)
		if _, ok := s.o.s.Next(now); !ok && s.o.s.Idle() {
			t.Fatal("nothing was offered")
		}
	}
	if st := r.status(now); st.Percent != 30 || st.Content != 300 {
		t.Errorf("%v %%, %d bytes after the first of two blocks", st.Percent, st.Content)
	}
	r.entries[3] = &protocol.Batch{}
	if st := r.status(now); st.TotalKnown {
		t.Error("the total is known though a batch is not answered")
	}
}

// TestFetchesWaitForTheReader: while nobody reads the notes, no logs are
// fetched, and no member is lost for having nothing to say.
func TestFetchesWaitForTheReader(t *testing.T) {
	s := newSim(t, 3, simnet.Link{Down: 125e6}, smallTree, func(c *OriginConfig) { c.Timeout = 5 * time.Second })
	s.o.m.HoldFetches(true)
	s.settle(time.Minute)
	if s.o.problems > 0 || s.o.result != nil || s.o.m.state != originCollecting {
		t.Fatalf("%d problems were fetched, state %v", s.o.problems, s.o.m.state)
	}
	s.o.m.HoldFetches(false)
	s.run(time.Minute)
	s.allDone()
	if s.o.problems != 6 {
		t.Errorf("%d problems", s.o.problems)
	}
}

func TestLacking(t *testing.T) {
	r := Request{Absent: []Absent{{Missing: true}, {Text: "another protocol"}}}
	if n := r.lacking(); n != 2 {
		t.Errorf("%d", n)
	}
	r.IgnoreMissing = true
	if n := r.lacking(); n != 1 {
		t.Errorf("%d with missing members ignored", n)
	}
}

// TestStatesAreCharged: state messages take their part of the rate.
func TestStatesAreCharged(t *testing.T) {
	s := newSim(t, 300, simnet.Link{Down: 125e6}, smallTree, nil)
	r := testRun(s)
	r.mgr.cfg.Wire = &quietWire{}
	now := s.net.Now() // nothing was missed that would be made up for
	for range 5 {
		if _, err := r.s.Offer(now, transfer.Block{Kind: protocol.BlockData, Count: 1, Encoded: make([]byte, 100_000)}); err != nil {
			t.Fatal(err)
		}
	}
	for sent := true; sent; {
		_, sent = r.s.Next(now)
	}
	before := r.s.Poll(now)
	r.poll(now)
	bytes := protocol.PrefixLen + len(r.state) + protocol.CheckLen
	least := time.Duration(bytes) * time.Second / time.Duration(r.s.Rate())
	if after := r.s.Poll(now).Sub(before); before.IsZero() || len(r.state) < 4*300 || after < least {
		t.Errorf("a state message of %d bytes puts the next packet off by %v, want %v", bytes, after, least)
	}
}

// TestUnsentIsNoUpdate: a file that could not be sent is neither shown nor
// counted as what members got.
func TestUnsentIsNoUpdate(t *testing.T) {
	r := testRun(newSim(t, 1, simnet.Link{Down: 125e6}, smallTree, nil))
	r.req.Verbose = 1
	r.files, r.names = 2, 3
	r.unsent("a")
	if r.files != 1 || r.names != 2 || r.pathErrs != 0 {
		t.Errorf("%d files, %d names, %d errors", r.files, r.names, r.pathErrs)
	}
	var shown []string
	for _, name := range []string{"a", "b"} {
		e := protocol.Entry{Path: name, Type: protocol.EntryRegular}
		r.pathLine("m", &e, true, &Summary{}, func(n Note) { shown = append(shown, n.(NotePath).Path) })
	}
	if len(shown) != 1 || shown[0] != "b" {
		t.Errorf("shown as updated: %q", shown)
	}
}
