package transfer

import (
	"math/rand/v2"
	"time"

	"makuo/protocol"
)

// DefaultRoom is what a Receiver holds by default, in bytes of encoded blocks.
const DefaultRoom = 24 << 20

// ReceiverConfig says what stream a Receiver listens to and what it may hold.
type ReceiverConfig struct {
	Origin  protocol.Session // the sender's, named in Feedback
	Stream  uint32
	Seed    uint64 // of the damping of feedback; differs from member to member
	Room    int    // bytes of blocks held at most, beside one block; 0 is DefaultRoom
	Roster  int    // members of the push, see SetRoster; below 1 is 1
	Payload int    // UDP payload a Feedback must fit; 0 is protocol.DefaultPayload

	// Cares, if set, is asked once for each block, when its first packet
	// arrives, whether the member wants it. An unwanted block is consumed.
	Cares func(kind protocol.BlockKind, first, count uint32) bool
}

// Complete is a block that has arrived. Encoded is owned by the caller, who
// calls Consumed or Failed for its ID.
type Complete struct {
	ID      uint32
	Kind    protocol.BlockKind
	First   uint32
	Count   uint32
	Encoded []byte
}

// ReceiverStats counts what a Receiver did.
type ReceiverStats struct {
	Packets      uint64 // of the stream, of any use or not
	Duplicates   uint64 // symbols that were there already, or blocks complete
	Parity       uint64 // parity symbols of use
	Rebuilt      uint64 // source symbols computed from them
	OutOfWindow  uint64 // blocks more than MaxAhead beyond the oldest
	Inconsistent uint64 // packets that contradict their block or the stream
	Refused      uint64 // packets refused because the room was full
	Unwanted     uint64 // blocks of no concern
	Failed       uint64 // blocks asked for anew
	Feedback     uint64 // messages produced
	Naks         uint64 // blocks named in them
}

// Receiver is the receiving side of one stream at one member.
type Receiver struct {
	cfg   ReceiverConfig
	stats ReceiverStats
	rng   *rand.Rand

	size     int // bytes of a symbol; 0 until a packet has told
	ring     []recvBlock
	consumed uint32 // ids below are consumed
	oldest   uint32 // first id that is neither complete nor consumed
	held     int    // bytes of blocks in the ring
	beyond   int    // bytes of consumed blocks at and above consumed
	largest  int    // length of the largest block seen
	spare    [][]byte

	front   position  // one behind the newest symbol seen
	frontK  int       // source symbols of its block
	lag     [3]uint32 // the front's block before each of the last packets
	lagAt   int
	ripe    uint32 // blocks below it were sent whole, and late packets are in
	highest uint32 // one more than the highest Seq; see gotAny
	gotAny  bool
	packets uint32 // received
	gap     uint32 // longest run of numbers not received since the last Feedback

	rebuilder rebuilder
	state     feedbackState
}

// position is a place in the stream: block, then symbol.
type position uint64

func at(block uint32, symbol int) position { return position(block)<<8 | position(symbol) }
func (p position) block() uint32           { return uint32(p >> 8) }
func (p position) symbol() int             { return int(p & 0xff) } // 255 at most: indices end at 254

type blockState uint8

const (
	blockUnknown  blockState = iota // no packet arrived
	blockPartial                    // some symbols are there
	blockComplete                   // handed up
	blockConsumed
)

// recvBlock is a block at or above the consumed mark.
type recvBlock struct {
	state   blockState
	tries   uint8 // NAKs since the last new symbol
	kind    protocol.BlockKind
	length  int // bytes, as accounted in held or beyond
	first   uint32
	count   uint32
	k       int
	left    int                        // symbols to come, of whatever index: at least 1 while partial
	missing symbolSet                  // source symbols that are not there
	lent    symbolSet                  // of their places in buf, those that hold a parity symbol
	buf     []byte                     // k symbols
	nakAt   time.Time                  // earliest time of the next NAK
	holds   [protocol.MaxSymbols]uint8 // index of the parity symbol at a lent place
}

// NewReceiver returns a receiver that has seen nothing.
func NewReceiver(cfg ReceiverConfig, now time.Time) *Receiver {
	if cfg.Room <= 0 {
		cfg.Room = DefaultRoom
	}
	if cfg.Payload <= 0 {
		cfg.Payload = protocol.DefaultPayload
	}
	r := &Receiver{cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, uint64(cfg.Stream))), ring: make([]recvBlock, 64)}
	r.state.init(now)
	r.SetRoster(cfg.Roster)
	return r
}

// SetRoom changes what the receiver holds at most, in bytes of encoded blocks.
// What it holds already stays.
func (r *Receiver) SetRoom(room int) { r.cfg.Room = room }

func (r *Receiver) slot(id uint32) *recvBlock { return &r.ring[int(id)&(len(r.ring)-1)] }

// reach makes the ring hold id, which is below consumed+MaxAhead.
func (r *Receiver) reach(id uint32) {
	size := len(r.ring)
	for int(id-r.consumed) >= size {
		size *= 2
	}
	if size == len(r.ring) {
		return
	}
	old := r.ring
	r.ring = make([]recvBlock, size)
	for i := range old {
		id := r.consumed + uint32(i)
		*r.slot(id) = old[int(id)&(len(old)-1)]
	}
}

// HandleData takes one packet of the stream. It returns a block and true when
// the packet completes one. Packets that are of no use or that contradict what
// is known are refused and counted. The symbol is copied.
func (r *Receiver) HandleData(now time.Time, d *protocol.Data) (Complete, bool) {
	if d.Stream != r.cfg.Stream {
		return Complete{}, false
	}
	r.received(now, d.Seq)
	switch {
	case d.Block < r.consumed:
		r.stats.Duplicates++
		return Complete{}, false
	case d.Block-r.consumed >= MaxAhead:
		r.stats.OutOfWindow++
		return Complete{}, false
	}
	k, ok := r.shape(d)
	if !ok {
		r.stats.Inconsistent++
		return Complete{}, false
	}
	r.reach(d.Block)
	b := r.slot(d.Block)
	switch b.state {
	case blockComplete, blockConsumed:
		r.stats.Duplicates++
		return Complete{}, false
	case blockUnknown:
		if !r.admit(d, b, k) {
			return Complete{}, false
		}
	}
	if b.length != int(d.Length) || b.kind != d.Kind || b.first != d.First || b.count != d.Count || b.k != k {
		r.stats.Inconsistent++
		return Complete{}, false
	}
	r.advanceFront(now, d.Block, int(d.Index), k)
	if !r.store(b, int(d.Index), d.Symbol) {
		r.stats.Duplicates++
		return Complete{}, false
	}
	b.tries = 0
	if b.left--; b.left > 0 {
		return Complete{}, false
	}
	if !b.missing.empty() {
		r.stats.Rebuilt += uint64(b.missing.len())
		if !b.missing.has(b.k - 1) {
			clear(b.buf[b.length:])
		}
		r.rebuilder.rebuild(b.buf, r.size, b.k, b.missing, b.holds[:])
	}
	return r.complete(d.Block, b), true
}

// store keeps a symbol of a partial block, or says that it is there already. A
// parity symbol takes the place of some missing source; a source that needs
// the place moves it to another. There always is one: the places that are
// not lent are as many as the symbols to come.
func (r *Receiver) store(b *recvBlock, i int, symbol []byte) bool {
	if i < b.k {
		if !b.missing.has(i) {
			return false
		}
		b.missing.remove(i)
		if b.lent.has(i) {
			b.lent.remove(i)
			r.lend(b, b.holds[i], b.buf[i*r.size:(i+1)*r.size])
		}
		copy(b.buf[i*r.size:], symbol)
		return true
	}
	for m := b.lent; !m.empty(); {
		y := m.first()
		m.remove(y)
		if int(b.holds[y]) == i {
			return false
		}
	}
	r.stats.Parity++
	r.lend(b, uint8(i), symbol)
	return true
}

// lend puts a parity symbol in the place of a missing source.
func (r *Receiver) lend(b *recvBlock, index uint8, symbol []byte) {
	y := b.missing.without(b.lent).first()
	b.lent.add(y)
	b.holds[y] = index
	copy(b.buf[y*r.size:], symbol)
}

func (r *Receiver) received(now time.Time, seq uint32) {
	r.stats.Packets++
	r.packets++
	r.shiftLag(now)
	if !r.gotAny || !before(seq, r.highest) {
		if r.gotAny {
			r.gap = max(r.gap, seq-r.highest)
		}
		r.highest, r.gotAny = seq+1, true
	}
	r.state.lastData = now
}

// shape returns the number of symbols in the block of d if d fits the stream's
// symbol size, which the first packets tell: any symbol that is not its block's
// last source symbol has it. A lone packet that could be either is refused.
func (r *Receiver) shape(d *protocol.Data) (int, bool) {
	length, i, n := int(d.Length), int(d.Index), len(d.Symbol)
	if length < 1 || length > protocol.MaxBlock || n < 1 || n > length || d.Kind.Base() < protocol.BlockHeader || d.Kind.Base() > protocol.BlockData {
		return 0, false
	}
	if r.size == 0 {
		switch {
		case i == 0 && n == length:
			return 1, true // a single symbol, of unknown full size
		case i == 0:
			r.learn(length, n)
		case i*n >= length: // parity, as no source symbol is longer than those before it
			r.learn(length, n)
		case (i+1)*n >= length || symbols(length, n) > protocol.MaxSymbols: // the last symbol
			if (length-n)%i == 0 && (length-n)/i >= n {
				r.learn(length, (length-n)/i)
			}
		case (length-n)%i != 0: // not the last
			r.learn(length, n)
		}
		if r.size == 0 {
			return 0, false
		}
	}
	k := symbols(length, r.size)
	switch {
	case k > protocol.MaxSymbols || i > protocol.MaxIndex:
		return 0, false
	case i >= k: // a block of one symbol has no parity
		return k, k > 1 && n == r.size
	}
	return k, n == min(r.size, length-i*r.size)
}

func (r *Receiver) learn(length, size int) {
	if symbols(length, size) <= protocol.MaxSymbols {
		r.size = size
	}
}

// admit makes a place for the block of d, or says that there is none. The
// oldest incomplete block is taken even if the room is used up, unless it was
// overdrawn before: what is held stays below the room and one block.
func (r *Receiver) admit(d *protocol.Data, b *recvBlock, k int) bool {
	length := int(d.Length)
	if r.cfg.Cares != nil && !r.cfg.Cares(d.Kind, d.First, d.Count) {
		r.stats.Unwanted++
		r.advanceFront(r.state.lastData, d.Block, int(d.Index), k)
		r.held -= b.length
		b.length = length
		r.beyond += length
		r.state.freed += uint64(length)
		b.state = blockConsumed
		r.pass()
		return false
	}
	if !r.fits(d.Block, length) {
		r.stats.Refused++
		r.state.full = true
		r.advanceFront(r.state.lastData, d.Block, int(d.Index), k)
		return false
	}
	r.held += length - b.length
	r.largest = max(r.largest, length)
	b.state, b.kind, b.length, b.first, b.count = blockPartial, d.Kind, length, d.First, d.Count
	b.k, b.missing, b.lent, b.left = k, below(k), symbolSet{}, k
	b.buf = r.buffer(max(length, k*r.size))
	return true
}

// fits reports whether a block that no packet of is held has room. Of a block
// that has failed, the room is still kept.
func (r *Receiver) fits(id uint32, length int) bool {
	kept := r.slot(id).length
	if length <= kept || r.held-kept+length <= r.cfg.Room {
		return true
	}
	return id == r.oldest && r.held-kept <= r.cfg.Room
}

func (r *Receiver) buffer(n int) []byte {
	if l := len(r.spare); l > 0 {
		buf := r.spare[l-1]
		r.spare = r.spare[:l-1]
		if cap(buf) >= n {
			return buf[:n]
		}
	}
	// One size for nearly all blocks, so that buffers can be used again.
	return make([]byte, n, max(n, (min(protocol.MaxBlock, r.largest)+r.size+4095)&^4095))
}

// Recycle gives the bytes of a Complete back for use in a later block. The
// caller must not touch them afterwards. It is never necessary.
func (r *Receiver) Recycle(encoded []byte) {
	if cap(encoded) >= 4096 && len(r.spare) < 16 {
		r.spare = append(r.spare, encoded)
	}
}

func (r *Receiver) complete(id uint32, b *recvBlock) Complete {
	b.state = blockComplete
	c := Complete{ID: id, Kind: b.kind, First: b.first, Count: b.count, Encoded: b.buf[:b.length]}
	b.buf = nil
	r.pass()
	return c
}

// pass moves the marks past what is done.
func (r *Receiver) pass() {
	r.oldest = max(r.oldest, r.consumed)
	for r.inRing(r.oldest) && r.slot(r.oldest).state >= blockComplete {
		r.oldest++
	}
	for r.slot(r.consumed).state == blockConsumed {
		b := r.slot(r.consumed)
		r.beyond -= b.length
		*b = recvBlock{}
		r.consumed++
	}
	r.oldest = max(r.oldest, r.consumed)
	r.noteConsumed()
}

func (r *Receiver) inRing(id uint32) bool { return id-r.consumed < uint32(len(r.ring)) }

// Consumed says that the upper layer is done with a block, or does not need
// it. Its room is free.
func (r *Receiver) Consumed(id uint32) {
	if id < r.consumed || id-r.consumed >= MaxAhead {
		return
	}
	r.reach(id)
	b := r.slot(id)
	if b.state == blockConsumed {
		return
	}
	if b.buf != nil {
		r.Recycle(b.buf)
		b.buf = nil
	}
	r.held -= b.length
	r.beyond += b.length
	r.state.freed += uint64(b.length)
	b.state = blockConsumed
	r.pass()
}

// Failed says that the content of a complete block did not verify: it is asked
// for anew, as a whole.
func (r *Receiver) Failed(id uint32) {
	if id < r.consumed || !r.inRing(id) || r.slot(id).state != blockComplete {
		return
	}
	r.stats.Failed++
	*r.slot(id) = recvBlock{length: r.slot(id).length} // its room stays taken
	r.oldest = min(r.oldest, id)
	r.arm(r.state.lastData)
}

// Complete reports whether all blocks below the given number are consumed.
func (r *Receiver) Complete(blocks uint32) bool { return r.consumed >= blocks }

// ConsumedMark returns the number of leading blocks that are consumed.
func (r *Receiver) ConsumedMark() uint32 { return r.consumed }

// Held returns the bytes of blocks held: partial ones and those handed up and
// not yet consumed.
func (r *Receiver) Held() int { return r.held }

// Stats returns the counters.
func (r *Receiver) Stats() ReceiverStats { return r.stats }
