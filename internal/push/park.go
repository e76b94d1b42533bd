package push

import "time"

// When a member is parked: it held the others back for holdFor, or for
// holdShare of the push's time so far if that is more, or receives far less
// than they do (pace.go). A parked member is out of the stream: the others go
// on without it, and when they are done it is served by a push of its own, of
// the same manifest. At least one member stays in the stream.
//
//  1. The push waits for a member if nothing can be sent or done before that
//     one has answered or made room. While anything is left to send, nobody
//     holds anybody back, however far behind some are.
//  2. It waits for all who are still at it. If these are a minority, the others
//     wait for them; if not, the work takes its time, or the machine is slow.
//  3. The time that the others wait for a member adds up. Time in which they do
//     not is forgiven by half, so that short waits do not sum up in a long push.
//  4. This process may be short of processor time itself: a look that comes
//     late counts for no more than one in time.
//  5. A member that has fallen silent while the others are heard is waited for as
//     well: the rate does not grow until all have said what they received.
//  6. A member that is heard now and then, but less than the others, may have
//     said what is waited for, or is short of processor time: it gets longer.
const (
	holdFor    = 250 * time.Millisecond
	holdShare  = 0.1
	holdLock   = 500 * time.Millisecond // for an answer to the first question
	forgive    = 0.5
	flushMore  = 0.5                    // of the time that most took to receive the rest and put it on disk
	halfHeard  = 3                      // times as long for a member whose words get lost
	fewMembers = 7                      // answer each state message
	muteFor    = 150 * time.Millisecond // without feedback, where each of the others has sent
	muteWords  = 4                      // so many: from then on they wait
	wordEvery  = 22 * time.Millisecond  // of a member's feedback: a state message, which is answered, comes every 25 ms
	lookEvery  = 5 * time.Millisecond
	lookMost   = 50 * time.Millisecond
)

// hold is how long the others have waited for a member.
type hold struct {
	sum   time.Duration // less what is forgiven
	began time.Time     // when it was none
	words int           // feedback of the member before that
	all   int           // and of all
}

// parking parks members that hold the others back.
func (o *Origin) parking(now time.Time) {
	if !o.cfg.Park || o.state > originFlushing || o.state == originYielding || o.told && o.state == originLocking {
		o.looked = now
		return
	}
	took := now.Sub(o.looked)
	if took < lookEvery {
		return
	}
	o.looked, took = now, min(took, lookMost)
	inStream := o.count((*originMember).inStream)
	slow := o.judgePace(now)
	waits := o.awaited(now, inStream)
	if n := o.count(func(m *originMember) bool { return m.inStream() && waits(m) != "" }); 2*n >= inStream && (inStream != 2 || n != 1) {
		waits = nobody
	} else if n > 0 && o.mostDone.IsZero() && o.state == originFlushing {
		o.mostDone = now
	}
	for i, m := range o.members {
		if !m.inStream() {
			continue
		}
		why := waits(m)
		o.held(now, m, why != "", took)
		switch {
		case inStream < 2:
			return
		case why != "" && m.hold.sum >= o.leastHold(now, m, inStream):
		case slow[i] != "":
			why = slow[i]
		default:
			continue
		}
		inStream--
		o.park(now, i, why)
	}
}

// word counts a member's feedback. What comes in one go, as after a pause, counts
// once.
func (o *Origin) word(now time.Time, m *originMember) {
	if now.Sub(m.counted) < wordEvery {
		return
	}
	m.counted = now
	m.words++
	o.words++
	m.atWord = o.words
}

// held adds to the time the others waited for m, or forgives some.
func (o *Origin) held(now time.Time, m *originMember, waited bool, took time.Duration) {
	if !waited {
		m.hold.sum = max(0, m.hold.sum-time.Duration(forgive*float64(took)))
		return
	}
	if m.hold.sum == 0 {
		m.hold.began, m.hold.words, m.hold.all = now, m.words, o.words
	}
	m.hold.sum += took
}

// leastHold is how long m may keep the others waiting.
func (o *Origin) leastHold(now time.Time, m *originMember, inStream int) time.Duration {
	least := max(holdFor, time.Duration(holdShare*float64(now.Sub(o.streamAt))))
	switch o.state {
	case originLocking:
		least = holdLock
	case originFlushing:
		least = max(least, time.Duration(flushMore*float64(o.mostDone.Sub(o.since))))
	}
	said := m.words - m.hold.words
	others := (o.words - m.hold.all - said) / (inStream - 1)
	if len(o.members) <= fewMembers {
		others = max(others, int(now.Sub(m.hold.began)/o.every()))
	}
	if said > 0 && 5*said < 4*others {
		least *= halfHeard
	}
	return least
}

// mute reports whether m has fallen silent.
func (o *Origin) mute(now time.Time, m *originMember, inStream int) bool {
	return now.Sub(m.word) >= muteFor && o.words-m.atWord >= muteWords*(inStream-1)
}

func nobody(*originMember) string { return "" }

// awaited returns for each member what the push waits for it to do at this
// moment; empty if it does not.
func (o *Origin) awaited(now time.Time, inStream int) func(m *originMember) string {
	switch o.state {
	case originLocking:
		return func(m *originMember) string {
			if m.locked {
				return ""
			}
			return "it did not answer"
		}
	case originFlushing:
		return func(m *originMember) string {
			switch {
			case m.stage != MemberActive:
				return ""
			case m.syncing:
				return "it was slow to put everything on disk"
			}
			return "it was slow to receive the rest"
		}
	}
	sent := o.s.Blocks()
	switch {
	case sent < o.s.Offered():
	case o.s.Room() == 0:
		return func(m *originMember) string {
			if o.s.Consumed(o.index[m.Session]) >= sent {
				return ""
			}
			return "it did not keep up with the stream"
		}
	case o.reading == 0 && len(o.batches) > 0 && (o.scanned || len(o.batches) >= maxOutstanding):
		return func(m *originMember) string {
			if m.wants > o.answered {
				return ""
			}
			return "it was slow to compare"
		}
	}
	return func(m *originMember) string {
		if o.mute(now, m, inStream) {
			return "it fell silent"
		}
		return ""
	}
}

func (o *Origin) park(now time.Time, i int, why string) {
	m := o.members[i]
	m.stage, m.text = MemberParked, why
	o.s.Drop(i)
	o.unanswered(m)
	o.emit(EvMember{Name: m.Name, State: MemberParked, Text: why})
	o.urgent = true
}
