package transfer

import (
	"math"
	"time"

	"makuo/protocol"
)

// Values of the damping of feedback.
const (
	smallRoster  = 20                     // below it, backoff is 0 to 1 round trips
	backoffLarge = 6                      // K of the backoff above it: feedback is unicast
	holdLeast    = 5 * time.Millisecond   // before a NAK is repeated
	holdMost     = 160 * time.Millisecond // after doubling in vain
	reorderTime  = 2 * time.Millisecond   // after which a late packet counts as lost
	burst        = 6                      // messages saved up at most
	memberSpread = 50 * time.Microsecond  // each roster member adds it to spreads and gaps
	slowGap      = time.Second / 3        // between messages of one member of a large roster
	bucketLeast  = 2 * time.Millisecond   // refill of a small roster's bucket
	answerLeast  = 25 * time.Millisecond  // between answers to State
	largeRoster  = 100                    // from here on slowGap holds
)

// feedbackState decides when a Receiver speaks.
//
// A message is due for one of two causes: naks, after a backoff from the
// detection of a gap; or word, for progress, for a State to be answered, for
// the end of what is known. A bucket of messages bounds both: it refills every
// gap, from 2 ms for a few members to a third of a second from 100 members on,
// so that the origin hears some hundreds a second in all, or 3 a member. The
// last message of the bucket is kept for the end.
type feedbackState struct {
	roster int
	rtt    time.Duration
	start  time.Time

	gotState bool
	seq      uint32
	echo     uint64
	arrived  time.Time
	blocks   uint32 // State.Blocks
	packets  uint32 // State.Packets

	nakDue  time.Time // zero: no gap is known
	wordDue time.Time // zero: nothing to say
	endDue  time.Time // zero: not everything known is consumed and untold
	last    time.Time // of the last message
	tokens  float64
	filled  time.Time // when tokens was right
	dirty   bool      // progress has not been looked at
	starved bool      // gaps are not asked for, for want of room

	lastData time.Time
	full     bool
	freed    uint64 // bytes ever consumed
	told     uint64 // of them, at the last message
	toldMark uint32 // consumed mark at the last message

	fb    protocol.Feedback
	naks  [protocol.MaxNaks]protocol.Nak
	bits  []byte
	space int // bytes of naks that fit
}

func (f *feedbackState) init(now time.Time) {
	f.rtt, f.start, f.lastData, f.last = firstRTT, now, now, now
	f.tokens, f.filled = burst, now
	f.bits = make([]byte, 0, protocol.MaxNaks*protocol.MaxSymbols/8)
}

// SetRoster tells the number of members of the push, which the damping of
// feedback goes by: an estimate, such as the number of members known, is good
// enough until the push header says it.
func (r *Receiver) SetRoster(members int) { r.state.roster = max(1, members) }

// gap is the interval at which the bucket refills.
func (f *feedbackState) gap() time.Duration {
	n := time.Duration(min(f.roster, largeRoster))
	return max(bucketLeast, n*n*slowGap/(largeRoster*largeRoster))
}

// answerGap is the least interval of answers to State.
func (f *feedbackState) answerGap() time.Duration {
	return max(answerLeast, time.Duration(min(f.roster, largeRoster))*slowGap/largeRoster)
}

// spread is the time over which the members' messages of one cause are spread.
func (f *feedbackState) spread() time.Duration {
	if f.roster < smallRoster {
		return f.rtt * time.Duration(f.roster) / smallRoster
	}
	return min(slowGap, time.Duration(f.roster)*memberSpread)
}

// backoff returns the random delay before a first NAK: a truncated exponential
// distribution over K round trips (RFC 5401, section 3.2.2), so that of many
// members a few speak early and the others see the repair.
func (r *Receiver) backoff() time.Duration {
	f := &r.state
	k := float64(f.roster) / smallRoster
	if f.roster == 1 {
		return 0
	}
	if f.roster >= smallRoster {
		k = backoffLarge
	}
	lambda := math.Log(float64(f.roster)) + 1
	t := math.Log(1+r.rng.Float64()*(math.Exp(lambda)-1)) / lambda
	return time.Duration(k * t * float64(f.rtt))
}

// HandleState takes a state message of the stream's origin.
func (r *Receiver) HandleState(now time.Time, st *protocol.State) {
	f := &r.state
	if st.Stream != r.cfg.Stream || f.gotState && !before(f.seq, st.Seq) {
		return
	}
	f.gotState, f.seq, f.echo, f.arrived = true, st.Seq, st.Time, now
	f.rtt = max(time.Microsecond, min(st.RTT, maxRTT))
	f.blocks, f.packets = st.Blocks, st.Packets
	if r.consumed < f.blocks {
		r.arm(now)
	}
	due := now.Add(r.random(f.spread()))
	if next := f.last.Add(f.answerGap()); next.After(due) {
		due = next
	}
	f.word(due)
	f.dirty = true
}

func (r *Receiver) random(d time.Duration) time.Duration {
	return time.Duration(r.rng.Float64() * float64(d))
}

func (f *feedbackState) word(due time.Time) { f.wordDue = earlier(f.wordDue, due) }

// arm starts the backoff of a NAK, if it is not running.
func (r *Receiver) arm(now time.Time) {
	if r.state.nakDue.IsZero() {
		r.state.nakDue = now.Add(r.backoff())
	}
}

// advanceFront takes note that a symbol of a block of k symbols was seen: all
// that came before it in the stream has been sent. What is missing of the
// front's own block is not asked for before the block was sent whole: parity
// would not help, and there is no haste.
func (r *Receiver) advanceFront(now time.Time, block uint32, index, k int) {
	next := at(block, index+1)
	if next <= r.front {
		return
	}
	if index+1 >= k && r.oldest <= block {
		// Should the stream end here, nothing else brings it up.
		r.state.look(now.Add(reorderTime + r.backoff()))
	}
	r.front, r.frontK = next, k
}

// shiftLag remembers the front before each of the last packets, so that a
// symbol overtaken by as many as len(lag) is not yet taken as lost, and starts
// the backoff of what is lost below.
func (r *Receiver) shiftLag(now time.Time) {
	if block := r.lag[r.lagAt]; block > r.ripe {
		r.ripe = block
		if r.oldest < block {
			r.arm(now)
		}
	}
	r.lag[r.lagAt] = r.front.block()
	r.lagAt = (r.lagAt + 1) % len(r.lag)
}

// settled returns the block below which what is missing counts as lost.
func (r *Receiver) settled(now time.Time) uint32 {
	end := max(r.ripe, r.state.blocks)
	if now.Sub(r.state.lastData) >= reorderTime {
		end = max(end, r.sentWhole())
	}
	return end
}

// sentWhole returns the number of blocks all of whose sources were sent, late
// packets or not.
func (r *Receiver) sentWhole() uint32 {
	if r.front.symbol() >= max(1, r.frontK) {
		return r.front.block() + 1
	}
	return r.front.block()
}

// noteConsumed takes note of progress, to be looked at by the next Poll.
func (r *Receiver) noteConsumed() { r.state.dirty = true }

// Poll returns the Feedback to send now, or nil, and the time of the next
// call: the zero time if only another event can bring something to say. It is
// to be called after each event and is cheap when nothing is due. The message
// is valid until the next call; the caller may add flags to it.
func (r *Receiver) Poll(now time.Time) (*protocol.Feedback, time.Time) {
	f := &r.state
	if f.dirty {
		r.progress(now)
	}
	for {
		if !f.endDue.IsZero() && !f.endDue.After(now) {
			r.end(now)
		}
		due, isNak := f.due()
		if due.IsZero() {
			return nil, time.Time{}
		}
		if ready := f.ready(); ready.After(due) {
			due = ready
		}
		if due.After(now) {
			return nil, due
		}
		n := 0
		if !f.nakDue.IsZero() && !f.nakDue.After(now) {
			n = r.collect(now)
		}
		if n == 0 && isNak {
			continue // the gap has closed or is held off
		}
		return r.message(now, n), f.after()
	}
}

// due returns the earliest of the causes.
func (f *feedbackState) due() (at time.Time, isNak bool) {
	at = earlier(f.wordDue, f.endDue)
	if f.nakDue.IsZero() || !at.IsZero() && !f.nakDue.Before(at) {
		return at, false
	}
	return f.nakDue, true
}

// earlier returns the earlier of two times, of which a zero one is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// ready returns when the bucket lets the next message out.
func (f *feedbackState) ready() time.Time {
	need := 1.0
	if f.endDue.IsZero() && f.roster >= smallRoster {
		need = 2
	}
	at := f.last.Add(min(slowGap, time.Duration(f.roster)*memberSpread))
	if f.tokens < need {
		if full := f.filled.Add(time.Duration((need - f.tokens) * float64(f.gap()))); full.After(at) {
			at = full
		}
	}
	return at
}

// after returns when to call again after a message.
func (f *feedbackState) after() time.Time {
	due, _ := f.due()
	if due.IsZero() {
		return due
	}
	if ready := f.ready(); ready.After(due) {
		return ready
	}
	return due
}

// progress looks for what consumption makes worth saying.
func (r *Receiver) progress(now time.Time) {
	f := &r.state
	f.dirty = false
	if f.starved {
		f.starved = false
		r.arm(now)
	}
	if f.freed-f.told >= uint64(max(1, r.cfg.Room/8)) {
		f.word(now.Add(r.random(f.spread())))
	}
	r.end(now)
}

// end sees to the word that everything known is consumed. If the origin said
// itself that this is all, it is told soon; if not, more may be under way, so
// the word waits until the stream is quiet.
func (r *Receiver) end(now time.Time) {
	f := &r.state
	if r.consumed <= f.toldMark || at(r.consumed, 0) < r.front || r.consumed < f.blocks {
		f.endDue = time.Time{}
		return
	}
	least := now
	if f.blocks != r.consumed {
		least = f.lastData.Add(max(f.rtt, reorderTime))
	}
	if f.endDue.IsZero() {
		f.endDue = now.Add(r.random(f.spread()))
	}
	if f.endDue.Before(least) {
		f.endDue = least
	}
}

// collect gathers the NAKs that may be made now, oldest first, as many as fit
// a packet, and sets the time for the next look.
func (r *Receiver) collect(now time.Time) (n int) {
	f := &r.state
	f.bits, f.nakDue = f.bits[:0], time.Time{}
	f.space = r.cfg.Payload - protocol.PrefixLen - protocol.FeedbackFixed - protocol.CheckLen
	end, held, guess := r.settled(now), r.held, max(1, r.largest)
	if whole := r.sentWhole(); whole > end && whole > r.oldest {
		f.look(f.lastData.Add(reorderTime + r.backoff()))
	}
	end = r.consumed + min(end-min(end, r.consumed), MaxAhead)
	if end > r.consumed {
		r.reach(end - 1)
	}
	for id := r.oldest; id < end; id++ {
		b := r.slot(id)
		if b.state >= blockComplete {
			continue
		}
		if b.state == blockUnknown {
			need := max(0, guess-b.length)
			if id != r.oldest && held+need > r.cfg.Room {
				f.starved = true
				break
			}
			held += need
		}
		nak := protocol.Nak{Block: id, All: b.state == blockUnknown}
		if !nak.All {
			from := len(f.bits)
			f.bits = b.missing.appendMissing(f.bits)
			nak.Need, nak.Missing = uint8(b.left), f.bits[from:len(f.bits):len(f.bits)]
		}
		if b.nakAt.After(now) {
			f.look(b.nakAt)
			continue
		}
		if n == protocol.MaxNaks || nak.NakLen() > f.space {
			f.look(now)
			break
		}
		f.space -= nak.NakLen()
		f.naks[n] = nak
		n++
		b.nakAt = now.Add(min(holdMost, max(holdLeast, f.rtt*3/2)<<b.tries))
		b.tries = min(b.tries+1, 6)
		f.look(b.nakAt)
	}
	return n
}

// look makes sure that gaps are looked at again by then.
func (f *feedbackState) look(at time.Time) { f.nakDue = earlier(f.nakDue, at) }

// message builds a Feedback with the first n NAKs that were collected.
func (r *Receiver) message(now time.Time, n int) *protocol.Feedback {
	f := &r.state
	f.tokens = min(burst, f.tokens+float64(now.Sub(f.filled))/float64(f.gap())) - 1
	f.filled, f.last = now, now
	f.wordDue, f.endDue = time.Time{}, time.Time{}
	f.told, f.toldMark = f.freed, r.consumed
	f.fb = protocol.Feedback{
		Origin: r.cfg.Origin, Stream: r.cfg.Stream, Consumed: r.consumed, Received: r.packets,
		Room:    uint32(min(int64(r.cfg.Room)+int64(r.beyond), math.MaxUint32)),
		Highest: r.sentBefore(), Gap: r.longestGap(),
		Clock: uint64(max(0, now.Sub(f.start)/time.Microsecond)),
		Naks:  f.naks[:n],
	}
	if f.gotState {
		f.fb.Echo, f.fb.Held = f.echo, now.Sub(f.arrived)
	}
	if f.full {
		f.fb.Flags |= protocol.FlagFull
		f.full = false
	}
	r.stats.Feedback++
	r.stats.Naks += uint64(n)
	return &f.fb
}

// longestGap returns the longest run of packets that were missed since it was
// called last, that behind the newest included.
func (r *Receiver) longestGap() uint32 {
	gap := r.gap
	if r.gap = 0; r.gotAny {
		gap = max(gap, r.sentBefore()-r.highest)
	}
	return gap
}

// sentBefore returns the sequence number before which all packets are known to
// have been sent: from the packets received and from the newest State, so that
// a NAK of a lost tail is not taken for one made too early.
func (r *Receiver) sentBefore() uint32 {
	if !r.gotAny || r.state.gotState && before(r.highest, r.state.packets) {
		return r.state.packets
	}
	return r.highest
}
