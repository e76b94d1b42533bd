package transfer

import "time"

// RateConfig bounds the rate, in bytes of IP packets a second.
type RateConfig struct {
	Start int64 // where to begin; 0 is DefaultStartRate
	Floor int64 // never below; 0 is DefaultFloorRate
	Cap   int64 // never above; 0 is no cap
}

// Defaults of a RateConfig.
const (
	DefaultStartRate = 100e6 / 8
	DefaultFloorRate = 1e6 / 8
)

const (
	minSpan       = 50 * time.Millisecond // of a judgement, see span
	minSample     = minSpan / 2           // of one sample of it
	minPackets    = 32                    // in a sample
	manyPackets   = 64                    // of which many are lost
	minSamples    = 3                     // in a row that show congestion
	heldLasts     = 6 * minSample         // that they take at a rate that was held already
	maxSamples    = 10                    // after which a doubt is settled
	roundPatience = time.Second           // for members that do not report
	drain         = 0.9                   // of the capacity after congestion: lets the queue empty
	cruiseAt      = 0.97                  // of the capacity afterwards
	shortCruise   = 2                     // rounds before the first probe after a cut
	longCruise    = 16                    // and after many probes that ended at the same capacity
	sameCapacity  = 1.1                   // two capacities no further apart are the same
	deepest       = 0.5                   // of the rate: what one cut leaves at least
	firstProbe    = 0.03                  // growth of the first rounds of a probe
	bolderProbe   = 0.06                  // the same where no packet was lost
	doubtful      = 0.9                   // of the last good rate: a queue alone does not lead further down at once
	slack         = 1.25                  // the rate grows to no more than this times what was achieved
	startSlack    = 2                     // and at the start to this
	bound         = 0.75                  // of the rate: a sender that achieves less is not held back by it
	leastExcess   = 0.015                 // over the stray loss that ever counts
	flagrant      = 0.25                  // excess that needs fewer samples
	severe        = 0.6                   // loss that lasts and allows a cut twice as deep
	blatant       = 0.15                  // excess in one feedback that ends a start or probe
	muchMore      = 1.2                   // times the last good rate: where that is likely
	maxStray      = 0.4                   // more is always congestion
	fewLost       = 8                     // packets lost at least that tell a loss from another
	fewPackets    = 200                   // after which half of a loss is believed
	faded         = 0.25                  // of the worst sample's excess: the loss is over
	sameLoss      = 0.6                   // of the old excess: the loss did not fall with the rate
	leastQueue    = 20 * time.Millisecond // of waiting on the way: clocks, naps and schedulers are some milliseconds wrong
	quickQueue    = 3 * time.Millisecond  // a shorter one lets the start go on at once
	minWaits      = 3                     // feedbacks in a row that show a queue
	unknownWait   = -1
	turnSlack     = 5 * time.Millisecond // by which round trips are shorter than waits, for want of luck
	drift         = 5000                 // a clock runs wrong by one part in this
)

type ratePhase uint8

const (
	rateStart  ratePhase = iota // doubles each round
	rateDrain                   // below the capacity, to see which loss remains
	rateCruise                  // near the capacity
	rateProbe                   // grows a little each round
)

// rateControl finds the rate that the slowest member in the stream can take.
//
//  1. The rate stands for a round; a round's packets begin at its first
//     sequence number. A member's Feedback is cut into samples of at least
//     minSample and minPackets that begin inside the round, so that no loss of
//     an older rate is counted against the present one.
//  2. A sample's loss is 1 - received/sent, by the member's own counts, without
//     bursts. It is congestion if the samples of a round exceed the member's
//     stray loss by more than chance and their own scatter explain, and go on
//     doing so; then the rate goes to what was delivered, less a tenth.
//  3. If at the lower rate the member's loss is what it was, it never was
//     congestion: it becomes the stray loss, and the rate returns.
//  4. With no congestion, when all members have reported, the round ends: the
//     start doubles, the drain ends in a cruise, the cruise in a probe of a
//     few per cent that speeds up while it succeeds.
//  5. A start or probe ends within the round when three feedbacks of a member in
//     a row show that packets wait on the way, or one that many are lost: the
//     rate goes to what arrived meanwhile.
//  6. The rate does not grow beyond slack times what was really sent in the
//     round: a rate that was not used was not tried.
//
// See crowd for what it does beside other traffic.
type rateControl struct {
	cfg     RateConfig
	rate    float64
	phase   ratePhase
	members []rateMember
	in      int
	log     sendLog

	round    uint32  // number of the round
	current  float64 // its rate
	older    float64 // the rate of the round before
	first    uint32  // its first sequence number
	began    time.Time
	reported int         // members judged in this round
	doubt    bool        // some member is near congestion
	achieved float64     // largest rate achieved in this round, leaving out times with nothing to send
	used     float64     // and with them
	capacity float64     // last found
	pause    int         // rounds of the next cruise
	cutBy    *rateMember // whose loss led to the last cut
	cutFrom  float64     // the rate before it
	fullBy   *rateMember // whose queue filled most, last
	good     float64     // last rate that was held without congestion
	left     int         // rounds of cruise to go
	growth   float64     // of the next round of a probe
	bold     float64     // of its first
	cutIn    ratePhase   // the phase before the last cut
	anew     bool        // start again with the next round
	wins     int         // rounds of this probe
	heard    time.Time
	start    time.Time
	crowd    crowd

	departures *departures // nil: packets leave when they are given out
}

func (c *rateControl) init(cfg RateConfig, members int, now time.Time) {
	if cfg.Start <= 0 {
		cfg.Start = DefaultStartRate
	}
	if cfg.Floor <= 0 {
		cfg.Floor = DefaultFloorRate
	}
	if cfg.Cap <= 0 {
		cfg.Cap = 1 << 50
	}
	cfg.Floor = min(cfg.Floor, cfg.Cap)
	*c = rateControl{cfg: cfg, members: make([]rateMember, members), in: members, round: 1, began: now, heard: now, start: now, pause: shortCruise, bold: firstProbe}
	c.log.init()
	c.set(float64(cfg.Start))
	c.current = c.rate
	c.good = c.rate // a queue alone does not lead below the start, only loss does
}

func (c *rateControl) bytesPerSecond() int64 { return int64(c.rate) }

func (c *rateControl) setMembers(n int) { c.in = n }

// dropped takes a member out. If the rate was cut for its sake, the others may
// take much more: the start begins anew from where the rate is.
func (c *rateControl) dropped(member int) {
	c.away(member)
	if m := &c.members[member]; c.cutBy == m || c.fullBy == m {
		c.cutBy, c.fullBy, c.anew = nil, nil, true
	}
}

// forget drops what is known of a member that comes back.
func (c *rateControl) forget(member int) { c.members[member] = rateMember{} }

func (c *rateControl) set(rate float64) {
	c.rate = max(float64(c.cfg.Floor), min(rate, float64(c.cfg.Cap)))
}

func (c *rateControl) sent(now time.Time, seq uint32, bytes int) { c.log.add(now, seq, bytes) }

func (c *rateControl) idle(now time.Time) { c.log.pause(now) }

// span is the least duration of a judgement.
func span(rtt time.Duration) time.Duration { return max(minSpan, min(rtt*3/2, time.Second)) }

// begin opens a round at sequence number seq.
func (c *rateControl) begin(now time.Time, seq uint32) {
	c.round++
	c.older, c.current = c.current, c.rate
	c.first, c.began = seq, now
	c.reported, c.achieved, c.used, c.doubt = 0, 0, 0, false
}

// silence halves the rate when packets go out and nobody says anything. It
// reports whether the rate has changed.
func (c *rateControl) silence(now time.Time, rtt time.Duration) bool {
	if c.log.idling() || c.in == 0 {
		c.heard = now
		return false
	}
	if now.Sub(c.heard) <= max(time.Second, 8*rtt) {
		return false
	}
	c.heard = now
	c.set(c.rate / 2)
	return true
}

// judge weighs a member's samples of the round.
func (c *rateControl) judge(now time.Time, m *rateMember, sent float64, seq uint32, span time.Duration) bool {
	loss, v := m.verdict(span, c.phase == rateCruise)
	if c.cutBy == m && v != waiting && c.unmoved(m, loss) {
		m.stray, m.loss, m.at = loss, loss, c.rate
		c.uncut(now, seq)
		return true
	}
	switch v {
	case waiting:
		c.doubt = c.doubt || m.samples > 1
		return c.overdue(now, seq)
	case congested:
		if !c.unmoved(m, loss) {
			loss = m.recent()
			c.congested(now, m, sent*(1-loss)/(1-min(m.stray, maxStray)), loss, seq)
			return true
		}
		m.stray, m.loss, m.at = loss, loss, c.rate
	case clean:
		if !m.passed() {
			c.learn(m, loss)
		}
		m.loss, m.at = loss, c.rate
	}
	if m.judged != c.round {
		m.judged = c.round
		c.reported++
	}
	m.clear()
	if c.reported >= c.in {
		return c.next(now, seq)
	}
	return c.overdue(now, seq)
}

// unmoved reports whether a member's loss is as high as it was at a higher
// rate, so that congestion can't be its cause.
func (c *rateControl) unmoved(m *rateMember, loss float64) bool {
	return m.at > c.rate*1.04 && loss <= maxStray && m.lost >= fewLost && m.loss > m.stray+leastExcess &&
		loss-m.stray >= sameLoss*(m.loss-m.stray)
}

// uncut takes a cut back that had no cause.
func (c *rateControl) uncut(now time.Time, seq uint32) {
	c.set(c.cutFrom)
	c.cutBy = nil
	if c.phase = rateStart; c.cutIn != rateStart {
		c.cruise(shortCruise)
	}
	c.begin(now, seq)
}

// learn takes over a loss that is no congestion's: wholly, as far as there were
// packets enough, where the rate is low for the path, and slowly where it may
// be a little too high.
func (c *rateControl) learn(m *rateMember, loss float64) {
	excess := loss - m.stray
	weight := m.packets / (m.packets + fewPackets)
	switch {
	case c.phase == rateDrain:
	case c.phase == rateStart:
		weight /= 2
	case excess < 0:
		weight = 1. / 4
	case c.phase == rateCruise:
		weight = 1. / 16
	default:
		weight = 0
	}
	m.stray += weight * excess
}

// congested cuts the rate for a member's loss. What was delivered while a
// member's processor was busy elsewhere says little, so one cut does not go
// deep.
func (c *rateControl) congested(now time.Time, m *rateMember, capacity, loss float64, seq uint32) {
	m.loss, m.at = loss, c.rate
	c.cutBy, c.cutFrom, c.cutIn = m, c.rate, c.phase
	least := c.rate * deepest
	if m.lossy >= minSamples-1 && loss > severe {
		least *= deepest // no moment's weakness
	}
	c.found(max(min(c.rate, capacity), least))
	c.drain(c.capacity*drain, false)
	c.bold = firstProbe
	c.begin(now, seq)
}

// found notes a capacity. The more often it is the same the longer it is
// believed; a new one is probed soon.
func (c *rateControl) found(capacity float64) {
	if c.capacity > 0 && capacity < c.capacity*sameCapacity && c.capacity < capacity*sameCapacity {
		c.pause = min(2*c.pause, longCruise)
	} else {
		c.pause = shortCruise
	}
	c.capacity = capacity
	if c.crowd.top == 0 {
		c.crowd.top = capacity // no rate was held yet
	}
}

func (c *rateControl) cruise(rounds int) { c.phase, c.left = rateCruise, rounds }

// overdue ends a round for which some members do not report.
func (c *rateControl) overdue(now time.Time, seq uint32) bool {
	patience := roundPatience
	if c.doubt {
		patience *= 4
	}
	if c.reported == 0 || now.Sub(c.began) < patience {
		return false
	}
	return c.next(now, seq)
}

// next ends a round without congestion.
func (c *rateControl) next(now time.Time, seq uint32) bool {
	if c.anew {
		c.anew, c.phase = false, rateStart
	}
	switch c.phase {
	case rateStart:
		c.hold(seq)
		if c.achieved < c.rate*bound {
			// The sender's own link or processor is the limit.
			c.found(c.achieved)
			c.set(c.achieved * slack)
			c.cruise(c.pause)
			break
		}
		c.grow(2, startSlack)
	case rateDrain:
		if !c.drained(now) {
			break
		}
		if c.crowd.yields {
			c.capacity, c.pause, c.bold = c.rate, shortCruise, bolderProbe
		} else {
			c.set(max(c.rate, c.capacity*cruiseAt))
		}
		c.crowd.yields = false
		c.hold(seq)
		c.cruise(c.pause)
	case rateCruise:
		c.peak(seq)
		if c.crowded(now) {
			c.drain(max(min(c.rate, c.crowd.top*crowdedShare), min(c.rate, c.achieved)*drain), true)
		} else if c.left--; c.left <= 0 {
			c.hold(seq)
			c.calm()
			c.phase, c.growth, c.wins = rateProbe, c.bold, 0
			c.grow(1+c.growth, slack)
		}
	case rateProbe:
		if m := c.grew(); m != nil {
			arrived, ok := c.arrived(m, m.first)
			if !ok {
				arrived = c.good
			}
			c.fullBy = m
			c.full(now, arrived, seq)
			return true
		}
		if c.wins++; c.wins >= 2 {
			c.growth = min(1, 2*c.growth)
		}
		c.hold(seq)
		was := c.rate
		if c.grow(1+c.growth, slack); c.rate == was {
			c.cruise(longCruise) // the sender's own link or processor is the limit
		}
	}
	c.begin(now, seq)
	return true
}

// hold notes that the rate went well, as far as it was used.
func (c *rateControl) hold(seq uint32) {
	c.good = min(c.rate, c.achieved)
	c.peak(seq)
}

// full ends a start or probe that fills a queue: what arrived is the capacity,
// but a slow clock or scheduler never takes the rate far below what was good.
func (c *rateControl) full(now time.Time, arrived float64, seq uint32) {
	c.found(max(c.good*doubtful, min(arrived, c.rate)))
	c.drain(c.capacity*drain, false)
	c.bold = bolderProbe
	c.begin(now, seq)
}

// grow raises the rate, to no more than slack times what was used of it.
func (c *rateControl) grow(by, slack float64) {
	c.set(max(c.rate, min(c.rate*by, c.used*slack)))
}
