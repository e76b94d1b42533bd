package tree

import (
	"sort"

	"makuo/protocol"
)

// want is one regular file whose content this member needs. Everything else
// about it is in the plan.
type want struct {
	entry uint32
	state wantState
	off   int64     // of its step in the plan
	held  *heldStep // that step, where it is in memory too
}

// heldStep is what the plan says of a want, to spare reading it back.
type heldStep struct {
	flags uint8
	top   uint32
	keep  int
	entry *protocol.Entry
}

// step returns the step that h was made of.
func (h *heldStep) step(n uint32) step {
	return step{op: opFile, flags: h.flags, entry: n, top: h.top, keep: h.keep, path: h.entry.Path}
}

// maxHeldSteps is for how many wants the steps are in memory: more than are open
// when content keeps up with the manifest. Some 250 bytes each.
const maxHeldSteps = 32 << 10

type wantState uint8

const (
	wantOpen wantState = iota
	wantBusy           // somebody stores it
	wantDone           // staged, complete and with its attributes
	// wantFailed: the old file stays; reported by us or by the origin
	wantFailed
)

// settled reports whether nothing happens to a want any more.
func (s wantState) settled() bool { return s >= wantDone }

// wantList is the wants of a push in the order of their entries. A chunk whose
// wants are all settled is dropped: what is held at a time is bounded by how far
// the manifest may be ahead of the content, not by the tree.
type wantList struct {
	chunks []wantChunk
	n      int // wants, dropped ones too
	held   int // of them have a heldStep
}

// wantChunk is a run of wants. It is full but for the last one.
type wantChunk struct {
	last  uint32 // entry of the last want
	open  int    // wants that are not settled
	wants []want // nil: all are settled
}

const wantsPerChunk = 512

// add takes the next want; entries come in rising order.
func (l *wantList) add(w want) {
	if w.held != nil && l.held >= maxHeldSteps {
		w.held = nil
	}
	if w.held != nil {
		l.held++
	}
	c := len(l.chunks) - 1
	if c < 0 || len(l.chunks[c].wants) == wantsPerChunk || l.chunks[c].wants == nil {
		l.chunks = append(l.chunks, wantChunk{})
		c++
	}
	k := &l.chunks[c]
	k.wants = append(k.wants, w)
	k.last = w.entry
	k.open++
	l.n++
}

// chunk returns where entry n is, if it is wanted.
func (l *wantList) chunk(n uint32) *wantChunk {
	i := sort.Search(len(l.chunks), func(i int) bool { return l.chunks[i].last >= n })
	if i == len(l.chunks) {
		return nil
	}
	return &l.chunks[i]
}

// find returns the want of entry n: nil if there is none, or if it is settled
// and dropped. It is valid until the next call of another method.
func (l *wantList) find(n uint32) *want {
	k := l.chunk(n)
	if k == nil {
		return nil
	}
	i := sort.Search(len(k.wants), func(i int) bool { return k.wants[i].entry >= n })
	if i == len(k.wants) || k.wants[i].entry != n {
		return nil
	}
	return &k.wants[i]
}

// isOpen reports whether entry n is wanted and nobody has it.
func (l *wantList) isOpen(n uint32) bool {
	w := l.find(n)
	return w != nil && w.state == wantOpen
}

// settle ends the want of entry n, which is not settled.
func (l *wantList) settle(n uint32, state wantState) {
	w, k := l.find(n), l.chunk(n)
	w.state = state
	if w.held != nil {
		w.held = nil
		l.held--
	}
	if k.open--; k.open == 0 && len(k.wants) == wantsPerChunk {
		k.wants = nil
	}
}

// unsettled calls f with each want that is not settled; f may settle it.
func (l *wantList) unsettled(f func(w want) error) error {
	for i := range l.chunks {
		for j := 0; j < len(l.chunks[i].wants); j++ {
			w := l.chunks[i].wants[j]
			if w.state.settled() {
				continue
			}
			if err := f(w); err != nil {
				return err
			}
		}
	}
	return nil
}
