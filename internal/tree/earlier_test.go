package tree

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"makuo/protocol"
)

var errStop = errors.New("input/output error")

// stopAt makes the n-th change of each commit, and all after it, fail.
func stopAt(t *testing.T, n int) {
	t.Helper()
	t.Cleanup(func() { commitHook = nil })
	steps := 0
	commitHook = func(what, path string) error {
		if steps++; steps >= n {
			return errStop
		}
		return nil
	}
}

// TestEarlierCommitIsFinishedFirst: a commit that stopped half-way is over
// before a newer push begins, and never comes back at the next start.
func TestEarlierCommitIsFinishedFirst(t *testing.T) {
	for _, closed := range []bool{false, true} {
		for n := 2; n < 9; n++ {
			p, src, dst := pair(t)
			plant(t, dst, 1000, "a old", "gone 1", "d/e old")
			plant(t, src, 2000, "a first", "d/e first", "new 1")
			tg, _ := p.stage(t)
			stopAt(t, n)
			if _, _, err := tg.Commit(); !errors.Is(err, errStop) {
				t.Fatal(err)
			}
			if closed {
				tg.Close()
			}
			if _, err := p.dst.Begin(protocol.PushID{Start: 9}, p.header(t)); !errors.Is(err, errStop) || !strings.Contains(err.Error(), tg.id.String()) {
				t.Fatalf("a push began over half a commit: %v", err)
			}
			commitHook = nil
			plant(t, src, 3000, "a second", "gone back")
			must(t, os.Remove(filepath.Join(src, "new")))
			if o := p.push(t); len(o.problems) > 0 {
				t.Fatal(o.problems)
			}
			tg.Close()
			m := openTestModule(t, dst)
			if pending, err := m.Recover(); err != nil || len(pending) > 0 {
				t.Fatal(pending, err)
			}
			sameTrees(t, describe(t, src), describe(t, dst))
		}
	}
}

// TestEarlierCommitElsewhere stands in nobody's way.
func TestEarlierCommitElsewhere(t *testing.T) {
	p, src, dst := pair(t)
	plant(t, src, 2000, "a/x 1", "b/y 2")
	q := *p
	p.paths, q.paths, q.id = []string{"a"}, []string{"b"}, 1000
	tg, _ := p.stage(t)
	stopAt(t, 3)
	if _, _, err := tg.Commit(); !errors.Is(err, errStop) {
		t.Fatal(err)
	}
	commitHook = func(_, path string) error {
		if strings.HasPrefix(path, "a") {
			return errStop
		}
		return nil
	}
	q.push(t)
	if !exists(dst, "b/y") {
		t.Error("b was not pushed")
	}
	commitHook = nil
	if _, _, err := tg.Commit(); err != nil || !exists(dst, "a/x") {
		t.Error(err)
	}
}

// TestCommitAgain: a commit that is tried until it works counts and reports
// everything once.
func TestCommitAgain(t *testing.T) {
	p, src, dst := pair(t)
	plant(t, dst, 1000, "a old", "gone/x 1", "gone/y 2", "swap/in side", "swap/too 1", "k/bad file")
	plant(t, src, 2000, "a new", "swap file", "k/bad file", "n/m 1")
	plain := p.stageFailing(t, dst)
	want := &outcome{}
	if _, _, err := plain.Commit(); err != nil {
		t.Fatal(err)
	}
	want.collect(t, plain)
	plain.Close()
	if len(want.problems) == 0 || len(want.deleted) < 5 {
		t.Fatalf("%+v", want)
	}

	q, src, dst := pair(t)
	plant(t, dst, 1000, "a old", "gone/x 1", "gone/y 2", "swap/in side", "swap/too 1", "k/bad file")
	plant(t, src, 2000, "a new", "swap file", "k/bad file", "n/m 1")
	tg := q.stageFailing(t, dst)
	for n := 1; ; n++ {
		stopAt(t, n)
		if _, _, err := tg.Commit(); err == nil {
			break
		}
	}
	if _, _, err := tg.Commit(); err != nil {
		t.Errorf("after its end: %v", err)
	}
	got := &outcome{}
	got.collect(t, tg)
	slices.Sort(got.deleted)
	slices.Sort(want.deleted)
	if got.counts != want.counts || !slices.Equal(got.deleted, want.deleted) || !slices.Equal(got.problems, want.problems) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	tg.Close()
}

// stageFailing stages a push in which "k/bad", whose time differs, becomes a
// directory before the commit.
func (p *pusher) stageFailing(t *testing.T, dst string) *Target {
	tg, _ := p.stage(t)
	must(t, os.Remove(filepath.Join(dst, "k/bad")))
	must(t, os.MkdirAll(filepath.Join(dst, "k/bad/in"), 0o755))
	return tg
}

func TestPageLogTruncate(t *testing.T) {
	for _, long := range []int{10, memoryLog + 10, 3 * memoryLog} {
		var l pageLog
		l.add([]byte("keep"))
		l.add([]byte(strings.Repeat("x", long)))
		l.truncate(4)
		l.add([]byte("more"))
		b := make([]byte, 9)
		if n, _ := l.readAt(b, 0); string(b[:n]) != "keepmore" || l.size != 8 {
			t.Errorf("%d: %q, size %d", long, b[:n], l.size)
		}
		l.close()
	}
}
