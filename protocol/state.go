package protocol

import (
	"encoding/binary"
	"fmt"
	"time"
)

// PushID names a push in the whole cluster. Pushes are ordered by Start, then
// Origin.
type PushID struct {
	Start  int64 // Unix nanoseconds at the origin
	Origin Session
}

// IsZero reports whether the id names no push.
func (p PushID) IsZero() bool { return p == PushID{} }

// Less orders pushes: the older one first.
func (p PushID) Less(q PushID) bool {
	if p.Start != q.Start {
		return p.Start < q.Start
	}
	return p.Origin < q.Origin
}

// String returns 32 hexadecimal digits, start first, so that ids sort by age.
func (p PushID) String() string { return fmt.Sprintf("%016x%016x", uint64(p.Start), uint64(p.Origin)) }

// ParsePushID reads what String wrote.
func ParsePushID(s string) (PushID, error) {
	var start, origin uint64
	if len(s) != 32 {
		return PushID{}, malformed("push id %q", s)
	}
	if _, err := fmt.Sscanf(s, "%16x%16x", &start, &origin); err != nil {
		return PushID{}, malformed("push id %q", s)
	}
	p := PushID{Start: int64(start), Origin: Session(origin)}
	if p.String() != s {
		return PushID{}, malformed("push id %q", s)
	}
	return p, nil
}

// Append appends the 16 bytes of the id.
func (p PushID) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(p.Start))
	return binary.BigEndian.AppendUint64(dst, uint64(p.Origin))
}

func (r *reader) pushID() PushID {
	return PushID{Start: int64(r.u64("push start")), Origin: Session(r.u64("push origin"))}
}

// Phase is where a push stands at its origin.
type Phase uint8

// The phases in the order in which a push goes through them.
const (
	PhaseLock   Phase = 1 // block 0 is offered, locks are asked for
	PhaseYield  Phase = 2 // an older push is in the way: give the lock back, wait
	PhaseStream Phase = 3 // locks are held; manifest and data flow
	PhaseFlush  Phase = 4 // all blocks are sent: Blocks is final
	PhaseCommit Phase = 5 // the decision is on disk: commit
	PhaseEnd    Phase = 6 // results are fetched: forget the push
	PhaseAbort  Phase = 7 // give up, change nothing
)

var phaseNames = [...]string{"", "lock", "yield", "stream", "flush", "commit", "end", "abort"}

// String returns the name used in logs and documentation.
func (p Phase) String() string {
	if int(p) < len(phaseNames) && p != 0 {
		return phaseNames[p]
	}
	return "unknown"
}

// MaxRoster is the largest number of members a push can have.
const MaxRoster = 10000

// MaxHeard is the largest number of Heard values in one State; larger
// rosters are told in turns.
const MaxHeard = 300

// State is repeated by the origin of a push for as long as the push lives:
// first as its announcement, then as progress, acknowledgement of what members
// reported, flush, decision and end.
type State struct {
	Stream  uint32 // with the sender's session: the push's name in Data, Feedback, Report
	Push    PushID
	Phase   Phase
	Attempt uint8         // of asking for locks; an answer names it
	Seq     uint32        // counts this push's state messages
	Time    uint64        // origin's clock in microseconds, echoed in Feedback
	RTT     time.Duration // largest round trip to a roster member, microseconds on the wire
	Every   time.Duration // interval of state messages, milliseconds on the wire
	Silence time.Duration // --timeout: how long silence is borne, milliseconds on the wire
	Packets uint32        // sequence number of the next Data packet
	Blocks  uint32        // ids below this one have been sent as a whole; from PhaseFlush on it is final
	Batches uint32        // manifest batches; from PhaseFlush on it is final
	Digest  uint64        // of the manifest, valid from PhaseFlush on
	First   uint16        // roster index of Heard[0]
	Heard   []uint32      // per member: all its report records below this number were heard
}

const stateFixed = 4 + 16 + 1 + 1 + 4 + 8 + 4 + 2 + 4 + 4 + 4 + 4 + 8 + 2

// Append appends the body of the state message to dst.
func (m *State) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, m.Stream)
	dst = m.Push.Append(dst)
	dst = append(dst, byte(m.Phase), m.Attempt)
	dst = binary.BigEndian.AppendUint32(dst, m.Seq)
	dst = binary.BigEndian.AppendUint64(dst, m.Time)
	dst = binary.BigEndian.AppendUint32(dst, micros(m.RTT))
	dst = binary.BigEndian.AppendUint16(dst, uint16(min(m.Every/time.Millisecond, 65535)))
	dst = binary.BigEndian.AppendUint32(dst, uint32(min(m.Silence/time.Millisecond, 1<<32-1)))
	dst = binary.BigEndian.AppendUint32(dst, m.Packets)
	dst = binary.BigEndian.AppendUint32(dst, m.Blocks)
	dst = binary.BigEndian.AppendUint32(dst, m.Batches)
	dst = binary.BigEndian.AppendUint64(dst, m.Digest)
	dst = binary.BigEndian.AppendUint16(dst, m.First)
	for _, h := range m.Heard {
		dst = binary.BigEndian.AppendUint32(dst, h)
	}
	return dst
}

// ParseState parses the body of a state message.
func ParseState(b []byte) (State, error) {
	r := reader{b: b}
	m := State{Stream: r.u32("stream"), Push: r.pushID(), Phase: Phase(r.u8("phase")), Attempt: r.u8("attempt"),
		Seq: r.u32("seq"), Time: r.u64("time"), RTT: time.Duration(r.u32("rtt")) * time.Microsecond,
		Every:   time.Duration(r.u16("interval")) * time.Millisecond,
		Silence: time.Duration(r.u32("silence")) * time.Millisecond,
		Packets: r.u32("packets"), Blocks: r.u32("blocks"), Batches: r.u32("batches"), Digest: r.u64("digest"), First: r.u16("first")}
	if r.err == nil && (m.Phase < PhaseLock || m.Phase > PhaseAbort) {
		r.fail("phase %d", m.Phase)
	}
	if r.err == nil && (len(r.b)%4 != 0 || len(r.b)/4 > MaxHeard) {
		r.fail("heard list of %d bytes", len(r.b))
	}
	if r.err == nil && len(r.b) > 0 {
		m.Heard = make([]uint32, len(r.b)/4)
		for i := range m.Heard {
			m.Heard[i] = r.u32("heard")
		}
	}
	if err := r.done("state"); err != nil {
		return State{}, err
	}
	return m, nil
}

func micros(d time.Duration) uint32 {
	return uint32(max(0, min(d/time.Microsecond, 1<<32-1)))
}
