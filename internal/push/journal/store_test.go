package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"makuo/protocol"
)

var testStart = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// owner is who runs what a journal posts: the test, when it says so.
type owner struct {
	t      *testing.T
	j      *Journal
	posted chan func(now time.Time)
}

func newOwner(t *testing.T) *owner {
	o := &owner{t: t, posted: make(chan func(time.Time), 1000)}
	o.j = New(func(f func(time.Time)) { o.posted <- f })
	t.Cleanup(o.j.Close)
	return o
}

// next runs the next function that is posted.
func (o *owner) next() { (<-o.posted)(testStart) }

func (o *owner) open(dir string, self protocol.Session) *Store {
	s, err := OpenStore(dir, self, testStart, o.j)
	if err != nil {
		o.t.Fatal(err)
	}
	return s
}

// decide decides and waits for the disk.
func (o *owner) decide(s *Store, id protocol.PushID) (err error) {
	s.Decide(id, testStart, func(_ time.Time, e error) { err = e })
	o.next()
	return err
}

// at is a push of session 7 that began so long before the tests.
func at(ago time.Duration) protocol.PushID {
	return protocol.PushID{Start: testStart.Add(-ago).UnixNano(), Origin: 7}
}

func TestJournalKeepsTheOrderAndDrains(t *testing.T) {
	o := newOwner(t)
	gate := make(chan struct{})
	var did []int
	o.j.Do(func() error { <-gate; return nil }, nil)
	for i := range 10 {
		o.j.Do(func() error { did = append(did, i); return fmt.Errorf("%d", i) }, func(now time.Time, err error) {
			if now != testStart || err.Error() != fmt.Sprint(i) {
				t.Errorf("%d: %v, %v", i, now, err)
			}
		})
	}
	close(gate)
	o.j.Close()
	if fmt.Sprint(did) != "[0 1 2 3 4 5 6 7 8 9]" {
		t.Errorf("done: %v", did)
	}
	for range 10 {
		o.next()
	}
	o.j.Do(func() error { t.Error("work after Close"); return nil }, nil)
}

func TestStoreSurvives(t *testing.T) {
	dir := t.TempDir()
	o := newOwner(t)
	own, aborted, other := at(3), at(2), protocol.PushID{Start: 12, Origin: 9}
	if err := o.decide(o.open(dir, 7), own); err != nil {
		t.Fatal(err)
	}
	// A crash here: decided on disk, and cut off lines.
	for name, text := range map[string]string{"committed": "0000cut", "sessions": "7\n00ff"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := o.open(dir, 8)
	s.Ordered(other, "default", testStart, func(_ time.Time, err error) {
		if err != nil {
			t.Error(err)
		}
	})
	if out, _ := s.Outcome(other); out != protocol.OutcomeCommitted || !s.Last("default").Committed.ID.IsZero() {
		t.Errorf("ordered and not done: outcome %v, last push %v", out, s.Last("default"))
	}
	o.next()
	if l := o.open(dir, 6).Last("default").Committed; l.ID != other {
		t.Errorf("after a crash in the commit, which the start goes on with: %+v", l)
	}
	s.Ended("default", LastPush{ID: other, At: testStart, Errors: 3}, func(_ time.Time, err error) {
		if err != nil {
			t.Error(err)
		}
	})
	failed := protocol.PushID{Start: 13, Origin: 9}
	s.Ended("default", LastPush{ID: failed, At: testStart.Add(1), Failed: "no space"}, func(time.Time, error) {})
	o.next()
	o.next()
	s = o.open(dir, 6)
	for _, c := range []struct {
		id     protocol.PushID
		want   protocol.Outcome
		origin bool
	}{
		{own, protocol.OutcomeCommitted, true}, {aborted, protocol.OutcomeAborted, true},
		{other, protocol.OutcomeCommitted, false}, {protocol.PushID{Start: 12, Origin: 10}, protocol.OutcomeUnknown, false},
		{protocol.PushID{Start: 12, Origin: 0xff}, protocol.OutcomeUnknown, false},
	} {
		if got, origin := s.Outcome(c.id); got != c.want || origin != c.origin {
			t.Errorf("%v: outcome %v, origin %v", c.id, got, origin)
		}
	}
	l := s.Last("default")
	if l.Committed.ID != other || l.Committed.Errors != 3 || !l.Committed.At.Equal(testStart) || l.Ended.ID != failed || l.Ended.Failed != "no space" {
		t.Errorf("last pushes %+v", l)
	}
}

// TestHalfADecisionIsNone: what a crash leaves of a line is not taken for one,
// and does not spoil the next.
func TestHalfADecisionIsNone(t *testing.T) {
	path := func(dir string) string { return filepath.Join(dir, "decided") }
	whole := withSum(at(1).String())
	for n := 0; n < len(whole); n += 8 {
		dir := t.TempDir()
		o := newOwner(t)
		if err := o.decide(o.open(dir, 7), at(2)); err != nil {
			t.Fatal(err)
		}
		if err := appendFile(path(dir), whole[:n], false); err != nil {
			t.Fatal(err)
		}
		s := o.open(dir, 8)
		if err := o.decide(s, at(0)); err != nil {
			t.Fatal(err)
		}
		s = o.open(dir, 9)
		for id, want := range map[protocol.PushID]protocol.Outcome{at(2): protocol.OutcomeCommitted, at(1): protocol.OutcomeAborted, at(0): protocol.OutcomeCommitted} {
			if got, _ := s.Outcome(id); got != want {
				t.Errorf("%d of %d bytes: push %v: %v, want %v", n, len(whole), id, got, want)
			}
		}
	}
}

// TestDamageIsNoAnswer: a decision may have stood where the file is damaged.
func TestDamageIsNoAnswer(t *testing.T) {
	dir := t.TempDir()
	o := newOwner(t)
	s := o.open(dir, 7)
	for _, id := range []protocol.PushID{at(3), at(2), at(1)} {
		if err := o.decide(s, id); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "decided")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // also when it was written anew
		s = o.open(dir, 8)
		for id, want := range map[protocol.PushID]protocol.Outcome{at(3): protocol.OutcomeCommitted, at(2): protocol.OutcomeUnknown,
			at(1): protocol.OutcomeCommitted, at(-1): protocol.OutcomeAborted} {
			if got, _ := s.Outcome(id); got != want {
				t.Errorf("push %v: %v, want %v", id, got, want)
			}
		}
	}
}

// TestDecisionsAreKeptByAge: a member may ask weeks later. What is forgotten is
// not called aborted.
func TestDecisionsAreKeptByAge(t *testing.T) {
	dir := t.TempDir()
	o := newOwner(t)
	day := 24 * time.Hour
	write := func(ids ...protocol.PushID) {
		var b strings.Builder
		for _, id := range ids {
			b.WriteString(withSum(id.String()))
		}
		if err := appendFile(filepath.Join(dir, "decided"), b.String(), false); err != nil {
			t.Fatal(err)
		}
	}
	run := func(ago time.Duration, n int) (ids []protocol.PushID) {
		for i := range n {
			ids = append(ids, at(ago-time.Duration(i)))
		}
		return ids
	}
	check := func(what string, id protocol.PushID, want protocol.Outcome) {
		t.Helper()
		for range 2 {
			if got, _ := o.open(dir, 7).Outcome(id); got != want {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
		}
	}
	weeks := run(20*day, 5000)
	write(weeks...)
	check("three weeks old", weeks[0], protocol.OutcomeCommitted)
	check("three weeks old, not decided", at(19*day), protocol.OutcomeAborted)
	write(run(10*day, keepMost+keepMost/10)...)
	if n := len(o.open(dir, 7).decided.list); n != keepMost {
		t.Errorf("%d decisions are kept", n)
	}
	check("pushed out", weeks[0], protocol.OutcomeUnknown)
	check("from the time of those", at(19*day), protocol.OutcomeUnknown)
	check("new, not decided", at(0), protocol.OutcomeAborted)
	check("new, decided", at(10*day-keepMost), protocol.OutcomeCommitted)
}

// TestDecisionInDoubt: an error of the disk leaves a decision that can't be taken
// back. Nobody is told that it is none until that is certain.
func TestDecisionInDoubt(t *testing.T) {
	dir := t.TempDir()
	o := newOwner(t)
	s := o.open(dir, 7)
	if err := o.decide(s, at(5)); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("input/output error")
	add, replace := s.decisions.add, s.decisions.replace
	s.decisions.add = func(path, text string, sync bool) error {
		if err := add(path, text, false); err != nil {
			t.Fatal(err)
		}
		return doubt(broken) // the sync
	}
	s.decisions.replace = func(string, string) error { return broken }
	if err := o.decide(s, at(4)); !errors.Is(err, ErrDoubt) || !errors.Is(err, broken) {
		t.Fatalf("error %v", err)
	}
	if got, _ := s.Outcome(at(4)); got != protocol.OutcomeUnknown {
		t.Errorf("in doubt: %v", got)
	}
	o.next() // the question had it try again
	if got, _ := s.Outcome(at(4)); got != protocol.OutcomeUnknown {
		t.Errorf("still in doubt: %v", got)
	}
	o.next()
	if after := o.open(dirCopy(t, dir), 8); !after.decided.has(at(4)) {
		t.Error("the next start would not find it")
	}
	s.decisions.replace = replace
	s.Outcome(at(4))
	o.next()
	if got, _ := s.Outcome(at(4)); got != protocol.OutcomeAborted {
		t.Errorf("taken back: %v", got)
	}
	if after := o.open(dirCopy(t, dir), 8); after.decided.has(at(4)) || !after.decided.has(at(5)) {
		t.Error("the next start would find it, or lose the other one")
	}
	// An error that leaves no line leaves no doubt.
	s.decisions.add = func(string, string, bool) error { return broken }
	if err := o.decide(s, at(3)); err == nil || errors.Is(err, ErrDoubt) {
		t.Errorf("error %v", err)
	}
	if got, _ := s.Outcome(at(3)); got != protocol.OutcomeAborted {
		t.Errorf("not decided: %v", got)
	}
	// One that is taken back at once is an abort.
	s.decisions.add = func(string, string, bool) error { return doubt(broken) }
	if err := o.decide(s, at(2)); err != nil {
		t.Errorf("a torn log is written anew with the decision: %v", err)
	}
	if err := o.decide(s, at(1)); err == nil || errors.Is(err, ErrDoubt) || err.Error() != broken.Error() {
		t.Errorf("error %v", err)
	}
}

// dirCopy is what a crash would leave of dir now.
func dirCopy(t *testing.T, dir string) string {
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

func TestSessionsAreBounded(t *testing.T) {
	dir := t.TempDir()
	o := newOwner(t)
	path := filepath.Join(dir, "sessions")
	if err := os.WriteFile(path, []byte(strings.Repeat("f0\n", keepSessions)+"f1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := o.open(dir, 0xf2)
	if b, _ := os.ReadFile(path); strings.Count(string(b), "\n") != keepSessions || !s.sessions[0xf1] || !s.sessions[0xf2] {
		t.Errorf("sessions %v, file %q", s.sessions, b)
	}
}
