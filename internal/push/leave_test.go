package push

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"makuo/internal/transport/simnet"
	"makuo/internal/tree"
	"makuo/protocol"
)

// TestCancelledAfterTheDecision: the report comes at once and names who may
// have the new tree; the push goes on to its end at all members.
func TestCancelledAfterTheDecision(t *testing.T) {
	s := newSim(t, 3, simnet.Link{Down: 125e6}, smallTree, nil)
	s.members[2].slow = 200 * time.Millisecond
	if !s.net.RunUntil(s.net.Now().Add(time.Minute), func() bool { return s.o.m.members[0].stage == MemberDone }) {
		t.Fatal("nobody is done")
	}
	r := testRun(s)
	r.src.jobs = newQueue[readJob]()
	r.stop(s.net.Now())
	final, err := r.deliver(func(Note) {})
	if err != nil {
		t.Fatal(err)
	}
	var last NoteMember
	sum, _ := r.report(final, func(n Note) { last = n.(NoteMember) })
	if sum.Ending != EndedPartial || sum.Lost == 0 || sum.Done+sum.Lost != 3 {
		t.Errorf("summary %+v", sum)
	}
	if last.Outcome != MemberLost || !last.Maybe || last.Where != "committing" {
		t.Errorf("the slow member is %v, maybe %v, %q", last.Outcome, last.Maybe, last.Where)
	}
	s.run(time.Minute)
	for i, m := range s.members {
		if !m.committed {
			t.Errorf("member %d has not committed", i)
		}
	}
}

// TestAbortedLatePush: its members are told of, counted, and not as before.
func TestAbortedLatePush(t *testing.T) {
	r := testRun(newSim(t, 2, simnet.Link{Down: 125e6}, smallTree, nil))
	r.src.jobs = newQueue[readJob]()
	r.stop(time.Unix(1000, 0))
	for _, e := range r.o.Events() {
		r.event(time.Unix(1000, 0), e)
	}
	final, err := r.deliver(func(Note) {})
	if err != nil {
		t.Fatal(err)
	}
	final.behind()
	var notes []NoteMember
	part, parked := r.report(final, func(n Note) { notes = append(notes, n.(NoteMember)) })
	sum := Summary{Done: 3}
	sum.addLate(&part)
	if len(parked) > 0 || sum.Failed != 2 || sum.Done != 3 || sum.Ending != EndedPartial {
		t.Errorf("summary %+v, parked %v", sum, parked)
	}
	for _, n := range notes {
		if n.Outcome != MemberFailed || !strings.Contains(n.Text, "it was cancelled; it is behind") {
			t.Errorf("%s is %v: %s", n.Name, n.Outcome, n.Text)
		}
	}
}

// TestCancelledBeforeTheLatePush: parked members are not served, and named.
func TestCancelledBeforeTheLatePush(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	sum, told := Summary{Done: 1}, 0
	(&Manager{}).late(ctx, nil, nil, []RosterMember{{Name: "slow"}}, time.Time{}, &sum, func(Note) { told++ })
	if told != 1 || sum.Failed != 1 || sum.Ending != EndedPartial {
		t.Errorf("%d notes, %+v", told, sum)
	}
}

// TestVanishedBeforeTheLatePush: what others have and a late member can't get
// any more is an error.
func TestVanishedBeforeTheLatePush(t *testing.T) {
	for _, late := range []string{"", "m1, m2"} {
		s := &source{late: late, content: 1000, module: vanishing(t)}
		warned, text, unsent := false, "", ""
		s.unsent = func(path string) { unsent = path }
		s.problem = func(_, what string, warning bool) { warned, text = warning, what }
		p := &packer{s: s, ctx: context.Background(), scratch: make([]byte, 1000), part: make([]byte, 1000)}
		p.file(0, &protocol.Entry{Path: "f", Type: protocol.EntryRegular, Size: 3}, 1)
		if warned != (late == "") || !strings.Contains(text, late) || unsent != "f" {
			t.Errorf("late %q: warning %v, %q", late, warned, text)
		}
	}
}

// vanishing returns a module in which no file is.
func vanishing(t *testing.T) *tree.Module {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "base")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	m, err := tree.OpenModule(tree.ModuleConfig{Name: "default", Base: dir, Proof: dir + ".stage"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}
