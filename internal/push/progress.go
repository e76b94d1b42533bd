package push

import (
	"fmt"
	"time"

	"makuo/protocol"
)

// Progress, not noise, keeps a member in. While the push waits for a member,
// these are progress:
//
//   - it has consumed a block more;
//   - it said a record that was not heard before;
//   - the count of what its disk has done has changed (Feedback.Work).
//
// NAKs, answers to state messages, and the word that its disk is busy are none.
// The pages of its logs are counted by fetch. A member that shows none for the
// time of --timeout, and what the rate needs beyond for blockTime, is lost.
// Time in which the push waits for something else does not count: another push
// in the way, a window that others keep full, a block that is not sent whole.
type progress struct {
	at       time.Time // when there was some, or nothing was waited for
	consumed uint32
	work     uint32
	received uint32 // packets, by its last feedback
	since    uint32 // of them, until at
}

// note takes what a feedback shows.
func (p *progress) note(now time.Time, fb *protocol.Feedback, consumed uint32) {
	p.received = fb.Received
	if consumed > p.consumed || fb.Work != p.work {
		p.moved(now)
	}
	p.consumed, p.work = consumed, fb.Work
}

// moved says that there was progress, or that nothing is waited for.
func (p *progress) moved(now time.Time) { p.at, p.since = now, p.received }

// waitsFor reports whether m is to do something next.
func (o *Origin) waitsFor(i int, m *originMember) bool {
	switch {
	case !m.inStream():
		return false
	case o.state == originLocking:
		return !m.locked && !m.busy && !o.told
	case o.state == originStreaming:
		_, sent := o.left()
		consumed := o.s.Consumed(i)
		return consumed < sent || sent == o.s.Offered() && m.wants < o.offered
	case o.state == originFlushing:
		return m.stage == MemberActive
	case o.state == originCommitting:
		return m.stage == MemberStaged
	}
	return false
}

// blockTime is how long the rate needs for two of the largest blocks: a member
// may need as long until it has the next one whole.
func (o *Origin) blockTime() time.Duration {
	return time.Duration(2 * protocol.MaxBlock * float64(time.Second) / float64(max(1, o.s.Rate())))
}

// stalled loses members that make no progress.
func (o *Origin) stalled(now time.Time) {
	if o.state >= originCollecting {
		return
	}
	for i, m := range o.members {
		p := &m.progress
		if !o.waitsFor(i, m) {
			p.moved(now)
			continue
		}
		if quiet := now.Sub(p.at); quiet >= o.cfg.Timeout+o.blockTime() {
			o.lose(now, i, o.stalledText(i, m, quiet.Round(time.Second)))
		}
	}
}

// stalledText says what was seen of a member without progress.
func (o *Origin) stalledText(i int, m *originMember, quiet time.Duration) string {
	if m.syncing {
		return fmt.Sprintf("its disk has been busy with sync for %v, and nothing came of it", quiet)
	}
	if _, sent := o.left(); o.s.Consumed(i) < sent {
		switch small := m.progress.received - m.progress.since; {
		case small > 0:
			return fmt.Sprintf("it has received nothing whole for %v: small packets arrive, packets of %s bytes do not: is the MTU smaller on the way to it?", quiet, o.packetSize())
		default:
			return fmt.Sprintf("no data has reached it for %v, though its answers arrive: does multicast of full packets (%s bytes) pass on the way to it?", quiet, o.packetSize())
		}
	}
	return fmt.Sprintf("it answers, and has made no progress for %v", quiet)
}

// packetSize is the UDP payload of full packets, for people.
func (o *Origin) packetSize() string {
	n := fmt.Sprint(o.cfg.Payload)
	if o.cfg.Payload >= 1000 {
		n = n[:len(n)-3] + "," + n[len(n)-3:]
	}
	return n
}
