package push

import (
	"fmt"
	"slices"
	"time"

	"makuo/protocol"
)

// A member that receives far less than the others do at the same time is
// parked as well: the rate would come down to what its link takes before it
// could hold anybody back. What counts is its best measurement of the last two
// epochs, so that a pause in them, however it ends, is no slowness; and the
// others cannot have received more than was sent, however fast they read what
// had waited for them.
const (
	slowRatio    = 3
	paceEpoch    = 250 * time.Millisecond
	judgeEvery   = 25 * time.Millisecond // from the end of the first epoch on
	paceInterval = 25 * time.Millisecond // of a measurement, by the member's clock, at least
	pacePackets  = 20                    // sent in a measurement, at least
	paceSpan     = 75 * time.Millisecond // of all measurements, at least
	paceLeast    = 2000                  // packets a second of the others, else nothing can be told
)

// pace is what arrives at one member, by its own clock.
type pace struct {
	clock    uint64 // microseconds, of the measurement's begin
	received uint32
	highest  uint32
	span     [2]time.Duration // measured in this epoch and the one before
	best     [2]float64       // packets a second, the best of them
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
	p.best[0] = max(p.best[0], float64(fb.Received-p.received)/took.Seconds())
	p.span[0] += took
	p.clock, p.received, p.highest = fb.Clock, fb.Received, fb.Highest
}

// recent returns the best measurement of the last two epochs; false if too
// little was measured.
func (p *pace) recent() (float64, bool) {
	return max(p.best[0], p.best[1]), p.span[0]+p.span[1] >= paceSpan
}

func (p *pace) turn() {
	p.best, p.span = [2]float64{0, p.best[0]}, [2]time.Duration{0, p.span[0]}
}

// epochs are the times that paces are compared in.
type epochs struct {
	began  time.Time
	first  bool
	seq    uint32 // of the first packet
	before float64
	judged time.Time
}

func (e *epochs) start(now time.Time, seq uint32) { *e = epochs{began: now, first: true, seq: seq} }

// sent is how many packets a second were sent, in this epoch or the one before.
func (e *epochs) sent(now time.Time, seq uint32) float64 {
	return max(e.before, float64(seq-e.seq)/max(now.Sub(e.began), judgeEvery).Seconds())
}

// judgePace returns which members receive far too little, and what is to be
// said of them, by roster index.
func (o *Origin) judgePace(now time.Time) map[int]string {
	e := &o.epochs
	over := now.Sub(e.began) >= paceEpoch
	if o.state != originStreaming || e.first && !over || now.Sub(e.judged) < judgeEvery {
		return nil
	}
	e.judged = now
	typical := min(o.typicalPace(), e.sent(now, o.s.Packets()))
	var slow map[int]string
	for i, m := range o.members {
		best, known := m.pace.recent()
		if over {
			m.pace.turn()
		}
		if known && m.inStream() && typical >= paceLeast && best*slowRatio < typical {
			if slow == nil {
				slow = make(map[int]string)
			}
			slow[i] = fmt.Sprintf("it receives at most %.0f packets a second where the others receive %.0f", best, typical)
		}
	}
	if over {
		seq := o.s.Packets()
		*e = epochs{began: now, seq: seq, before: float64(seq-e.seq) / now.Sub(e.began).Seconds(), judged: now}
	}
	return slow
}

// typicalPace is the median of the members' best measurements, of two the
// larger; 0 if less than two are known.
func (o *Origin) typicalPace() float64 {
	var all []float64
	for _, m := range o.members {
		if best, known := m.pace.recent(); known && m.inStream() {
			all = append(all, best)
		}
	}
	if len(all) < 2 {
		return 0
	}
	slices.Sort(all)
	return all[len(all)/2]
}
