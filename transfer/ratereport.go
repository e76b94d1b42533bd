package transfer

import (
	"time"

	"makuo/protocol"
)

// report judges a member's feedback; seq is the next sequence number to be
// sent. It reports whether the rate may have changed.
func (c *rateControl) report(now time.Time, member int, fb *protocol.Feedback, seq uint32, rtt time.Duration) bool {
	c.heard = now
	m := &c.members[member]
	fresh := !before(fb.Highest, c.first) // the packets seen last are of this round
	here := mark{highest: fb.Highest, received: fb.Received + m.newest.excused, excused: m.newest.excused, clock: fb.Clock, heard: now}
	if m.anchored && here.clock < m.newest.clock && !before(m.newest.highest, here.highest) && now.Sub(m.newest.heard) < minSpan {
		return false // overtaken by the one after it
	}
	if !m.anchored || here.clock <= m.newest.clock || before(here.highest, m.newest.highest) {
		m.anchor(here, c.round, fresh)
		return false
	}
	last := m.newest
	packets, took := here.since(last)
	lost := here.lost(last)
	if lost > 0 {
		m.lostAt = now
	}
	excused := m.bursts.excuse(packets, lost, fb.Gap, took, max(c.rate, c.older))
	here.received, here.excused = here.received+excused, here.excused+excused
	m.newest = here
	if !fresh {
		return false // go on with the old anchor: see below
	}
	if (c.phase == rateStart || c.phase == rateProbe) && c.hasty(now, m, last, seq) {
		return true
	}
	wait := c.waiting(now, m)
	if wait != unknownWait {
		m.note(c.round, wait+c.hidden(m))
	}
	packets, took = here.since(m.from)
	whole := packets >= minPackets && took >= minSample
	if m.round != c.round {
		// The interval began in an older round: it says what the loss was at
		// the older rate, nothing more.
		if whole && m.round+1 == c.round {
			m.loss, m.at = here.loss(m.from), c.older
		}
		m.anchor(here, c.round, true)
		return false
	}
	if !whole {
		return c.overdue(now, seq)
	}
	sentRate, usedRate, ok := c.log.between(m.from.highest, here.highest)
	loss := here.loss(m.from)
	m.anchor(here, c.round, true)
	if !ok {
		return false
	}
	c.achieved, c.used = max(c.achieved, sentRate), max(c.used, usedRate)
	m.sample(loss, float64(packets), took)
	least := span(rtt)
	if c.phase == rateStart && wait < quickQueue {
		least = max(minSample, least/2) // no queue can hide what the rate does
	}
	return c.judge(now, m, sentRate, seq, least)
}

// hasty ends a start or probe before its round is over if the member shows
// that the rate is too high.
func (c *rateControl) hasty(now time.Time, m *rateMember, last mark, seq uint32) bool {
	packets, took := m.newest.since(last)
	loss := m.newest.loss(last)
	if packets < manyPackets || took < leastQueue || loss <= m.stray+blatant || c.rate <= c.good*muchMore {
		m.blatant = 0
	} else if arrived, ok := c.arrived(m, last); ok {
		// A queue that is full lets through what it did before; else the loss
		// has another cause, and may pass.
		if m.blatant++; m.blatant > 1 || arrived >= c.good*doubtful {
			c.congested(now, m, arrived, loss, seq)
			return true
		}
	}
	if c.waiting(now, m) < leastQueue {
		m.waits = 0
		return false
	}
	if m.waits == 0 || m.waitsIn != c.round {
		m.waits, m.waitsIn, m.waitsFrom = 0, c.round, last
	}
	if m.waits++; m.waits < minWaits {
		return false
	}
	arrived, ok := c.arrived(m, m.waitsFrom)
	if !ok {
		return false
	}
	m.waits = 0
	c.fullBy = m
	c.full(now, arrived, seq)
	return true
}

// arrived returns the rate in bytes a second at which a member got packets
// since an earlier feedback, had there been no stray loss. It reports false if
// there was a pause in the sending.
func (c *rateControl) arrived(m *rateMember, since mark) (float64, bool) {
	a, okA := c.log.locate(since.highest)
	b, okB := c.log.locate(m.newest.highest)
	_, took := m.newest.since(since)
	if !okA || !okB || took < time.Millisecond || c.log.idling() || !since.heard.After(c.log.began) {
		return 0, false
	}
	return float64(b.bytes-a.bytes) * (1 - m.newest.missed(since)) / (1 - min(m.stray, maxStray)) / took.Seconds(), true
}

// waiting returns how long the newest packet that a member has seen was on its
// way beyond the least such time, by the difference of two clocks that are
// never set. The least time rises slowly, as one of them may be faster. It is
// unknownWait where it can't be told when the packet left.
//
// Where all that has left was seen there is no wait: the member's clock runs on
// while nothing is sent. And no wait is longer than the round trip has become:
// a clock that stood still, as in a virtual machine that was moved, is no queue.
func (c *rateControl) waiting(now time.Time, m *rateMember) time.Duration {
	var sent time.Time
	var ok bool
	if c.departures != nil {
		sent, ok = c.departures.locate(m.newest.highest)
	} else {
		var mark sendMark
		mark, ok = c.log.locate(m.newest.highest)
		sent = mark.at
	}
	if !ok {
		return unknownWait
	}
	if c.seen(m.newest.highest) {
		return 0
	}
	d := time.Duration(m.newest.clock)*time.Microsecond - sent.Sub(c.start)
	least := m.least + now.Sub(m.leastAt)/drift
	if m.leastAt.IsZero() || d < least {
		m.least, m.leastAt = d, now
		return 0
	}
	if wait := d - least; m.turn == 0 {
		return wait
	} else {
		return min(wait, m.turn-m.trip+turnSlack)
	}
}

// seen reports whether nothing has left the host behind the packet before next.
func (c *rateControl) seen(next uint32) bool {
	if d := c.departures; d != nil {
		return !before(next, d.marks[(d.n-1)%departMarks].next)
	}
	return c.log.idling() && !before(next, c.log.next)
}
