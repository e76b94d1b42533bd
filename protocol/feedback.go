package protocol

import (
	"encoding/binary"
	"math/bits"
	"time"
)

// MaxNaks is the largest number of blocks in one Feedback.
const MaxNaks = 200

// Feedback flags.
const (
	FlagFull    uint8 = 1 << iota // packets were refused because the member's room was full
	FlagSyncing                   // the member stages or commits: its disk is at work, see Feedback.Work
)

// Nak says what a member lacks of one block.
type Nak struct {
	Block   uint32
	All     bool   // no packet of the block arrived; Need is 0, Missing is empty
	Need    uint8  // symbols, whichever, that complete the block: 1 to the number of bits in Missing
	Missing []byte // bit i (of byte i/8, lowest first): source symbol i is lacking; at most MaxSymbols/8 bytes, last not 0
}

// Feedback is what a member tells its push's origin again and again: how far
// it is and what it lacks. It holds no state: the newest counts.
type Feedback struct {
	Origin   Session // with Stream: the push
	Stream   uint32
	Flags    uint8
	Consumed uint32        // all blocks below this id are consumed or of no concern
	Room     uint32        // bytes of blocks beyond Consumed the member can hold
	Highest  uint32        // one more than the highest Data.Seq received, or State.Packets if that is more; 0 if none
	Received uint32        // Data packets of this stream received, repairs and all
	Gap      uint32        // the most numbers in a row that were missed since the last Feedback
	Clock    uint64        // the member's own clock, microseconds
	Echo     uint64        // Time of the newest State, 0 if none
	Held     time.Duration // between that State's arrival and this message, microseconds on the wire
	Work     uint32        // what the member has done with its disk: any change is progress
	Naks     []Nak         // ascending by Block
}

// NakLen returns the bytes that n takes in a Feedback.
func (n *Nak) NakLen() int {
	if n.All {
		return 5
	}
	return 6 + len(n.Missing)
}

// FeedbackFixed is the length of a Feedback body without NAKs.
const FeedbackFixed = 8 + 4 + 1 + 4 + 4 + 4 + 4 + 4 + 8 + 8 + 4 + 4

// Append appends the body to dst.
func (m *Feedback) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(m.Origin))
	dst = binary.BigEndian.AppendUint32(dst, m.Stream)
	dst = append(dst, m.Flags)
	dst = binary.BigEndian.AppendUint32(dst, m.Consumed)
	dst = binary.BigEndian.AppendUint32(dst, m.Room)
	dst = binary.BigEndian.AppendUint32(dst, m.Highest)
	dst = binary.BigEndian.AppendUint32(dst, m.Received)
	dst = binary.BigEndian.AppendUint32(dst, m.Gap)
	dst = binary.BigEndian.AppendUint64(dst, m.Clock)
	dst = binary.BigEndian.AppendUint64(dst, m.Echo)
	dst = binary.BigEndian.AppendUint32(dst, micros(m.Held))
	dst = binary.BigEndian.AppendUint32(dst, m.Work)
	for i := range m.Naks {
		n := &m.Naks[i]
		dst = binary.BigEndian.AppendUint32(dst, n.Block)
		if n.All {
			dst = append(dst, 0xff)
			continue
		}
		dst = append(dst, byte(len(n.Missing)), n.Need)
		dst = append(dst, n.Missing...)
	}
	return dst
}

// ParseFeedback parses the body; Missing aliases the input.
func ParseFeedback(b []byte) (Feedback, error) {
	r := reader{b: b}
	m := Feedback{Origin: Session(r.u64("origin")), Stream: r.u32("stream"), Flags: r.u8("flags"), Consumed: r.u32("consumed"), Room: r.u32("room"),
		Highest: r.u32("highest"), Received: r.u32("received"), Gap: r.u32("gap"), Clock: r.u64("clock"), Echo: r.u64("echo"),
		Held: time.Duration(r.u32("held")) * time.Microsecond, Work: r.u32("work")}
	for r.err == nil && len(r.b) > 0 {
		m.Naks = append(m.Naks, r.nak(m.Naks))
	}
	if err := r.done("feedback"); err != nil {
		return Feedback{}, err
	}
	return m, nil
}

func (r *reader) nak(before []Nak) Nak {
	n := Nak{Block: r.u32("nak block")}
	if len(before) == MaxNaks {
		r.fail("more than %d naks", MaxNaks)
		return n
	}
	if len(before) > 0 && r.err == nil && before[len(before)-1].Block >= n.Block {
		r.fail("nak of block %d is out of order", n.Block)
	}
	switch l := r.u8("nak length"); {
	case l == 0xff:
		n.All = true
	case l == 0 || l > MaxSymbols/8:
		r.fail("nak of %d bytes", l)
	default:
		n.Need = r.u8("nak need")
		n.Missing = r.take(int(l), "nak bits")
		lacking := 0
		for _, b := range n.Missing {
			lacking += bits.OnesCount8(b)
		}
		switch {
		case r.err != nil:
		case n.Missing[l-1] == 0:
			r.fail("nak ends in a zero byte")
		case n.Need == 0 || int(n.Need) > lacking:
			r.fail("nak needs %d of %d symbols", n.Need, lacking)
		}
	}
	return n
}
