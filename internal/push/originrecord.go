package push

import (
	"fmt"
	"time"

	"makuo/protocol"
)

// When a record is in turn. Records come in their order, each once, so that
// only what the origin did meanwhile can make one come late; such are passed
// over. What no member that follows the protocol can say in the state that the
// push is in ends the part of the one that said it: it is not known what it
// would take the push for. What a member says after its part has ended, or while
// it is parked, is passed over, but for the word of one lost in commit that it
// is done.
//
//	record   taken                        passed over                    out of turn
//	locked   locking, this attempt        yielding; an older attempt     a later attempt, or twice; from streaming on
//	busy     locking, this attempt        yielding; an older attempt     a later attempt; locked for it; from streaming on
//	yielded  yielding, this attempt       locking, an older attempt      a later attempt; from streaming on
//	refused  before it is locked                                         from streaming on
//	failed   always
//	want     streaming, the next batch                                   any other batch or state
//	staged   flushing, all batches answered                              twice; any other state
//	done     committing, staged                                          any other state
const (
	inTurn    turn = iota // to be taken
	late                  // passed over
	outOfTurn             // its sender is out of the push
)

type turn uint8

// turnOf judges a record of a member in the stream.
func (o *Origin) turnOf(m *originMember, rec *protocol.Record) turn {
	is := func(ok bool) turn {
		if ok {
			return inTurn
		}
		return outOfTurn
	}
	switch rec.Type {
	case protocol.RecordLocked, protocol.RecordBusy, protocol.RecordYielded:
		return o.turnOfLock(m, rec)
	case protocol.RecordRefused:
		return is(o.state <= originYielding)
	case protocol.RecordFailed:
		return inTurn
	case protocol.RecordWant:
		return is(o.state == originStreaming && rec.Batch == m.wants && m.wants-o.answered < uint32(len(o.batches)))
	case protocol.RecordStaged:
		return is(o.state == originFlushing && m.stage == MemberActive && m.wants == o.offered)
	case protocol.RecordDone:
		return is(o.state == originCommitting && m.stage == MemberStaged)
	}
	return outOfTurn
}

// turnOfLock judges what is said of the lock for an attempt.
func (o *Origin) turnOfLock(m *originMember, rec *protocol.Record) turn {
	ahead := int8(rec.Attempt - o.attempt)
	switch {
	case o.state > originYielding || ahead > 0:
		return outOfTurn
	case ahead < 0:
		return late
	}
	locking := o.state == originLocking
	switch {
	case rec.Type == protocol.RecordYielded && locking:
		return outOfTurn // it was not told to
	case rec.Type == protocol.RecordYielded:
		return inTurn
	case !locking:
		return late
	case m.locked:
		return outOfTurn
	}
	return inTurn
}

var recordNames = [...]string{"", "locked", "busy", "refused", "want", "staged", "failed", "done", "yielded"}

func recordName(t protocol.RecordType) string {
	if int(t) < len(recordNames) {
		return recordNames[t]
	}
	return fmt.Sprintf("record %d", t)
}

// record takes one record of member i.
func (o *Origin) record(now time.Time, i int, rec *protocol.Record) {
	m := o.members[i]
	if m.stage == MemberLost && m.maybe && o.state == originCommitting && rec.Type == protocol.RecordDone {
		o.done(now, m, rec)
		return
	}
	if !m.inStream() || m.stage == MemberDone {
		return
	}
	switch o.turnOf(m, rec) {
	case inTurn:
		o.take(now, i, rec)
	case outOfTurn:
		m.maybe = m.stage == MemberStaged && o.state == originCommitting
		o.out(now, i, MemberFailed, fmt.Sprintf("it sent %q out of turn: is its makuod of another version?", recordName(rec.Type)))
	}
	o.urgent = true
}

// take takes a record that is in turn.
func (o *Origin) take(now time.Time, i int, rec *protocol.Record) {
	m := o.members[i]
	switch rec.Type {
	case protocol.RecordLocked:
		m.locked, m.busy, m.busyAt = true, false, time.Time{}
	case protocol.RecordYielded:
		m.yielded = true
	case protocol.RecordBusy:
		m.busy, m.with = true, Holder{ID: rec.Holder, Place: rec.Holder, Name: rec.Name}
		if m.busyAt.IsZero() {
			m.busyAt = now
		}
		o.busy(now, m.with)
	case protocol.RecordRefused:
		o.out(now, i, MemberRefused, rec.Text)
	case protocol.RecordFailed:
		o.out(now, i, MemberFailed, rec.Text)
	case protocol.RecordWant:
		o.want(i, rec)
	case protocol.RecordStaged:
		if rec.Digest != o.digest {
			o.out(now, i, MemberFailed, "its manifest differs from the origin's: nothing was committed there")
			return
		}
		m.stage, m.staged, m.counts = MemberStaged, rec.Counts, rec.Counts
	case protocol.RecordDone:
		o.done(now, m, rec)
	}
}

func (o *Origin) done(now time.Time, m *originMember, rec *protocol.Record) {
	m.stage, m.counts, m.took, m.doneAt = MemberDone, rec.Counts, rec.Took, now
	o.emit(EvMember{Name: m.Name, State: MemberDone})
}

// want takes member i's answer to the next batch.
func (o *Origin) want(i int, rec *protocol.Record) {
	m := o.members[i]
	b := o.batches[m.wants-o.answered]
	m.wants++
	b.left--
	for j := range min(len(b.union), len(rec.Data)) {
		b.union[j] |= rec.Data[j]
	}
	for j := range min(len(b.any), len(rec.Change)) {
		b.any[j] |= rec.Change[j]
	}
	if n := b.count % 8; n != 0 {
		b.union[len(b.union)-1] &= 1<<n - 1
		b.any[len(b.any)-1] &= 1<<n - 1
	}
	o.emit(EvWant{Member: i, Batch: rec.Batch, Change: rec.Change})
}
