package tree

import "testing"

func TestWantsAreDroppedWhenSettled(t *testing.T) {
	var l wantList
	const n = 10 * wantsPerChunk
	for i := range uint32(n) {
		l.add(want{entry: 3 * i, off: int64(i), held: new(heldStep)})
	}
	for _, e := range [...]uint32{1, 3*n - 2, 3 * n, 1 << 31} {
		if l.find(e) != nil || l.isOpen(e) {
			t.Errorf("entry %d is wanted", e)
		}
	}
	held := func() (n int) {
		for i := range l.chunks {
			n += len(l.chunks[i].wants)
		}
		return n
	}
	for i := range uint32(n) {
		if w := l.find(3 * i); w == nil || w.off != int64(i) || !l.isOpen(3*i) {
			t.Fatalf("entry %d: %+v", 3*i, w)
		}
		if i == 5 || i == n-1 {
			continue
		}
		l.settle(3*i, wantDone)
		if l.isOpen(3 * i) {
			t.Fatalf("entry %d is open", 3*i)
		}
	}
	if h := held(); h != 2*wantsPerChunk {
		t.Errorf("%d wants are held where two chunks have open ones", h)
	}
	var left []uint32
	err := l.unsettled(func(w want) error {
		left = append(left, w.entry)
		l.settle(w.entry, wantFailed)
		return nil
	})
	must(t, err)
	if len(left) != 2 || left[0] != 15 || left[1] != 3*(n-1) || held() != 0 || l.n != n {
		t.Errorf("left were %d; held are %d of %d", left, held(), l.n)
	}
	if l.held != 0 {
		t.Errorf("%d steps are held", l.held)
	}
	l.add(want{entry: 3 * n, off: 1})
	if !l.isOpen(3*n) || l.isOpen(3*(n-1)) {
		t.Error("a want after a chunk that was dropped is lost")
	}
}

func TestHeldStepsAreBounded(t *testing.T) {
	var l wantList
	for i := range uint32(maxHeldSteps + 10) {
		l.add(want{entry: i, held: new(heldStep)})
	}
	if l.held != maxHeldSteps || l.find(maxHeldSteps-1).held == nil || l.find(maxHeldSteps).held != nil {
		t.Errorf("%d steps are held", l.held)
	}
	l.settle(0, wantDone)
	l.add(want{entry: 1 << 20, held: new(heldStep)})
	if l.find(1<<20).held == nil {
		t.Error("there was room for one")
	}
}
