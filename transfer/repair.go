package transfer

import (
	"math"
	"time"

	"makuo/protocol"
)

// Repair, after NORM (RFC 5740) and PGM (RFC 3208, section 11): the origin sends
// as many symbols as the member needs that lacks most of a block, and each of
// them mends a different loss at every member.
//
//  1. A NAK says how many symbols would complete the block and which sources
//     are missing. What was sent at or after the feedback's highest sequence
//     number and is of use to the member (any parity, as no parity symbol is
//     sent twice, and those of its missing sources) is on its way: it is taken
//     off the need. If nothing is left, the NAK is stale. Should what is on its way
//     be lost with nothing behind it, the age of the sending says so in the end.
//  2. A block keeps the largest need of all members, and the union of their
//     missing sources. Each symbol sent is one less to send: for each member, the
//     need is at most what is still to be sent.
//  3. A repair is a parity symbol never sent before. It is a missing source
//     instead when the union is no larger than the need and parity would be no
//     better: with one member, with losses that the members share, with large
//     needs (parity costs processor time by the symbol), and when the parity
//     symbols are used up.
//  4. When nothing new waits to be sent, some symbols more are sent than
//     needed, so that a lost repair does not cost another round trip.
//
// What it does not promise: that a block which lost nearly everything at many
// members, again and again, is mended with the least number of packets: after
// 255 - k parity symbols it goes on with the union of sources.
type repairState struct {
	need     int       // symbols to send
	extra    int       // symbols to send beyond that
	union    symbolSet // sources that somebody lacks; need is at most its size
	parity   int       // parity symbols sent
	named    symbolSet // what the first NAK named
	by       int       // one more than the member that made it; 0: none, -1: compared
	ready    [parityBatch][]byte
	readyAt  int
	readyEnd int
}

const (
	dearNeed    = 16   // needs from here on are mended with sources, if that is not much more
	shared      = 0.9  // overlap from which on losses are taken as shared by the members
	parityBatch = 8    // parity symbols encoded at once
	tailRisk    = 0.02 // that repairs at the tail do not suffice
	tailShare   = 256  // generosity at the tail is bounded to one packet in so many
	tailPackets = 64   // beside so many
	old         = 4    // round trips after which a sending has arrived or is lost
	oldLeast    = 100 * time.Millisecond
)

// nextRepair returns the symbol to send next of a block with needs.
func (b *sendBlock) nextRepair(members int, overlap float64) int {
	sources := b.union.len()
	switch {
	case b.need == 0:
		return b.unasked()
	case b.exhausted(), sources <= b.need && (members == 1 || overlap > shared), b.need > dearNeed && sources <= b.need+b.need/4:
		return b.union.first()
	}
	return b.k + b.parity
}

// exhausted reports that there is no more parity: a block of one symbol has
// none, as its symbol itself is as good.
func (b *sendBlock) exhausted() bool { return b.k == 1 || b.k+b.parity > protocol.MaxIndex }

// unasked returns the symbol to send when nobody has asked.
func (b *sendBlock) unasked() int {
	if b.exhausted() {
		return 0
	}
	return b.k + b.parity
}

// emitted takes a repair that was sent off the needs. It reports whether there
// are none left.
func (b *sendBlock) emitted(i int) bool {
	switch {
	case b.need == 0:
		b.extra--
	case i < b.k:
		b.union.remove(i)
		b.need = min(b.need, b.union.len())
	default:
		b.need--
	}
	if b.need == 0 {
		b.union = symbolSet{}
	}
	return b.need+b.extra == 0
}

// repair adds what fb asks for to the needs of the blocks.
func (s *Sender) repair(now time.Time, member int, fb *protocol.Feedback, highest uint32) {
	patience := max(old*s.rtt.value(), oldLeast)
	for i := range fb.Naks {
		n := &fb.Naks[i]
		s.stats.Naks++
		if n.Block < s.base || n.Block >= s.next || n.Block > s.cur || n.Block == s.cur && s.curSym < s.ring[s.cur%MaxAhead].k {
			s.stats.DeadNaks++
			continue
		}
		sb := s.ring[n.Block%MaxAhead]
		need, missing := int(n.Need), parseMissing(n.Missing).common(below(sb.k))
		if n.All {
			need, missing = sb.k, below(sb.k)
		}
		s.compare(sb, member, missing)
		if need = min(need, missing.len()); need == 0 {
			s.stats.Absurd++
			continue
		}
		asked := need
		if now.Sub(sb.sent) <= patience {
			need, missing = sb.underWay(need, missing, highest)
		}
		if n.Block == s.cur {
			need -= s.curEnd - s.curSym
		}
		s.stats.StaleSymbols += uint64(asked - max(0, need))
		if need <= 0 {
			continue
		}
		sb.extra = max(sb.extra, s.margin(member, need))
		sb.union = sb.union.union(missing)
		sb.need = max(sb.need, need)
		s.repairs.add(n.Block)
	}
}

// underWay takes off what was sent at or after the sequence number before
// which the member had seen everything.
func (b *sendBlock) underWay(need int, missing symbolSet, highest uint32) (int, symbolSet) {
	for i := b.parity - 1; i >= 0 && !before(b.last[b.k+i], highest); i-- {
		need--
	}
	for m := missing; !m.empty(); {
		i := m.first()
		m.remove(i)
		if !before(b.last[i], highest) {
			missing.remove(i)
			need--
		}
	}
	return need, missing
}

// compare learns from the first NAKs of two members how much of their losses
// they share.
func (s *Sender) compare(sb *sendBlock, member int, missing symbolSet) {
	switch {
	case missing.empty() || sb.by == member+1 || sb.by < 0:
	case sb.by == 0:
		sb.by, sb.named = member+1, missing
	default:
		both := missing.common(sb.named)
		share := float64(both.len()) / float64(missing.union(sb.named).len())
		s.overlap += (share - s.overlap) / 8
		sb.by = -1
	}
}

// margin returns how many symbols more to send than a member needs, if these
// are the last.
func (s *Sender) margin(member, need int) int {
	if s.cur != s.next {
		return 0
	}
	p := s.losses.of(member)
	if p <= 0 {
		return 0
	}
	n := 0
	for n < need+4 && binomialTail(need+n, n, p) > tailRisk {
		n++
	}
	return s.generous(n)
}

// generous grants n packets of what is to be spent on the tail, or none. A
// sender that waits for its upper layer again and again takes each pause for
// the tail: that must not cost much.
func (s *Sender) generous(n int) int {
	if s.spent+uint64(n) > uint64(s.seq)/tailShare+tailPackets {
		return 0
	}
	s.spent += uint64(n)
	return n
}

// binomialTail returns the probability that more than m of n packets are lost,
// of which each is lost with probability p, 0 < p < 1.
func binomialTail(n, m int, p float64) float64 {
	if m >= n {
		return 0
	}
	term := math.Exp(float64(n) * math.Log1p(-p)) // none
	sum := term
	for i := range m {
		term *= float64(n-i) / float64(i+1) * p / (1 - p)
		sum += term
	}
	return max(0, 1-sum)
}

// parityBuffers lends out the bytes of parity symbols. They come back when the
// packets are written, which is when the sender is next told anything.
type parityBuffers struct {
	size int
	free [][]byte
	lent [][]byte
}

// take returns the next parity symbol of a block. If none is ready, it encodes
// up to ahead of them.
func (p *parityBuffers) take(b *sendBlock, ahead int) []byte {
	if b.readyAt == b.readyEnd {
		n := max(1, min(ahead, parityBatch, protocol.MaxIndex+1-b.k-b.parity))
		for i := range n {
			b.ready[i] = p.get()
		}
		encodeParity(b.Encoded, p.size, b.k+b.parity, b.ready[:n])
		b.readyAt, b.readyEnd = 0, n
	}
	buf := b.ready[b.readyAt]
	b.readyAt++
	b.parity++
	p.lent = append(p.lent, buf)
	return buf
}

func (p *parityBuffers) get() []byte {
	if n := len(p.free); n > 0 {
		buf := p.free[n-1]
		p.free = p.free[:n-1]
		return buf
	}
	return make([]byte, p.size)
}

// written says that all packets are written.
func (p *parityBuffers) written() {
	p.free = append(p.free, p.lent...)
	p.lent = p.lent[:0]
}

// drop takes back what a block has ready.
func (p *parityBuffers) drop(b *sendBlock) {
	p.free = append(p.free, b.ready[b.readyAt:b.readyEnd]...)
	b.readyAt, b.readyEnd = 0, 0
}
