package push

import (
	"fmt"
	"slices"
	"time"

	"makuo/protocol"
)

// A member that receives far less than is sent, where the others keep up, is
// parked as well: the rate would come down to what its link takes before it
// could hold anybody back.
//
//  1. A measurement is the time from one feedback to another: the rate of what
//     was sent, by this host's clock, and of what the member received, by its
//     own, so that words which are held up on their way and come in heaps are no
//     slowness. One that is long tells nothing: the member was silent, and so
//     was its clock, or its words were lost.
//  2. Of the last two epochs count the fastest sending that was measured, and the
//     fastest receiving, so that a pause, however it ends, is no slowness.
//  3. A member is slow if it received less than a third of that at best, and the
//     median of the members half of it at least: if all are so, the machine is
//     slow, or a link they share. One that speaks and received nothing at all
//     has no processor time: a slow link lets something through.
const (
	slowRatio    = 3
	fastRatio    = 2
	paceEpoch    = 250 * time.Millisecond
	judgeEvery   = 25 * time.Millisecond // from the end of the first epoch on
	paceInterval = 25 * time.Millisecond // of a measurement, at least
	paceLongest  = 65 * time.Millisecond // and at most, in a small roster: large ones say less
	paceCount    = 3                     // measurements at least
	paceLeast    = 4000                  // packets a second that were sent, else nothing can be told
)

// paceTimes returns the longest measurement, and the epoch, for a roster of n.
func paceTimes(n int) (longest, epoch time.Duration) {
	longest = max(paceLongest, time.Duration(min(n, 100))*10*time.Millisecond)
	return longest, max(paceEpoch, 2*longest)
}

// pace is what arrives at one member.
type pace struct {
	clock    uint64 // microseconds, of the measurement's begin, by the member's clock
	received uint32
	heard    time.Time  // the begin
	sent     uint32     // until then
	count    [2]int     // measurements in this epoch and the one before
	offered  [2]float64 // packets a second, the fastest sending
	taken    [2]float64 // and the fastest receiving
}

// add takes a feedback that was heard when sent packets were sent.
func (p *pace) add(now time.Time, fb *protocol.Feedback, sent uint32, longest time.Duration) {
	here := now.Sub(p.heard)
	took := time.Duration(fb.Clock-p.clock) * time.Microsecond
	switch {
	case p.clock != 0 && fb.Clock >= p.clock && min(took, here) < paceInterval:
		return
	case p.clock != 0 && fb.Clock > p.clock && fb.Received >= p.received && max(took, here) <= longest:
		p.offered[0] = max(p.offered[0], float64(sent-p.sent)/here.Seconds())
		p.taken[0] = max(p.taken[0], float64(fb.Received-p.received)/took.Seconds())
		p.count[0]++
	}
	p.clock, p.received, p.sent, p.heard = fb.Clock, fb.Received, sent, now
}

// recent returns what was offered and taken in the last two epochs; false if
// too little was measured.
func (p *pace) recent() (offered, taken float64, known bool) {
	offered = max(p.offered[0], p.offered[1])
	return offered, max(p.taken[0], p.taken[1]), p.count[0]+p.count[1] >= paceCount && offered >= paceLeast
}

func (p *pace) turn() {
	p.offered, p.taken = [2]float64{0, p.offered[0]}, [2]float64{0, p.taken[0]}
	p.count = [2]int{0, p.count[0]}
}

// epochs are the times after which paces are forgotten.
type epochs struct {
	began  time.Time
	judged time.Time
	first  bool // the present one is
}

func (e *epochs) start(now time.Time) { *e = epochs{began: now, first: true} }

// judgePace returns which members receive far too little, and what is to be
// said of them, by roster index.
func (o *Origin) judgePace(now time.Time) map[int]string {
	e := &o.epochs
	_, epoch := paceTimes(len(o.members))
	over := now.Sub(e.began) >= epoch
	if o.state != originStreaming || e.first && !over || now.Sub(e.judged) < judgeEvery {
		return nil
	}
	e.judged = now
	typical := o.typicalPace()
	var slow map[int]string
	for i, m := range o.members {
		offered, taken, known := m.pace.recent()
		if over {
			m.pace.turn()
		}
		if known && m.inStream() && typical*fastRatio >= 1 && taken > 0 && taken*slowRatio < offered {
			if slow == nil {
				slow = make(map[int]string)
			}
			slow[i] = fmt.Sprintf("only %.0f %% of what was sent reached it", 100*taken/offered)
		}
	}
	if over {
		*e = epochs{began: now, judged: now}
	}
	return slow
}

// typicalPace is the median of the shares that members received of what was
// offered, of two the larger; 0 if less than two are known.
func (o *Origin) typicalPace() float64 {
	var all []float64
	for _, m := range o.members {
		if offered, taken, known := m.pace.recent(); known && m.inStream() {
			all = append(all, taken/offered)
		}
	}
	if len(all) < 2 {
		return 0
	}
	slices.Sort(all)
	return all[len(all)/2]
}
