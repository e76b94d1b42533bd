package push

import (
	"fmt"
	"slices"
	"time"

	"makuo/protocol"
)

// When a member is parked: it held the others back for holdFor, or for
// holdShare of the push's time so far if that is more, or receives less than
// a third of what the others do. A parked member is out of the stream: the
// others go on without it, and when they are done it is served by a push of
// its own, of the same manifest. At least one member stays in the stream.
const (
	holdFor      = 250 * time.Millisecond
	holdShare    = 0.1
	holdLock     = time.Second // for an answer to the first question
	slowRatio    = 3
	paceInterval = 20 * time.Millisecond // of a measurement of what arrives, at least
	pacePackets  = 150                   // sent in a measurement, at least
	paceCount    = 2                     // measurements before a judgement
	paceLeast    = 2000                  // packets a second of the others, else nothing can be told
)

// pace is what arrives at one member, by its own clock.
type pace struct {
	clock    uint64 // microseconds, of the measurement's begin
	received uint32
	highest  uint32
	count    int
	best     float64 // packets a second, in the best measurement
}

func (p *pace) add(fb *protocol.Feedback) {
	if fb.Highest == 0 {
		return
	}
	if p.clock == 0 || fb.Clock < p.clock || fb.Received < p.received {
		p.clock, p.received, p.highest = fb.Clock, fb.Received, fb.Highest
		return
	}
	took := time.Duration(fb.Clock-p.clock) * time.Microsecond
	if took < paceInterval || fb.Highest-p.highest < pacePackets {
		return
	}
	p.best = max(p.best, float64(fb.Received-p.received)/took.Seconds())
	p.count++
	p.clock, p.received, p.highest = fb.Clock, fb.Received, fb.Highest
}

// parking parks members that hold the others back.
func (o *Origin) parking(now time.Time) {
	if !o.cfg.Park || o.state > originFlushing || o.state == originYielding || o.told && o.state == originLocking {
		return
	}
	inStream := o.count((*originMember).inStream)
	least := max(holdFor, time.Duration(holdShare*float64(now.Sub(o.streamAt))))
	if o.state == originLocking {
		least = holdLock
	}
	typical := o.typicalPace()
	for i, m := range o.members {
		if !m.inStream() {
			continue
		}
		why, what := o.holdsBack(m, inStream)
		if why == "" {
			m.holding = time.Time{}
		} else if m.holding.IsZero() || m.held != what {
			m.holding, m.held = now, what
		}
		slow := m.pace.count >= paceCount && typical >= paceLeast && m.pace.best*slowRatio < typical
		switch {
		case inStream < 2:
			return
		case why != "" && now.Sub(m.holding) >= least:
		case slow && o.state == originStreaming && now.Sub(o.streamAt) >= holdFor:
			why = fmt.Sprintf("it receives at most %.0f packets a second where the others receive %.0f", m.pace.best, typical)
		default:
			continue
		}
		inStream--
		o.park(now, i, why)
	}
}

// typicalPace is the median of the members' best measurements.
func (o *Origin) typicalPace() float64 {
	var best []float64
	for _, m := range o.members {
		if m.inStream() && m.pace.count >= paceCount {
			best = append(best, m.pace.best)
		}
	}
	if len(best) < 2 {
		return 0
	}
	slices.Sort(best)
	return best[len(best)/2]
}

// holdsBack says what the others wait for at this moment because of m alone
// or a minority that m belongs to; empty if nothing. What tells one wait from
// the next.
func (o *Origin) holdsBack(m *originMember, inStream int) (why string, what uint32) {
	switch o.state {
	case originLocking:
		if !m.locked && o.minority(inStream, func(x *originMember) bool { return !x.locked }) {
			return "it did not answer", 0
		}
	case originStreaming:
		if len(o.batches) > 0 && m.wants <= o.answered && (len(o.batches)+o.reading >= maxOutstanding || o.scanned && o.reading == 0) &&
			o.minority(inStream, func(x *originMember) bool { return x.wants <= o.answered }) {
			return "it was slow to compare", o.answered
		}
		mark := o.s.Consumed(o.index[m.Session])
		if o.s.Room() == 0 && o.minority(inStream, func(x *originMember) bool { return o.s.Consumed(o.index[x.Session]) <= mark }) {
			return "it did not keep up with the stream", 1<<32 - 1
		}
	case originFlushing:
		if m.stage == MemberActive && o.minority(inStream, func(x *originMember) bool { return x.stage == MemberActive }) {
			if m.syncing {
				return "it was slow to put everything on disk", 0
			}
			return "it was slow to receive the rest", 0
		}
	}
	return "", 0
}

// minority reports whether less than half of the members in the stream are so.
// Of two, one is.
func (o *Origin) minority(inStream int, is func(*originMember) bool) bool {
	n := o.count(func(m *originMember) bool { return m.inStream() && is(m) })
	return 2*n < inStream || inStream == 2 && n == 1
}

func (o *Origin) park(now time.Time, i int, why string) {
	m := o.members[i]
	m.stage, m.text = MemberParked, why
	o.s.Drop(i)
	o.unanswered(m)
	o.emit(EvMember{Name: m.Name, State: MemberParked, Text: why})
	o.urgent = true
}
