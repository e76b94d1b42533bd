package transfer

import (
	"math"
	"time"
)

// mark is what one Feedback says about packets.
type mark struct {
	highest  uint32    // sequence number
	received uint32    // with those excused
	excused  uint32    // packets ever lost in bursts, which count as received: see bursts
	clock    uint64    // the member's, microseconds
	heard    time.Time // by the sender
}

// since returns how many packets were sent between two marks, and how long
// that took on the member's clock.
func (a mark) since(from mark) (packets uint32, took time.Duration) {
	return a.highest - from.highest, time.Duration(min(a.clock-from.clock, 1<<32)) * time.Microsecond
}

// lost returns how many of them the member did not get, without bursts.
func (a mark) lost(from mark) uint32 {
	packets, received := a.highest-from.highest, a.received-from.received
	return packets - min(packets, received)
}

// loss returns the share of them that the member did not get, without bursts.
func (a mark) loss(from mark) float64 { return share(a.lost(from), a.highest-from.highest) }

// missed returns the share of them that the member did not get.
func (a mark) missed(from mark) float64 {
	return share(a.lost(from)+a.excused-from.excused, a.highest-from.highest)
}

// share returns the part of all that lost is.
func share(lost, all uint32) float64 {
	if all == 0 {
		return 0
	}
	return float64(min(lost, all)) / float64(all)
}

// rateMember is what one member's reports said.
type rateMember struct {
	anchored  bool
	from      mark   // where the next sample begins
	round     uint32 // of from
	first     mark   // of round
	newest    mark
	judged    uint32        // last round it was judged in
	least     time.Duration // of its packets on their way, on clocks that differ: see waiting
	leastAt   time.Time     // when that was; zero: never
	bursts    bursts
	blatant   int           // feedbacks in a row with a loss that a start or probe may have made
	waits     int           // feedbacks in a row that have seen a queue
	waitsIn   uint32        // round of them
	waitsFrom mark          // the feedback before
	low       time.Duration // the least wait of packets in round lowIn
	lowIn     uint32
	before    time.Duration // low before the probe
	trip      time.Duration // the shortest round trip; 0: none known
	stood     int           // rounds in a row with a queue
	lostAt    time.Time     // when a loss was reported last
	turn      time.Duration // the round trip of the newest feedback; 0: not known
	stray     float64
	loss      float64 // in the round judged last
	at        float64 // and its rate; 0 if none

	// The samples of round.
	samples int
	packets float64
	lost    float64
	squares float64 // of the samples' losses
	sum     float64
	most    float64       // loss of the worst sample
	lossy   int           // newest samples in a row that exceed the stray loss
	lasts   time.Duration // and how long they took
	bad     int           // samples that do, of all
	took    time.Duration // by the member's clock
	last    [2]float64    // losses of the newest samples, the newest first
}

// anchor begins a sample. If it is not of the round, it counts as of the one before.
func (m *rateMember) anchor(at mark, round uint32, fresh bool) {
	if !fresh {
		round--
	}
	if !m.anchored || m.round != round {
		m.clear()
		m.first = at
	}
	m.anchored, m.round = true, round
	m.from, m.newest = at, at
}

func (m *rateMember) clear() {
	m.samples, m.packets, m.lost, m.sum, m.squares, m.took = 0, 0, 0, 0, 0, 0
	m.most, m.lossy, m.lasts, m.bad = 0, 0, 0, 0
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
	m.most = max(m.most, loss)
	if loss <= m.stray+leastExcess+math.Sqrt(m.stray*(1-m.stray)/packets) {
		m.lossy, m.lasts = 0, 0
		return
	}
	m.lossy++
	m.bad++
	m.lasts += took
}

// passed reports whether a loss came and went while the rate stood: the newest
// sample shows next to nothing of it. A rate that is too high loses packets
// until it is lowered.
func (m *rateMember) passed() bool {
	worst := m.most - m.stray
	return worst > 2*leastExcess && m.lossy == 0 && m.last[0]-m.stray < worst*faded
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
// deviations of independent losses. Losses in bursts scatter more, come and go:
// congestion has to stand out of the scatter of the samples and to last, for
// longer at a rate that was held already.
func (m *rateMember) verdict(span time.Duration, held bool) (loss float64, v verdict) {
	loss = m.lost / m.packets
	excess := loss - m.stray
	if excess <= leastExcess+4*math.Sqrt(loss*(1-loss)/m.packets) || m.passed() {
		if m.took < span {
			return loss, waiting
		}
		return loss, clean
	}
	n := float64(m.samples)
	mean := m.sum / n
	scatter := math.Sqrt(max(0, m.squares/n-mean*mean) / n)
	sure := excess - 2*scatter
	switch {
	case m.lossy >= minSamples && (!held || m.lasts >= heldLasts) && sure > leastExcess,
		m.lossy >= minSamples && sure > flagrant,
		m.lossy == minSamples-1 && m.samples == m.lossy && !held && sure > flagrant,
		m.samples >= maxSamples && 2*m.bad > m.samples && sure > leastExcess:
		return loss, congested
	case m.samples >= maxSamples:
		m.stray = min(loss, maxStray) // bursts
		return loss, clean
	}
	return loss, waiting
}
