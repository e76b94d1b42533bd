package push

import (
	"os"
	"path/filepath"
	"testing"

	"makuo/protocol"
)

// TestHalfADecisionIsNone: what a crash or a failed write leaves is not taken
// for a decision.
func TestHalfADecisionIsNone(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenStore(dir, 7)
	if err != nil {
		t.Fatal(err)
	}
	id := func(n int64) protocol.PushID { return protocol.PushID{Start: n, Origin: 7} }
	if err := s.Decide(id(1)); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(dir, "decisions", id(1).String()))
	if err != nil {
		t.Fatal(err)
	}
	for n, content := range [][]byte{nil, whole[:len(whole)-1], whole} { // empty, cut off, another push's
		if err := os.WriteFile(filepath.Join(dir, "decisions", id(int64(n+2)).String()), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "decisions", ".tmp-1"), whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err = OpenStore(dir, 8); err != nil {
		t.Fatal(err)
	}
	for n := int64(1); n <= 4; n++ {
		want := map[bool]protocol.Outcome{true: protocol.OutcomeCommitted, false: protocol.OutcomeAborted}[n == 1]
		if got, _ := s.Outcome(id(n)); got != want {
			t.Errorf("push %d: %v, want %v", n, got, want)
		}
	}
	if list, _ := os.ReadDir(filepath.Join(dir, "decisions")); len(list) != 1 {
		t.Errorf("%d files are kept, of which one is a decision", len(list))
	}
}

// TestDecideThatFailsLeavesNothing stands something in the way of the rename.
func TestDecideThatFailsLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenStore(dir, 7)
	if err != nil {
		t.Fatal(err)
	}
	id := protocol.PushID{Start: 1, Origin: 7}
	if err := os.Mkdir(filepath.Join(dir, "decisions", id.String()), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.Decide(id); err == nil {
		t.Fatal("no error")
	}
	if list, _ := os.ReadDir(filepath.Join(dir, "decisions")); len(list) != 0 {
		t.Errorf("%d files are left", len(list))
	}
}

// TestStoreTrimsWhileItRuns: a daemon that is never stopped keeps no more than
// one that is.
func TestStoreTrimsWhileItRuns(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenStore(dir, 7)
	if err != nil {
		t.Fatal(err)
	}
	id := func(n int) protocol.PushID { return protocol.PushID{Start: int64(n + 1), Origin: 7} }
	for n := range keepDecisions + 5 {
		path := filepath.Join(dir, "decisions", id(n).String())
		if err := os.WriteFile(path, []byte(decisionContent(id(n))), 0o600); err != nil {
			t.Fatal(err)
		}
		s.Decided(id(n))
	}
	list, _ := os.ReadDir(filepath.Join(dir, "decisions"))
	if len(list) != keepDecisions || list[0].Name() != id(5).String() || len(s.decisions) != keepDecisions {
		t.Errorf("%d decisions on disk, %d known", len(list), len(s.decisions))
	}
	for range 3 * keepCommitted {
		if err := s.trimCommitted(); err != nil {
			t.Fatal(err)
		}
	}
	if s.lines > 2*keepCommitted {
		t.Errorf("%d lines", s.lines)
	}
}
