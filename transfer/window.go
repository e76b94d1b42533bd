package transfer

import "time"

// window keeps how far each member is and how far the sender may run.
type window struct {
	total   uint64 // bytes ever offered
	members []memberWindow
	count   int // members in the stream
	lowest  uint32
	atLow   int // members at lowest; 0: to be found anew
	right   uint64
	stale   bool // right is to be found anew
}

type memberWindow struct {
	in       bool
	consumed uint32
	edge     uint64 // bytes of the stream, from its start, that the member has room for
}

func (w *window) init(members int) {
	w.members = make([]memberWindow, members)
	for i := range w.members {
		w.members[i] = memberWindow{in: true, edge: firstRoom}
	}
	w.count = members
	w.dirty()
}

func (w *window) dirty() { w.atLow, w.stale = 0, true }

func (w *window) raise(m *memberWindow, edge uint64) {
	if edge > m.edge {
		w.stale = w.stale || m.in && m.edge <= w.right
		m.edge = edge
	}
}

func (w *window) advance(m *memberWindow, consumed uint32) {
	if m.in && m.consumed == w.lowest && w.atLow > 0 {
		w.atLow--
	}
	m.consumed = consumed
}

// low returns the smallest consumed mark of the members in the stream, next if
// there is none. It looks at all members only when the last one at the old
// mark has moved.
func (w *window) low(next uint32) uint32 {
	if w.count == 0 {
		return next
	}
	if w.atLow == 0 {
		first := true
		for i := range w.members {
			switch m := &w.members[i]; {
			case !m.in:
			case first || m.consumed < w.lowest:
				w.lowest, w.atLow, first = m.consumed, 1, false
			case m.consumed == w.lowest:
				w.atLow++
			}
		}
	}
	return w.lowest
}

// edge returns the smallest edge of the members in the stream.
func (w *window) edge() uint64 {
	if w.stale {
		w.stale = false
		w.right = 1 << 62
		for i := range w.members {
			if m := &w.members[i]; m.in {
				w.right = min(w.right, m.edge)
			}
		}
	}
	return w.right
}

// Bounds of the round trip.
const (
	firstRTT = 5 * time.Millisecond // before any sample
	maxRTT   = 10 * time.Second
)

// grtt is the largest round trip of the group: it rises at once and falls by
// at most a tenth in each round (RFC 5401, section 3.7.4).
type grtt struct {
	now   time.Duration
	round time.Time
	high  time.Duration // largest sample of this round; 0 if none
	seen  bool
}

func (g *grtt) init(now time.Time) { g.now, g.round = firstRTT, now }

func (g *grtt) value() time.Duration { return g.now }

func (g *grtt) add(now time.Time, rtt time.Duration) {
	rtt = max(rtt, time.Microsecond)
	g.high = max(g.high, rtt)
	switch {
	case !g.seen:
		g.now, g.seen = rtt, true
	case rtt > g.now:
		g.now = rtt
	}
	if now.Sub(g.round) >= max(2*g.now, 50*time.Millisecond) {
		g.now = max(g.high, g.now*9/10, time.Microsecond)
		g.high, g.round = 0, now
	}
}
