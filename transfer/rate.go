package transfer

import (
	"math"
	"time"

	"makuo/protocol"
)

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
	minSamples    = 3                     // that show congestion
	maxSamples    = 10                    // after which a doubt is settled
	roundPatience = time.Second           // for members that do not report
	drain         = 0.9                   // of the capacity after congestion: lets the queue empty
	cruiseAt      = 0.97                  // of the capacity afterwards
	cruiseRounds  = 8                     // between probes
	firstProbe    = 0.03                  // growth of the first rounds of a probe
	slack         = 1.25                  // the rate grows to no more than this times what was achieved
	leastExcess   = 0.015                 // over the stray loss that ever counts
	flagrant      = 0.25                  // excess that needs fewer samples
	maxStray      = 0.4                   // more is always congestion
	sameLoss      = 0.6                   // of the old excess: the loss did not fall with the rate
	queueing      = 1.2                   // packets arriving this much slower than they were sent fill a queue
	leastStretch  = 40 * time.Millisecond // of a sample that shows it: clocks and naps are some milliseconds wrong
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
//  2. A sample's loss is 1 - received/sent, by the member's own counts. It is
//     congestion if the samples of a round exceed the member's stray loss by
//     more than chance and their own scatter explain; then the rate goes to
//     what was delivered, less a tenth.
//  3. If at the lower rate the member's loss is what it was, it never was
//     congestion: it becomes the stray loss, and the rate returns.
//  4. With no congestion, when all members have reported, the round ends: the
//     start doubles, the drain ends in a cruise, the cruise in a probe of a
//     few per cent that speeds up while it succeeds. A start or probe also ends
//     when packets arrive notably slower than they were sent: a queue fills.
//  5. The rate does not grow beyond slack times what was really sent in the
//     round, leaving out times with nothing to send.
//
// It does not promise a fair share against other traffic: it takes what is
// delivered.
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
	filling  int         // of them, those that saw a queue fill
	doubt    bool        // some member is near congestion
	achieved float64     // largest rate achieved in this round
	stretch  float64     // largest stretch in this round
	capacity float64     // last found
	cutBy    *rateMember // whose loss led to the last cut
	cutFrom  float64     // the rate before it
	fullBy   *rateMember // whose queue filled most, last
	good     float64     // last rate that was held without congestion
	left     int         // rounds of cruise to go
	growth   float64     // of the next round of a probe
	anew     bool        // start again with the next round
	wins     int         // rounds of this probe
	heard    time.Time
}

// rateMember is what one member's reports said.
type rateMember struct {
	anchored bool
	round    uint32 // of the anchor
	judged   uint32 // last round it was judged in
	highest  uint32 // at the anchor
	received uint32
	clock    uint64
	since    time.Time // when the anchor was heard
	stray    float64
	loss     float64 // in the round judged last
	at       float64 // and its rate; 0 if none

	// The samples of round.
	samples float64
	packets float64
	lost    float64
	squares float64 // of the samples' losses
	sum     float64
	took    time.Duration
	stretch float64    // the largest over queueing
	last    [2]float64 // losses of the newest samples, the newest first

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
	*c = rateControl{cfg: cfg, members: make([]rateMember, members), in: members, round: 1, began: now, heard: now}
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
	c.reported, c.filling, c.achieved, c.stretch, c.doubt = 0, 0, 0, 0, false
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

// report judges a member's feedback; seq is the next sequence number to be
// sent. It reports whether the rate may have changed.
func (c *rateControl) report(now time.Time, member int, fb *protocol.Feedback, seq uint32, rtt time.Duration) bool {
	c.heard = now
	m := &c.members[member]
	fresh := !before(fb.Highest, c.first) // the packets seen last are of this round
	if !m.anchored || fb.Clock <= m.clock || before(fb.Highest, m.highest) {
		m.anchor(fb, c.round, fresh)
		m.since = now
		return false
	}
	packets := fb.Highest - m.highest
	took := time.Duration(min(fb.Clock-m.clock, 1<<32)) * time.Microsecond
	whole := packets >= minPackets && took >= minSample
	if !fresh {
		return false // go on with the old anchor: see below
	}
	if m.round != c.round {
		// The interval began in an older round: it says what the loss was at
		// the older rate, nothing more.
		if whole && m.round+1 == c.round {
			m.loss, m.at = lossOf(packets, fb.Received-m.received), c.older
		}
		m.anchor(fb, c.round, true)
		m.since = now
		return false
	}
	if !whole {
		return c.overdue(now, seq)
	}
	sentRate, sentIn, ok := c.log.between(m.highest, fb.Highest)
	loss := lossOf(packets, fb.Received-m.received)
	flowing := m.since.After(c.log.began)
	m.anchor(fb, c.round, true)
	m.since = now
	if !ok {
		return false
	}
	c.achieved = max(c.achieved, sentRate)
	// A member's clock runs on while there is nothing to send: such a sample
	// tells nothing about a queue.
	if stretch := float64(took) / float64(max(sentIn, time.Millisecond)); flowing && took >= leastStretch && stretch > queueing {
		m.stretch = max(m.stretch, min(stretch, 2))
	}
	m.sample(loss, float64(packets), took)
	return c.judge(now, m, sentRate, seq, span(rtt))
}

func (m *rateMember) anchor(fb *protocol.Feedback, round uint32, fresh bool) {
	if !fresh {
		round--
	}
	if !m.anchored || m.round != round {
		m.clear()
	}
	m.anchored, m.round = true, round
	m.highest, m.received, m.clock = fb.Highest, fb.Received, fb.Clock
}

func lossOf(packets, received uint32) float64 {
	if received >= packets {
		return 0
	}
	return 1 - float64(received)/float64(packets)
}

func (m *rateMember) sample(loss, packets float64, took time.Duration) {
	m.last[1] = m.last[0]
	m.last[0] = loss
	m.samples++
	m.packets += packets
	m.lost += loss * packets
	m.sum += loss
	m.squares += loss * loss
	m.took += took
}

// recent returns the loss of the newest samples: when a queue has just filled,
// the older ones show too little.
func (m *rateMember) recent() float64 {
	if m.samples < minSamples || m.last[0] > m.stray+flagrant {
		return m.last[0]
	}
	return (m.last[0] + m.last[1]) / 2
}

// verdict is what the samples of a round say about a member.
type verdict uint8

const (
	waiting   verdict = iota // too little was seen, or the excess may be chance
	clean                    // the loss is the stray loss
	congested                // the loss exceeds it beyond chance
)

// verdict weighs the samples. The margin of a clean one is four standard
// deviations of independent losses; losses in bursts scatter more, so that
// congestion has to stand out of the scatter of the samples as well.
func (m *rateMember) verdict(span time.Duration) (loss float64, v verdict) {
	loss = m.lost / m.packets
	excess := loss - m.stray
	if excess <= leastExcess+4*math.Sqrt(loss*(1-loss)/m.packets) {
		if m.took < span {
			return loss, waiting
		}
		return loss, clean
	}
	mean := m.sum / m.samples
	scatter := math.Sqrt(max(0, m.squares/m.samples-mean*mean) / m.samples)
	switch {
	case m.samples >= minSamples && excess-2*scatter > leastExcess, m.samples == minSamples-1 && excess-2*scatter > flagrant:
		return loss, congested
	case m.samples >= maxSamples:
		m.stray = min(loss, maxStray) // bursts
		return loss, clean
	}
	return loss, waiting
}

func (c *rateControl) judge(now time.Time, m *rateMember, sent float64, seq uint32, span time.Duration) bool {
	loss, v := m.verdict(span)
	switch v {
	case waiting:
		c.doubt = c.doubt || m.samples > 1
		return c.overdue(now, seq)
	case congested:
		loss = m.recent()
		fell := m.at > c.rate*1.04
		if !fell || loss > maxStray || loss-m.stray < sameLoss*(m.loss-m.stray) {
			m.loss, m.at = loss, c.rate
			c.cutBy, c.cutFrom = m, c.rate
			c.cut(now, sent*(1-loss)/(1-min(m.stray, 0.9)), seq)
			return true
		}
		// The rate fell and the loss did not: it is stray.
		m.stray, m.loss, m.at = loss, loss, c.rate
		if c.cutBy == m {
			c.set(c.cutFrom)
			c.cutBy = nil
			c.cruise(cruiseRounds)
			c.begin(now, seq)
			return true
		}
	case clean:
		if excess := loss - m.stray; excess < 0 || c.phase == rateDrain {
			m.stray += excess / 4
		} else if c.phase == rateCruise {
			m.stray += excess / 16
		}
		m.loss, m.at = loss, c.rate
	}
	if m.judged != c.round {
		m.judged = c.round
		c.reported++
		if m.stretch > 0 {
			c.filling++
			if m.stretch > c.stretch {
				c.stretch, c.fullBy = m.stretch, m
			}
		}
	}
	m.clear()
	if c.reported >= c.in {
		return c.next(now, seq)
	}
	return c.overdue(now, seq)
}

func (m *rateMember) clear() {
	m.samples, m.packets, m.lost, m.sum, m.squares, m.took, m.stretch = 0, 0, 0, 0, 0, 0, 0
}

// cut goes below the capacity that was found, so that the queue empties.
func (c *rateControl) cut(now time.Time, capacity float64, seq uint32) {
	c.capacity = capacity
	c.set(min(c.rate, capacity) * drain)
	c.phase = rateDrain
	c.begin(now, seq)
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
		c.anew, c.phase, c.filling = false, rateStart, 0
	}
	switch c.phase {
	case rateStart:
		if c.filling > 0 {
			c.full(now, seq)
			return true
		}
		c.good = c.rate
		c.grow(2)
	case rateDrain:
		c.set(max(c.rate, c.capacity*cruiseAt))
		c.good = c.rate
		c.cruise(cruiseRounds)
	case rateCruise:
		if c.left--; c.left <= 0 {
			c.good = c.rate
			c.phase, c.growth, c.wins = rateProbe, firstProbe, 0
			c.grow(1 + c.growth)
		}
	case rateProbe:
		if c.filling > 0 {
			c.full(now, seq)
			return true
		}
		if c.wins++; c.wins >= 3 {
			c.growth = min(1, 2*c.growth)
		}
		c.good = c.rate
		c.grow(1 + c.growth)
	}
	c.begin(now, seq)
	return true
}

// full ends a start or probe that fills a queue: what arrived is the capacity,
// but a slow clock or scheduler never takes the rate below what was good.
func (c *rateControl) full(now time.Time, seq uint32) {
	c.capacity = max(c.good, c.achieved/c.stretch)
	c.set(max(c.good*cruiseAt, c.capacity*drain))
	c.phase = rateDrain
	c.begin(now, seq)
}

// grow raises the rate, as far as the sender really gets that far.
func (c *rateControl) grow(by float64) {
	c.set(max(c.rate, min(c.rate*by, c.achieved*slack)))
}
