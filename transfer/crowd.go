package transfer

import "time"

const (
	crowdedQueue  = 3 * time.Millisecond // that a member's packets wait at least, all through a round
	peakFades     = 0.95                 // each round
	growingQueue  = 5 * time.Millisecond // that has come in a probe
	clearQueue    = 8 * time.Millisecond // that needs no other sign
	fullFor       = 5 * time.Second      // after a loss a short queue may be a full one
	strayLeast    = 0.002                // stray loss with which a loss is no sign
	waryQueue     = crowdedQueue / 2     // and where others are suspected already
	crowdedRounds = 4                    // in a row that call for a drain
	drainRounds   = 4                    // that do not shorten a queue: it is not our own
	crowdedStep   = 0.9                  // of the rate, while a queue of others stands
	crowdedEvery  = 2                    // rounds between two steps
	waryRounds    = 8                    // without a queue that end a doubt: a TCP stream has grown meanwhile
	yieldRounds   = 24                   // the same once others were made room for: their queue comes and goes
	yieldTime     = 2 * time.Second      // or, as rounds of large rosters are long
	twice         = 2                    // rounds in a row with a queue of one member that count: one of many is late now and then
	crowdedShare  = 0.5                  // of the highest rate that was held: what is never left to others
)

// crowd finds out whether others fill a queue that the stream goes through,
// and yields to them.
//
// A rate below the capacity lets a queue of our own run empty within some
// rounds. One that stands is somebody else's, such as a TCP stream's, which
// takes what it is left: TCP fills each queue until packets are lost, and these
// are too few to be told from stray loss. While it stands the rate falls step
// by step, to half of the highest that was held, and there is no probe. With
// one such competitor each then has about half.
//
// A short queue, as fast ports have, counts only where packets were lost of
// late and no stray loss explains it: one that TCP keeps full overflows now and
// then.
//
// The queue of a round is the least wait of the packets of any of its
// feedbacks, which leaves out what schedulers and naps add. A machine on which
// all members run late is no queue: a member's has to stand out from the
// shortest one.
type crowd struct {
	trip   time.Duration // the shortest round trip to any member; 0: none known
	top    float64       // the highest rate that was held of late, see peak
	rounds int           // of the drain with a queue that does not shrink
	queue  time.Duration // of the round before
	free   int           // and since then without one
	since  time.Time     // the first of these
	wary   bool          // others are suspected: without a queue they need time to make one
	yields bool          // the rate is below what the path was found to carry
}

// turn takes note of a round trip to a member.
func (c *rateControl) turn(member int, rtt time.Duration) {
	m := &c.members[member]
	if m.turn = rtt; m.trip == 0 || rtt < m.trip {
		m.trip = rtt
	}
	if c.crowd.trip == 0 || rtt < c.crowd.trip {
		c.crowd.trip = rtt
	}
}

// away forgets how near a member was that is out of the stream.
func (c *rateControl) away(member int) {
	c.members[member].trip, c.crowd.trip = 0, 0
	for i := range c.members {
		if t := c.members[i].trip; t > 0 && (c.crowd.trip == 0 || t < c.crowd.trip) {
			c.crowd.trip = t
		}
	}
}

// hidden returns a wait that a member's packets have always had, so that it
// can't be seen as a change: what its shortest round trip has more than that
// of others. Hosts of one network are equally far.
func (c *rateControl) hidden(m *rateMember) time.Duration {
	if more := m.trip - c.crowd.trip; more >= waryQueue {
		return more
	}
	return 0
}

// note takes a wait of a member's packets in the round.
func (m *rateMember) note(round uint32, wait time.Duration) {
	if m.lowIn != round || wait < m.low {
		m.low = wait
	}
	m.lowIn = round
}

// stands counts, for each member, the rounds in a row with a queue, and returns
// the largest count and the longest queue.
func (c *rateControl) stands(now time.Time) (most int, longest time.Duration) {
	shortest, known, only := time.Duration(0), 0, 0
	for i := range c.members {
		if m := &c.members[i]; m.lowIn == c.round {
			if known++; known == 1 || m.low < shortest {
				shortest, only = m.low, i
			}
		}
	}
	if known == 1 {
		shortest = c.hidden(&c.members[only]) // nobody to compare with
	}
	least := crowdedQueue
	if c.crowd.wary {
		least = waryQueue
	}
	for i := range c.members {
		m := &c.members[i]
		queue := m.low - shortest
		full := m.stray < strayLeast && !m.lostAt.IsZero() && now.Sub(m.lostAt) < fullFor
		switch {
		case m.lowIn != c.round: // says nothing
		case queue >= clearQueue || queue >= least && full || m.low >= leastQueue:
			m.stood++
			most, longest = max(most, m.stood), max(longest, m.low-shortest)
		default:
			m.stood = 0
		}
	}
	return most, longest
}

// peak takes note of a rate that was held. An older one is forgotten soon: the
// first packets of a push may pass a shaped link much faster than it lets more
// through. The round's mean counts: single samples scatter.
func (c *rateControl) peak(seq uint32) {
	if mean, _, ok := c.log.between(c.first, seq); ok {
		c.crowd.top = max(c.crowd.top*peakFades, min(c.rate, mean))
	}
}

// calm notes how long the queues are before a probe.
func (c *rateControl) calm() {
	for i := range c.members {
		m := &c.members[i]
		if m.before = m.low; m.lowIn == 0 {
			m.before = maxRTT // never seen: nothing has grown
		}
	}
}

// grew returns a member whose queue has grown since: the probe has found the
// capacity, though the queue still takes what exceeds it.
func (c *rateControl) grew() *rateMember {
	for i := range c.members {
		if m := &c.members[i]; m.lowIn == c.round && m.low-m.before >= growingQueue {
			return m
		}
	}
	return nil
}

// drained ends a round of a drain and reports whether it was the last.
func (c *rateControl) drained(now time.Time) bool {
	d := &c.crowd
	most, queue := c.stands(now)
	if most < twice {
		if d.free++; d.free == 1 {
			d.since = now
		}
		return !d.wary || d.free >= yieldRounds || d.free >= waryRounds && !d.yields || now.Sub(d.since) >= yieldTime
	}
	d.free = 0
	shrinks := queue < d.queue-max(d.queue/16, time.Millisecond)
	if d.queue = queue; shrinks {
		return false // it is our own
	}
	if d.rounds++; d.rounds < drainRounds {
		return false
	}
	d.wary, d.yields = true, true
	d.rounds = drainRounds - crowdedEvery
	c.set(max(min(c.rate, d.top*crowdedShare), c.rate*crowdedStep))
	return false
}

// crowded ends a round of a cruise. It reports whether a queue stands though
// the rate does not feed it.
func (c *rateControl) crowded(now time.Time) bool {
	most, _ := c.stands(now)
	return most >= crowdedRounds
}

// drain lowers the rate to what lets a queue of our own run empty.
func (c *rateControl) drain(rate float64, wary bool) {
	c.phase = rateDrain
	c.crowd.rounds, c.crowd.free, c.crowd.queue, c.crowd.wary = 0, 0, 0, wary
	c.set(rate)
}
