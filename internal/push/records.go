package push

import (
	"time"

	"makuo/protocol"
)

// outlog is a member's list of numbered records that its origin has not heard
// yet. Records are sent at once and repeated, with growing pauses, until a
// state message shows that they were heard.
type outlog struct {
	first   uint32 // number of pending[0]
	pending []protocol.Record
	fresh   int       // pending[len-fresh:] were never sent
	due     time.Time // next repetition, valid if any was sent and is pending
	pause   time.Duration
	tries   int       // repetitions since anything was heard
	hold    time.Time // fresh records are not sent before
}

// quickTries are about as many as fit into the time that a push waits for an
// answer before the member is parked: of a loss of 30 % all are lost once in
// 15,000 times.
const quickTries = 8

// add appends a record; it is sent no earlier than hold.
func (o *outlog) add(r protocol.Record, hold time.Time) {
	if o.fresh == 0 {
		o.hold = hold
	}
	o.pending = append(o.pending, r)
	o.fresh++
}

// heard drops all records below n.
func (o *outlog) heard(n uint32) {
	k := int32(n - o.first)
	if k <= 0 || int(k) > len(o.pending)-o.fresh {
		return // old news, or a number we never sent
	}
	o.pending = append(o.pending[:0], o.pending[k:]...)
	o.first = n
	o.pause, o.tries = 0, 0
}

// replace puts r in the place of the pending record of a type, if there is
// one: whoever heard the old one ignores what comes under its number.
func (o *outlog) replace(t protocol.RecordType, r protocol.Record) {
	for i := range o.pending {
		if o.pending[i].Type == t {
			o.pending[i] = r
		}
	}
}

// empty reports whether all was heard.
func (o *outlog) empty() bool { return len(o.pending) == 0 }

// next returns when something is to be sent; zero is never.
func (o *outlog) next() time.Time {
	switch {
	case len(o.pending) == 0:
		return time.Time{}
	case o.fresh == len(o.pending):
		return o.hold
	case o.fresh > 0 && o.hold.Before(o.due):
		return o.hold
	}
	return o.due
}

// poll returns reports that fit body bytes each: the fresh records if it is
// their time, or everything pending if a repetition is due.
func (o *outlog) poll(now time.Time, push streamKey, body int, base time.Duration) []*protocol.Report {
	at := o.next()
	if at.IsZero() || now.Before(at) {
		return nil
	}
	from := 0
	switch old := len(o.pending) - o.fresh; {
	case old == 0:
		o.due = now.Add(base)
	case now.Before(o.due):
		from = old // what was sent before is not due yet
	default:
		// Quick repetitions ride out loss; then the origin may be gone.
		if o.tries++; o.tries <= quickTries {
			o.pause = base
		} else {
			o.pause = min(2*o.pause, time.Second)
		}
		o.due = now.Add(o.pause)
	}
	o.fresh = 0
	return packRecords(push, o.first+uint32(from), o.pending[from:], body)
}

func packRecords(push streamKey, first uint32, recs []protocol.Record, body int) []*protocol.Report {
	var out []*protocol.Report
	var cur *protocol.Report
	size := 0
	var scratch []byte
	for i := range recs {
		scratch = recs[i].Append(scratch[:0])
		if cur == nil || size+len(scratch) > body || len(cur.Records) == protocol.MaxRecords {
			cur = &protocol.Report{Origin: push.origin, Stream: push.stream, First: first + uint32(i)}
			out = append(out, cur)
			size = protocol.ReportFixed
		}
		cur.Records = append(cur.Records, recs[i])
		size += len(scratch)
	}
	return out
}

// inlog puts a member's numbered records in order at the origin.
type inlog struct {
	next  uint32
	early map[uint32]protocol.Record
}

const maxEarly = 4096 // records kept ahead of a gap

// take returns the records of r that are now in order, each once.
func (l *inlog) take(r *protocol.Report) []protocol.Record {
	var out []protocol.Record
	for i := range r.Records {
		n := r.First + uint32(i)
		d := int32(n - l.next)
		switch {
		case d < 0 || d > maxEarly:
			continue
		case d > 0:
			if l.early == nil {
				l.early = make(map[uint32]protocol.Record)
			}
			l.early[n] = r.Records[i]
			continue
		}
		out = append(out, r.Records[i])
		l.next++
		for {
			rec, ok := l.early[l.next]
			if !ok {
				break
			}
			delete(l.early, l.next)
			out = append(out, rec)
			l.next++
		}
	}
	return out
}
