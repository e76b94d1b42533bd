package push

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"makuo/internal/push/order"
	"makuo/internal/tree"
	"makuo/protocol"
)

// leaveStaged stages a push of one file in base and leaves it there as a daemon
// does that is killed; the module is open for the next start.
func leaveStaged(t *testing.T, base string, id protocol.PushID) *tree.Module {
	open := func() *tree.Module {
		m, err := tree.OpenModule(tree.ModuleConfig{Name: "default", Base: base, Proof: base + ".stage"})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	m := open()
	tg, err := m.Begin(id, &protocol.PushHeader{Module: "default", Name: "o", Paths: []string{"f"}})
	if err != nil {
		t.Fatal(err)
	}
	e := protocol.Entry{Path: "f", Type: protocol.EntryRegular, Mode: 0o640, Sec: 77, Size: 3,
		User: protocol.Owner{ID: uint32(os.Geteuid())}, Group: protocol.Owner{ID: uint32(os.Getegid())}}
	_, _, err = tg.Compare(&protocol.Batch{Entries: []protocol.Entry{e}})
	if err == nil {
		err = tg.EndCompare()
	}
	if err == nil {
		err = tg.Store([]protocol.Piece{{Type: protocol.PieceWhole, Data: []byte("new")}}, 0)
	}
	if err == nil {
		_, err = tg.Stage(1)
	}
	if err != nil {
		t.Fatal(err)
	}
	tg.Close()
	m.Close()
	m = open()
	t.Cleanup(func() { m.Close() })
	return m
}

// restart is a daemon that finds a staged push at its start.
type restart struct {
	*bench
	base   string
	id     protocol.PushID
	posted chan func(now time.Time)
}

func newRestart(t *testing.T) *restart {
	r := &restart{bench: newBench(t), base: t.TempDir(), id: protocol.PushID{Start: 5, Origin: 9}, posted: make(chan func(time.Time), 100)}
	module := leaveStaged(t, r.base, r.id)
	r.m.cfg.Post = func(f func(time.Time)) { r.posted <- f }
	r.m.modules["default"] = module
	list, err := module.Recover()
	if err != nil || len(list) != 1 {
		t.Fatalf("%d pushes are staged: %v", len(list), err)
	}
	r.m.Recover(r.now, "default", list)
	r.m.Poll(r.now) // asks
	return r
}

// ended waits for the disk.
func (r *restart) ended() {
	for len(r.m.pending) > 0 && r.m.pending[0].busy {
		(<-r.posted)(r.now)
	}
}

func (r *restart) answer(o protocol.Outcome) {
	r.t.Helper()
	a := protocol.Answer{Push: r.id, Outcome: o, Origin: true}
	if err := r.m.Handle(r.now, netip.AddrPort{}, protocol.Prefix{Type: protocol.TypeAnswer, Session: 3}, a.Append(nil)); err != nil {
		r.t.Fatal(err)
	}
}

func (r *restart) locked() bool {
	return len(r.m.locks.Conflicts(protocol.PushID{Start: 6, Origin: 9}, "default", []string{"f"})) > 0
}

func (r *restart) content() string {
	b, _ := os.ReadFile(filepath.Join(r.base, "f"))
	return string(b)
}

// TestPendingCommitIsTriedAgain: a commit that fails at the next start too is
// tried until it works, with the paths locked, whatever others say meanwhile.
func TestPendingCommitIsTriedAgain(t *testing.T) {
	r := newRestart(t)
	plan := filepath.Join(r.base, protocol.StageName, r.id.String(), "plan")
	good, err := os.ReadFile(plan)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(plan, bytes.Repeat([]byte{0xff}, len(good)), 0o600); err != nil {
		t.Fatal(err)
	}
	r.answer(protocol.OutcomeCommitted)
	for i := range 4 {
		r.ended()
		p := r.m.pending[0]
		if !r.locked() || p.busy || p.again.first() || !p.again.at.After(r.now) {
			t.Fatalf("after %d failures: locked %v, %+v", i+1, r.locked(), p.again)
		}
		if o, _ := r.m.cfg.Store.Outcome(r.id); o != protocol.OutcomeCommitted {
			t.Fatalf("after %d failures others are told %v", i+1, o)
		}
		r.answer(protocol.OutcomeAborted)
		if _, ok := r.m.tryLock(testClaim(6, 9, "f")); ok || p.busy {
			t.Fatal("a push whose commit is under way is discarded")
		}
		r.m.Poll(p.again.at.Add(-1))
		if p.busy {
			t.Fatal("it is tried again too soon")
		}
		if i == 3 {
			if err := os.WriteFile(plan, good, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		r.now = p.again.at
		r.m.Poll(r.now)
	}
	r.ended()
	if r.content() != "new" || r.locked() || len(r.m.pending) != 0 || r.m.cfg.Store.Last("default").Committed.ID != r.id {
		t.Errorf("content %q, locked %v, %d pending, last push %v", r.content(), r.locked(), len(r.m.pending), r.m.cfg.Store.Last("default").Committed)
	}
}

// TestPendingEnds: how a staged push ends after a restart.
func TestPendingEnds(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(r *restart)
		want string
	}{
		"committed": {func(r *restart) { r.answer(protocol.OutcomeCommitted) }, "new"},
		"aborted":   {func(r *restart) { r.answer(protocol.OutcomeAborted) }, ""},
		"its origin aborts it": {func(r *restart) {
			r.seq++
			st := protocol.State{Stream: 5, Push: r.id, Phase: protocol.PhaseAbort, Seq: r.seq}
			r.m.state(r.now, netip.AddrPort{}, 9, &st)
		}, ""},
		"nobody knows": {func(r *restart) {
			for end := r.now.Add(undecidedFor); r.now.Before(end); {
				r.now = r.now.Add(time.Second)
				r.m.Poll(r.now)
			}
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRestart(t)
			c.do(r)
			r.ended()
			if r.content() != c.want || r.locked() || len(r.m.pending) != 0 {
				t.Errorf("content %q, locked %v, %d pending", r.content(), r.locked(), len(r.m.pending))
			}
		})
	}
}

// TestNewerPushGoesPast: a newer push has the paths at once, what is staged
// stays, and its decision waits for that push's end and leaves alone what that
// one has decided; a dry run changes nothing of it.
func TestNewerPushGoesPast(t *testing.T) {
	for name, c := range map[string]struct {
		path, want string
	}{"beside it": {"g", "new"}, "over it": {"f", ""}} {
		t.Run(name, func(t *testing.T) {
			r := newRestart(t)
			r.m.modules["default"].SetOrder(r.m.cfg.Order.Module("default"))
			dry := testClaim(6, 9, ".")
			dry.dry = true
			if _, ok := r.m.tryLock(dry); !ok || r.m.pending[0].decided() {
				t.Fatal("a dry run waits for a push that is undecided, or ends it")
			}
			r.m.Release(dry.id)
			newer := testClaim(7, 9, ".")
			if _, ok := r.m.tryLock(newer); !ok || r.m.pending[0].decided() {
				t.Fatal("a newer push waits for one that is undecided, or ends it")
			}
			r.answer(protocol.OutcomeCommitted)
			if p := r.m.pending[0]; !p.waits || p.busy {
				t.Fatal("the decision does not wait for the newer push")
			}
			h := &protocol.PushHeader{Name: "y", Paths: []string{c.path}, Options: protocol.OptRecursive | protocol.OptDelete}
			if err := r.m.cfg.Order.Module("default").Decide(order.Of(newer.id, h, nil)); err != nil {
				t.Fatal(err)
			}
			r.m.Release(newer.id)
			r.m.Poll(r.now)
			r.ended()
			if r.content() != c.want || r.locked() || len(r.m.pending) != 0 {
				t.Errorf("content %q, locked %v, %d pending", r.content(), r.locked(), len(r.m.pending))
			}
		})
	}
}

// TestReturnedMemberIsTold: what newer pushes decided while this host was away
// is left alone by the older one that it commits.
func TestReturnedMemberIsTold(t *testing.T) {
	r := newRestart(t)
	r.m.modules["default"].SetOrder(r.m.cfg.Order.Module("default"))
	a := protocol.Answer{Push: r.id, Outcome: protocol.OutcomeCommitted,
		Newer: []protocol.NewerPush{{Place: protocol.PushID{Start: 7, Origin: 9}, Name: "y", Paths: []string{"f"}}}}
	if err := r.m.Handle(r.now, netip.AddrPort{}, protocol.Prefix{Type: protocol.TypeAnswer, Session: 3}, a.Append(nil)); err != nil {
		t.Fatal(err)
	}
	r.ended()
	if r.content() != "" || len(r.m.pending) != 0 {
		t.Errorf("content %q, %d pending", r.content(), len(r.m.pending))
	}
}

// TestSickMemberSpeaksForItself: a commit that fails is no lock that others
// wait for.
func TestSickMemberSpeaksForItself(t *testing.T) {
	r := newRestart(t)
	plan := filepath.Join(r.base, protocol.StageName, r.id.String(), "plan")
	if err := os.WriteFile(plan, bytes.Repeat([]byte{0xff}, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	r.answer(protocol.OutcomeCommitted)
	r.ended()
	h := &protocol.PushHeader{Module: "default", Name: "y", Paths: []string{"f"}}
	id := protocol.PushID{Start: 6, Origin: 9}
	if why, _, ok := r.m.Admit(id, h); ok || !strings.Contains(why, "has not finished") || !strings.Contains(why, "behind") {
		t.Errorf("admitted %v, %q", ok, why)
	}
}

// TestIDsFromTheFuture are refused with both times.
func TestIDsFromTheFuture(t *testing.T) {
	r := newRestart(t)
	h := &protocol.PushHeader{Module: "default", Name: "y", Paths: []string{"g"}}
	for ahead, want := range map[time.Duration]bool{50 * time.Second: true, 70 * time.Second: false} {
		why, _, ok := r.m.Admit(protocol.PushID{Start: r.now.Add(ahead).UnixNano(), Origin: 9}, h)
		if ok != want || !ok && strings.Count(why, "UTC") != 2 {
			t.Errorf("%v ahead: admitted %v, %q", ahead, ok, why)
		}
		r.m.Release(protocol.PushID{Start: r.now.Add(ahead).UnixNano(), Origin: 9})
	}
}

// TestAdmitRefusesWhatIsStaged: a push that is staged here since before the
// start is not taken anew under its id; another one is.
func TestAdmitRefusesWhatIsStaged(t *testing.T) {
	r := newRestart(t)
	h := &protocol.PushHeader{Module: "default", Name: "o", Paths: []string{"g"}}
	if why, _, ok := r.m.Admit(r.id, h); ok || !strings.Contains(why, "staged here") {
		t.Errorf("admitted %v, %q", ok, why)
	}
	if why, _, ok := r.m.Admit(protocol.PushID{Start: 6, Origin: 9}, h); !ok || why != "" {
		t.Errorf("another push: admitted %v, %q", ok, why)
	}
	r.answer(protocol.OutcomeCommitted)
	r.ended()
	if why, _, ok := r.m.Admit(r.id, h); ok || !strings.Contains(why, "committed here") {
		t.Errorf("after its commit: admitted %v, %q", ok, why)
	}
}
