package transfer

import (
	"math"
	"time"

	"makuo/protocol"
)

// lossTable knows how much each member loses, and how many parity symbols are
// best sent before anybody asks.
//
//  1. Each feedback says how many of the packets since the one before did not
//     arrive. Of these counts a quick and a slow average are kept; the smaller
//     counts, so that what is past is soon forgotten and chance weighs little.
//  2. Only steady loss can be met in advance: a member whose counts scatter more
//     than independent losses would (bursts, congestion) counts as losing
//     nothing.
//  3. With j parity symbols after k sources, a member still lacks something if
//     it lost more than j of the k + j. One more is sent as long as some member
//     lacks something with a probability of at least worthBulk. Repairs on demand
//     are the largest need of all members anyway: a symbol in advance is
//     wasted only if no member needed it, and saves feedback and a round trip
//     otherwise. At the tail, where the round trip is what counts, it is
//     worthTail.
type lossTable struct {
	members []memberLoss
	levels  [lossLevels]int // members at each level of loss
	changed bool
	shared  bool // the members lose the same packets
	made    time.Time
	version uint32
	best    [protocol.MaxSymbols + 1]bestParity // by number of sources
}

type memberLoss struct {
	anchored    bool
	level       int8 // one more than the level; 0: no steady loss
	samples     uint8
	highest     uint32
	received    uint32
	quick, slow lossAverage
	scatter     float64 // of the counts, 1 for independent losses
}

// lossAverage is a count of packets whose past fades.
type lossAverage struct{ lost, packets float64 }

type bestParity struct {
	version    uint32
	bulk, tail uint8
}

const (
	lossSample  = 128  // packets in a count
	quickLoss   = 1024 // packets after which a count has faded to 1/e
	slowLoss    = 8192
	lossPrior   = 64 // packets that arrived, supposed before the first count
	maxScatter  = 2.5
	scatterMost = 16 // that one count adds
	lossLevels  = 32
	lossLeast   = 0.0005
	lossStep    = 1.25 // 0.0005 x 1.25^31 is 0.5
	lossLife    = 100 * time.Millisecond
	worthBulk   = 0.8
	worthTail   = 0.1
)

func (t *lossTable) init(members int) {
	t.members = make([]memberLoss, members)
	t.version = 1
}

func (a *lossAverage) add(lost, packets, span float64) {
	fade := math.Exp(-packets / span)
	a.lost = a.lost*fade + lost
	a.packets = a.packets*fade + packets
}

func (a *lossAverage) value() float64 { return a.lost / (a.packets + lossPrior) }

// report takes a member's counts; highest is what it has seen, made possible.
func (t *lossTable) report(member int, fb *protocol.Feedback, highest uint32) {
	m := &t.members[member]
	if !m.anchored || before(highest, m.highest) || before(fb.Received, m.received) {
		m.anchored, m.highest, m.received = true, highest, fb.Received
		return
	}
	packets, received := highest-m.highest, fb.Received-m.received
	if packets < lossSample {
		return
	}
	n, lost := float64(packets), float64(packets)-float64(min(packets, received))
	if p := m.slow.value(); m.samples > 0 {
		expected := n * max(p, lossLeast)
		d := (lost - expected) * (lost - expected) / expected
		m.scatter += (min(d, scatterMost) - m.scatter) / 8
	} else {
		m.scatter = 1
	}
	m.quick.add(lost, n, quickLoss)
	m.slow.add(lost, n, slowLoss)
	m.samples = min(m.samples+1, 2)
	m.highest, m.received = highest, fb.Received
	t.level(m)
}

// level puts a member where its loss belongs.
func (t *lossTable) level(m *memberLoss) {
	level, p := 0, m.value()
	if m.samples > 1 && m.scatter < maxScatter && p >= lossLeast {
		level = 1 + min(lossLevels-1, int(math.Log(p/lossLeast)/math.Log(lossStep)+0.5))
	}
	if int(m.level) == level {
		return
	}
	t.changed = true
	if m.level > 0 {
		t.levels[m.level-1]--
	}
	if level > 0 {
		t.levels[level-1]++
	}
	m.level = int8(level)
}

func (m *memberLoss) value() float64 { return min(m.quick.value(), m.slow.value()) }

// of returns a member's share of packets lost, steady or not.
func (t *lossTable) of(member int) float64 { return min(t.members[member].value(), 0.5) }

// forget takes a member out.
func (t *lossTable) forget(member int) {
	m := &t.members[member]
	m.samples, m.quick, m.slow = 0, lossAverage{}, lossAverage{}
	t.level(m)
	*m = memberLoss{}
}

// lookUp returns how many parity symbols to send after k sources. What was
// found lasts for lossLife.
func (t *lossTable) lookUp(now time.Time, k int, shared bool) bestParity {
	if (t.changed || t.shared != shared) && now.Sub(t.made) >= lossLife {
		t.changed, t.shared, t.made = false, shared, now
		t.version++
	}
	b := &t.best[k]
	if b.version != t.version {
		*b = bestParity{version: t.version}
		limit := min(protocol.MaxIndex+1-k, k)
		j := 0
		for ; j < limit && t.lacking(k, j) >= worthBulk; j++ {
		}
		b.bulk = uint8(j)
		for ; j < limit && t.lacking(k, j) >= worthTail; j++ {
		}
		b.tail = uint8(j)
	}
	return *b
}

// lacking returns the probability that some member lacks something after k
// sources and j parity symbols.
func (t *lossTable) lacking(k, j int) float64 {
	none, worst := 0.0, 0.0 // logarithm of the probability that nobody does
	for level, members := range t.levels {
		if members > 0 {
			worst = binomialTail(k+j, j, lossLeast*math.Pow(lossStep, float64(level)))
			none += float64(members) * math.Log1p(-min(worst, 1-1e-9))
		}
	}
	if t.shared {
		return worst
	}
	return -math.Expm1(none)
}

// proactive returns the number of symbols to send after the sources of a
// block.
func (s *Sender) proactive(now time.Time, sb *sendBlock) int {
	b := s.losses.lookUp(now, sb.k, s.overlap > shared)
	if s.cur+1 < s.next {
		return int(b.bulk)
	}
	return int(b.bulk) + s.generous(int(b.tail-b.bulk))
}
