package transfer

import (
	"fmt"
	"time"

	"makuo/protocol"
)

// Defaults of a SenderConfig.
const (
	DefaultWindow = 24 << 20 // bytes
	firstRoom     = 4 << 20  // bytes a member is trusted with before it has said what it holds
)

// SenderConfig says what stream a Sender sends and to how many.
type SenderConfig struct {
	Stream     uint32
	Members    int                  // members 0..Members-1 are in the stream from the start
	SymbolSize int                  // bytes of block in a packet, see protocol.SymbolSize
	Window     int                  // encoded bytes held at most beside one block; 0 is DefaultWindow
	Rate       RateConfig           // limits of the rate
	Release    func(encoded []byte) // if set, told of each block's bytes when the id is dead; no Symbol of it may be used after that
}

// Block is what the upper layer wants delivered.
type Block struct {
	Kind    protocol.BlockKind
	First   uint32 // first manifest entry the block touches
	Count   uint32 // entries from First on that it may touch, under 1<<24
	Encoded []byte // 1..protocol.MaxBlock bytes in at most protocol.MaxSymbols symbols
}

// SenderStats counts what a Sender did and what it was told.
type SenderStats struct {
	Sent          uint64 // packets of first sending
	SentBytes     uint64 // their bytes as IP packets
	Repaired      uint64 // packets beyond that: symbols sent again, and parity
	RepairedBytes uint64
	Parity        uint64 // of these packets, those with parity symbols
	Proactive     uint64 // of these packets, those that nobody had asked for
	Feedback      uint64 // feedback messages of this stream
	Naks          uint64 // blocks named in them
	StaleSymbols  uint64 // symbols asked for while their repair, or as many of parity, was under way
	DeadNaks      uint64 // naks of blocks that are dead or were never sent
	Absurd        uint64 // feedback with values that cannot be, refused or ignored in part
	Full          uint64 // feedback of members that had refused packets
}

// Sender is the sending side of one stream.
type Sender struct {
	cfg    SenderConfig
	start  time.Time
	pacer  Pacer
	rate   rateControl
	rtt    grtt
	window window
	stats  SenderStats

	ring    [MaxAhead]*sendBlock // by id modulo MaxAhead; base..next-1 are alive
	free    []*sendBlock
	base    uint32 // ids below are dead
	next    uint32 // id of the next block to be offered
	cur     uint32 // block of the next new symbol
	curSym  int    // and its index; from k on, proactive repairs
	curEnd  int    // one behind its last
	seq     uint32 // of the next packet
	repairs slots  // blocks with needs

	losses  lossTable
	parity  parityBuffers
	overlap float64 // share of a member's losses that another one has too, smoothed
	spent   uint64  // packets of generosity at the tail
}

// sendBlock is a block that some member in the stream has not consumed.
type sendBlock struct {
	Block
	id     uint32
	k      int       // source symbols
	offset uint64    // bytes offered before this block
	sent   time.Time // last sending of any symbol
	repairState
	last [protocol.MaxIndex + 1]uint32 // sequence number of the last sending of each symbol
}

// NewSender returns a sender whose stream is empty.
func NewSender(cfg SenderConfig, now time.Time) *Sender {
	if cfg.Window <= 0 {
		cfg.Window = DefaultWindow
	}
	cfg.SymbolSize = max(1, min(cfg.SymbolSize, protocol.SymbolSize(protocol.MaxPacket)))
	s := &Sender{cfg: cfg, start: now}
	s.rate.init(cfg.Rate, cfg.Members, now)
	s.pacer = NewPacer(s.rate.bytesPerSecond(), now)
	s.rtt.init(now)
	s.window.init(cfg.Members)
	s.losses.init(cfg.Members)
	s.parity.size = cfg.SymbolSize
	return s
}

// Clock returns the sender's clock in microseconds, as State.Time is to carry
// it; never 0.
func (s *Sender) Clock(now time.Time) uint64 {
	return 1 + uint64(max(0, now.Sub(s.start)/time.Microsecond))
}

// Room returns the encoded bytes that may be offered now: an Offer of at most
// that many is in order. With nothing outstanding it is at least
// protocol.MaxBlock.
func (s *Sender) Room() int {
	outstanding := s.next - s.base
	if outstanding >= MaxAhead {
		return 0
	}
	total := s.window.total
	room := int64(s.cfg.Window) - int64(total-s.offset(s.base))
	room = min(room, int64(s.window.edge())-int64(total))
	if outstanding == 0 {
		return int(max(room, protocol.MaxBlock))
	}
	return int(max(0, room))
}

// Offer adds a block to the stream and returns its id: 0, 1, 2, ... The sender
// owns Encoded until the id is dead. Offering more than Room is wasteful, not
// harmful, but for the limit of MaxAhead blocks, which is an error, as is a
// block that breaks a limit of the protocol.
func (s *Sender) Offer(now time.Time, b Block) (uint32, error) {
	k := symbols(len(b.Encoded), s.cfg.SymbolSize)
	base := b.Kind.Base()
	switch {
	case len(b.Encoded) == 0 || len(b.Encoded) > protocol.MaxBlock || k > protocol.MaxSymbols:
		return 0, fmt.Errorf("offer block %d: %d bytes in symbols of %d break the limits", s.next, len(b.Encoded), s.cfg.SymbolSize)
	case base < protocol.BlockHeader || base > protocol.BlockData || (base == protocol.BlockHeader) != (s.next == 0) || b.Count >= 1<<24:
		return 0, fmt.Errorf("offer block %d: kind %d over %d entries is not possible", s.next, b.Kind, b.Count)
	case s.next-s.base >= MaxAhead:
		return 0, fmt.Errorf("offer block %d: %d blocks are outstanding", s.next, MaxAhead)
	}
	sb := s.take()
	sb.Block, sb.id, sb.k, sb.offset, sb.repairState = b, s.next, k, s.window.total, repairState{}
	s.ring[s.next%MaxAhead] = sb
	s.next++
	s.window.total += uint64(len(b.Encoded))
	s.retire()
	return sb.id, nil
}

func (s *Sender) take() *sendBlock {
	if n := len(s.free); n > 0 {
		sb := s.free[n-1]
		s.free = s.free[:n-1]
		return sb
	}
	return new(sendBlock)
}

// offset returns the bytes offered before block id, base <= id <= next.
func (s *Sender) offset(id uint32) uint64 {
	if id == s.next {
		return s.window.total
	}
	return s.ring[id%MaxAhead].offset
}

// Next returns the next packet to send now, repairs first, or false if there
// is none or the pacing forbids it. Symbol aliases the block's bytes or a
// buffer of the sender: the packet is to be written before the next call of
// HandleFeedback or Drop.
func (s *Sender) Next(now time.Time) (protocol.Data, bool) {
	if !s.pacer.Ready(now) {
		return protocol.Data{}, false
	}
	s.tick(now)
	if id, ok := s.repairs.first(s.base); ok {
		sb := s.ring[id%MaxAhead]
		i := sb.nextRepair(s.window.count, s.overlap)
		d := s.emit(now, sb, i, sb.need+sb.extra)
		if sb.emitted(i) {
			s.repairs.remove(id)
		}
		return d, true
	}
	if s.cur == s.next {
		s.rate.idle(now)
		return protocol.Data{}, false
	}
	sb := s.ring[s.cur%MaxAhead]
	if s.curSym == 0 {
		s.curEnd = sb.k
	}
	i := s.curSym
	if i >= sb.k {
		i = sb.unasked()
		s.stats.Proactive++
	}
	d := s.emit(now, sb, i, s.curEnd-s.curSym)
	if s.curSym++; s.curSym == sb.k {
		s.curEnd += s.proactive(now, sb)
	}
	if s.curSym >= s.curEnd {
		s.cur, s.curSym = s.cur+1, 0
	}
	return d, true
}

// emit makes the packet of symbol i of a block, which, if it is a parity
// symbol, is the next one; it counts on about ahead of them in a row.
func (s *Sender) emit(now time.Time, sb *sendBlock, i, ahead int) protocol.Data {
	d := protocol.Data{Stream: s.cfg.Stream, Seq: s.seq, Block: sb.id, Index: uint8(i), Kind: sb.Kind,
		Length: uint32(len(sb.Encoded)), First: sb.First, Count: sb.Count}
	if i < sb.k {
		at := i * s.cfg.SymbolSize
		d.Symbol = sb.Encoded[at:min(at+s.cfg.SymbolSize, len(sb.Encoded))]
	} else {
		d.Symbol = s.parity.take(sb, ahead)
		s.stats.Parity++
	}
	bytes := len(d.Symbol) + packetOverhead
	if s.curSym < sb.k && sb.id == s.cur && i == s.curSym {
		s.stats.Sent++
		s.stats.SentBytes += uint64(bytes)
	} else {
		s.stats.Repaired++
		s.stats.RepairedBytes += uint64(bytes)
	}
	sb.last[i], sb.sent = s.seq, now
	s.rate.sent(now, s.seq, bytes)
	s.seq++
	s.pacer.Charge(now, bytes)
	return d
}

// Poll returns the earliest time at which Next may yield a packet, or the zero
// time if nothing waits to be sent.
func (s *Sender) Poll(now time.Time) time.Time {
	if s.Idle() {
		s.rate.idle(now)
		return time.Time{}
	}
	if due := s.pacer.Due(); due.After(now) {
		return due
	}
	return now
}

// PacketBytes returns the bytes of the IP packet that carries a UDP payload of
// the given length: what rates are counted in.
func PacketBytes(payload int) int { return payload + ipUDP }

// ChargeControl accounts for a packet of the given UDP payload that the caller
// has sent beside the stream's own, such as a state message.
func (s *Sender) ChargeControl(now time.Time, payload int) { s.pacer.Charge(now, payload+ipUDP) }

// tick lets the rate react to time alone.
func (s *Sender) tick(now time.Time) {
	if s.rate.silence(now, s.rtt.value()) {
		s.pacer.SetRate(s.rate.bytesPerSecond())
	}
}

// Blocks returns the number of blocks all of whose symbols have been sent at
// least once: what State.Blocks is to carry. It equals Offered once Idle.
func (s *Sender) Blocks() uint32 { return s.cur }

// Offered returns the number of blocks offered.
func (s *Sender) Offered() uint32 { return s.next }

// Unsent returns the encoded bytes of blocks none of whose symbols was sent.
func (s *Sender) Unsent() int64 {
	id := s.cur
	if s.curSym > 0 {
		id++
	}
	if id >= s.next {
		return 0
	}
	return int64(s.window.total - s.offset(id))
}

// Packets returns the sequence number of the next packet, for State.Packets.
func (s *Sender) Packets() uint32 { return s.seq }

// Idle reports whether all offered blocks have been sent and no repair waits.
func (s *Sender) Idle() bool { return s.cur == s.next && s.repairs.empty() }

// Consumed returns the number of leading blocks that the member is known to
// have consumed; 0 for a member that does not exist.
func (s *Sender) Consumed(member int) uint32 {
	if member < 0 || member >= len(s.window.members) {
		return 0
	}
	return s.window.members[member].consumed
}

// AllConsumed reports whether every member in the stream has consumed every
// block offered.
func (s *Sender) AllConsumed() bool { return s.base == s.next }

// RTT returns the largest round trip to a member in the stream: it rises at
// once and falls slowly; in microseconds without a floor but one of 1 us.
func (s *Sender) RTT() time.Duration { return s.rtt.value() }

// Rate returns the present sending rate in bytes of IP packets a second.
func (s *Sender) Rate() int64 { return s.pacer.Rate() }

// Stats returns the counters.
func (s *Sender) Stats() SenderStats { return s.stats }
