package push

import (
	"bytes"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"makuo/protocol"
)

func testRand(t *testing.T) *rand.Rand { return rand.New(rand.NewPCG(simSeed(t), 2)) }

var testStart = time.Unix(1_700_000_000, 0)

// TestLocksAgainstAModel takes and gives back locks at random; the model is a
// set of paths for each push.
func TestLocksAgainstAModel(t *testing.T) {
	r := testRand(t)
	names := []string{".", "a", "a/b", "a/b/c", "a-b", "ab", "b", "b/a"}
	var l Locks
	model := map[protocol.PushID][]string{}
	within := func(p, q string) bool { return q == "." || p == q || strings.HasPrefix(p, q+"/") }
	for range 20000 {
		id := protocol.PushID{Start: int64(r.IntN(6) + 1), Origin: 1}
		paths := []string{names[r.IntN(len(names))], names[r.IntN(len(names))]}
		want := map[protocol.PushID]bool{}
		for other, held := range model {
			for _, p := range held {
				for _, q := range paths {
					if other != id && (within(p, q) || within(q, p)) {
						want[other] = true
					}
				}
			}
		}
		got := l.Conflicts(id, "default", paths)
		if len(got) != len(want) {
			t.Fatalf("%v: conflicts %v, want %v", paths, got, want)
		}
		for _, h := range got {
			if !want[h.ID] {
				t.Fatalf("%v: conflicts %v, want %v", paths, got, want)
			}
		}
		if len(l.Conflicts(id, "other", paths)) != 0 {
			t.Fatal("another module's paths conflict")
		}
		switch {
		case r.IntN(3) == 0:
			l.Release(id)
			delete(model, id)
		case len(got) == 0 && model[id] == nil:
			l.Hold(id, "x", "default", paths)
			model[id] = paths
		}
	}
}

// TestRecordsArriveOnceAndInOrder sends numbered records over a line that
// loses, doubles and reorders.
func TestRecordsArriveOnceAndInOrder(t *testing.T) {
	r := testRand(t)
	for range 200 {
		var out outlog
		var in inlog
		var line []*protocol.Report
		now := testStart
		sent, got := uint32(0), uint32(0)
		for step := 0; got < 100; step++ {
			if step > 100000 {
				t.Fatalf("%d of 100 records after %v", got, now.Sub(testStart))
			}
			now = now.Add(time.Duration(r.IntN(20)) * time.Millisecond)
			if sent < 100 && r.IntN(2) == 0 {
				out.add(protocol.Record{Type: protocol.RecordWant, Batch: sent}, now)
				sent++
			}
			for _, rep := range out.poll(now, streamKey{1, 1}, 64+r.IntN(1400), 40*time.Millisecond) {
				for range r.IntN(3) { // none: lost
					line = append(line, rep)
				}
			}
			r.Shuffle(len(line), func(i, j int) { line[i], line[j] = line[j], line[i] })
			if len(line) > 0 && r.IntN(2) == 0 {
				for _, rec := range in.take(line[0]) {
					if rec.Batch != got {
						t.Fatalf("record %d came, %d was next", rec.Batch, got)
					}
					got++
				}
				line = line[1:]
			}
			if r.IntN(4) == 0 {
				out.heard(in.next)
			}
		}
		out.heard(in.next)
		if !out.empty() {
			t.Fatal("records that were heard are kept")
		}
		out.heard(1000)
		if out.first != 100 {
			t.Fatal("a number that was never sent was heard")
		}
	}
}

type memLog []byte

func (l memLog) LogSize(protocol.PageKind) int64 { return int64(len(l)) }

func (l memLog) ReadLog(_ protocol.PageKind, p []byte, off int64) (int, error) {
	return copy(p, l[off:]), nil
}

func TestFetchUnderLoss(t *testing.T) {
	r := testRand(t)
	for _, size := range []int{0, 1, protocol.MaxPage, protocol.MaxPage + 1, 100_000} {
		log := make(memLog, size)
		for i := range log {
			log[i] = byte(r.Uint32())
		}
		f := &fetch{kind: protocol.PageProblems}
		var got []byte
		var line []protocol.Page
		now := testStart
		for step := 0; !f.done(); step++ {
			if step > 100000 {
				t.Fatalf("size %d: not fetched", size)
			}
			now = now.Add(5 * time.Millisecond)
			if req, ok := f.request(now, 1, 30*time.Millisecond); ok && r.IntN(3) > 0 {
				pages(log, 1, &req, func(p *protocol.Page) {
					c := *p
					c.Bytes = bytes.Clone(p.Bytes)
					for range r.IntN(3) {
						line = append(line, c)
					}
				})
			}
			if r.IntN(3) == 0 {
				r.Shuffle(len(line), func(i, j int) { line[i], line[j] = line[j], line[i] })
			}
			for range min(len(line), 4) {
				got = append(got, f.page(&line[0])...)
				line = line[1:]
			}
		}
		if !bytes.Equal(got, log) {
			t.Errorf("size %d: %d bytes came, or others", size, len(got))
		}
	}
}

func TestProblemSet(t *testing.T) {
	p := problemSet{}
	p.add("m", "a/b")
	for name, want := range map[string]bool{"a": false, "a/b": true, "a/b/c/d": true, "a/bc": false, ".": false} {
		if p.covers("m", name) != want || p.covers("n", name) {
			t.Errorf("covers %s: %v", name, !want)
		}
	}
	p.add("n", ".")
	if !p.covers("n", "x/y") {
		t.Error("an error of the root covers all")
	}
}

// TestVerdict: only who has committed, or the origin, ends a doubt.
func TestVerdict(t *testing.T) {
	for o := protocol.OutcomeUnknown; o <= protocol.OutcomeRunning; o++ {
		for _, origin := range []bool{false, true} {
			want := verdictNone
			if o == protocol.OutcomeCommitted {
				want = verdictCommit
			} else if o == protocol.OutcomeAborted && origin {
				want = verdictDiscard
			}
			if got := verdict(&protocol.Answer{Outcome: o, Origin: origin}); got != want {
				t.Errorf("outcome %d of origin %v: %d, want %d", o, origin, got, want)
			}
		}
	}
}

func TestSpool(t *testing.T) {
	s, err := newSpool(t.TempDir(), 3)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if err := s.setBits(2, 1, []byte{5}); err != nil {
		t.Fatal(err)
	}
	var buf [bitsLen]byte
	for batch := range uint32(4) {
		for m := range 3 {
			buf[0] = 0xee
			s.change(batch, m, &buf)
			if want := map[bool]byte{true: 5}[batch == 2 && m == 1]; buf[0] != want {
				t.Errorf("batch %d member %d: %x", batch, m, buf[0])
			}
		}
	}
}

// TestStatesAreInTheManual holds the words of the code against those of the
// protocol's description.
func TestStatesAreInTheManual(t *testing.T) {
	b, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	words := append([]string(nil), memberStateNames[:len(memberStateNames)-1]...) // "over" has no row
	words = append(words, "locking", "yielding", "streaming", "flushing", "deciding", "committing", "collecting", "ending")
	for _, w := range words {
		if !strings.Contains(string(b), "\n| "+w+" |") {
			t.Errorf("docs/protocol.md has no row for the state %q", w)
		}
	}
	if int(originOver) != 8 || len(memberStateNames) != int(over)+1 {
		t.Error("a state was added: name it here and in docs/protocol.md")
	}
}

// TestDenials: a push that was denied is looked at again when a lock was
// released, or after a while.
func TestDenials(t *testing.T) {
	a, b := protocol.PushID{Start: 1, Origin: 1}, protocol.PushID{Start: 2, Origin: 1}
	var l Locks
	l.Hold(a, "x", "default", []string{"."})
	l.Deny(testStart, b, Holder{ID: a})
	if h, ok := l.Denied(testStart.Add(askAgain-1), b); !ok || h.ID != a {
		t.Error("a denial is forgotten")
	}
	if _, ok := l.Denied(testStart.Add(askAgain), b); ok {
		t.Error("a denial holds too long")
	}
	l.Release(a)
	if _, ok := l.Denied(testStart, b); ok {
		t.Error("a release is missed")
	}
	if l.Release(b); len(l.denied) != 0 {
		t.Error("a denial is kept after the push")
	}
}
