package push

import (
	"fmt"
	"time"

	"makuo/protocol"
)

// Event is something the machine tells its shell.
type Event any

// Events of the origin's machine.
type (
	// EvWaiting: another push holds the paths.
	EvWaiting struct{ Holder Holder }
	// EvLocked: all locks are held; start the scan.
	EvLocked struct{}
	// EvWant: what one member will change of a batch.
	EvWant struct {
		Member int
		Batch  uint32
		Change []byte
	}
	// EvWanted: all answered a batch; read the entries of the bit set. Comes
	// in order of batches.
	EvWanted struct {
		Batch  uint32
		Data   []byte
		Change []byte // entries that somebody makes or changes
	}
	// EvReadRest: all batches are read; try again what had changed, then call
	// ReadEnded.
	EvReadRest struct{}
	// EvDecide: put the decision to commit on disk, then call DecisionWritten.
	EvDecide struct{}
	// EvDecided: the decision is taken, members are committing.
	EvDecided struct{}
	// EvProbe: find out whether a silent member's port is open.
	EvProbe struct{ Member RosterMember }
	// EvMember: a member's part has ended.
	EvMember struct {
		Name  string
		State MemberState
		Text  string
	}
	// EvProblem: an error or warning of a member.
	EvProblem struct {
		Member  string
		Problem protocol.Problem
	}
	// EvDeleted: a name a member removed.
	EvDeleted struct{ Member, Path string }
	// EvResult: Result is final.
	EvResult struct{}
)

// Out is one message to send; a zero To is the group, a session otherwise.
type Out struct {
	To    protocol.Session
	State *protocol.State
	Fetch protocol.Fetch
}

// Poll returns the messages due now and when to be called next. Data packets
// are taken from the Sender.
func (o *Origin) Poll(now time.Time) (outs []Out, next time.Time) {
	o.silence(now)
	o.stalled(now)
	o.impatient(now)
	o.parking(now)
	o.advance(now)
	if o.state == originOver {
		return nil, time.Time{}
	}
	outs = o.fetches(now, outs)
	every, gap := o.every(), o.stateGap()
	urgently := max(every/8, gap)
	if o.urgent && !now.Before(o.lastState.Add(urgently)) || !now.Before(o.lastState.Add(every)) {
		outs = append(outs, o.states(now, every)...)
		o.lastState, o.urgent = now, false
		if o.state == originEnding {
			if o.repeats++; o.repeats >= endRepeats {
				o.enter(now, originOver)
				return outs, time.Time{}
			}
		}
	}
	next = o.lastState.Add(every)
	if o.urgent {
		next = o.lastState.Add(urgently)
	}
	return outs, next
}

// every is the interval of state messages: stretched for large rosters, whose
// heard list takes several packets, and for low rates: see stateGap.
func (o *Origin) every() time.Duration {
	e := stateEvery * time.Duration(1+len(o.members)/protocol.MaxHeard)
	switch {
	case o.state == originYielding || o.state == originLocking && o.told:
		e = max(e, stateWaiting)
	case o.state == originEnding:
		e <<= min(o.repeats, 4)
	}
	return max(e, o.stateGap())
}

func (o *Origin) states(now time.Time, every time.Duration) []Out {
	o.stateSeq++
	packets, blocks := o.left()
	base := protocol.State{
		Stream: o.cfg.Stream, Push: o.cfg.ID, Phase: o.phase(), Attempt: o.attempt, Seq: o.stateSeq,
		Time: o.s.Clock(now), RTT: o.s.RTT(), Every: every, Silence: o.cfg.Timeout,
		Packets: packets, Blocks: blocks, Batches: o.offered, Digest: o.digest,
	}
	var outs []Out
	// The heard list goes round: one packet a state message, all of it while
	// there are few members.
	n := min(len(o.members)-o.heardFrom, protocol.MaxHeard)
	st := base
	st.First = uint16(o.heardFrom)
	for _, m := range o.members[o.heardFrom : o.heardFrom+n] {
		st.Heard = append(st.Heard, m.in.next)
	}
	if o.heardFrom += n; o.heardFrom >= len(o.members) {
		o.heardFrom = 0
	}
	o.stateBytes = o.stateSize(&st)
	return append(outs, Out{State: &st})
}

// silence probes and loses members that say nothing.
func (o *Origin) silence(now time.Time) {
	if o.state >= originEnding {
		return
	}
	for i, m := range o.members {
		if m.stage >= MemberRefused && !m.fetching() || m.stage == MemberDone && !m.fetching() {
			continue
		}
		quiet := now.Sub(m.heard)
		if quiet >= o.cfg.Timeout {
			o.lose(now, i, "no word from it for "+quiet.Round(time.Second).String())
			continue
		}
		// Every state message is answered by whoever takes part.
		if mute := now.Sub(m.word); mute >= o.cfg.Timeout && (m.inStream() || m.fetching()) {
			o.lose(now, i, "its daemon runs, but has said nothing about this push for "+mute.Round(time.Second).String())
			continue
		}
		if quiet >= probeAfter && now.Sub(m.lastProbe) >= probeAfter {
			m.lastProbe = now
			o.emit(EvProbe{m.RosterMember})
		}
	}
}

func (o *Origin) fetches(now time.Time, outs []Out) []Out {
	if o.state != originCollecting {
		return outs
	}
	if o.hold {
		for _, m := range o.members {
			m.word = now // nothing is asked of it
		}
		return outs
	}
	active := 0
	for _, m := range o.members {
		if !m.fetching() {
			continue
		}
		if active++; active > fetchAtOnce {
			break
		}
		for _, f := range [...]*fetch{m.problems, m.deletes} {
			if f == nil || f.done() {
				continue
			}
			if f.tries > fetchTries {
				o.noLog(m, f, fmt.Sprintf("it did not answer %d times", fetchTries))
				break
			}
			if req, ok := f.request(now, o.cfg.Stream, max(2*o.s.RTT(), 30*time.Millisecond)); ok {
				outs = append(outs, Out{To: m.Session, Fetch: req})
			}
			break
		}
	}
	return outs
}

// HoldFetches keeps the origin from asking for more of the members' logs.
func (o *Origin) HoldFetches(hold bool) { o.hold = hold }

// HandlePage takes a piece of a member's log.
func (o *Origin) HandlePage(now time.Time, from protocol.Session, p *protocol.Page) {
	i, ok := o.index[from]
	if !ok {
		return
	}
	m := o.members[i]
	m.heard = now
	if p.Origin != o.cfg.ID.Origin {
		return
	}
	m.word = now
	f := m.problems
	if p.Kind == protocol.PageDeletes {
		f = m.deletes
	}
	if f == nil || f.done() || p.Offset != f.offset {
		return
	}
	if why := o.logPage(m, f, p); why != "" {
		o.noLog(m, f, why)
	}
	o.advance(now)
}

// logPage takes the next page of a log; it says why no more of the log is
// taken, if so.
func (o *Origin) logPage(m *originMember, f *fetch, p *protocol.Page) string {
	if end := p.Offset + uint64(len(p.Bytes)); end > p.Total || len(p.Bytes) < protocol.MaxPage && end < p.Total {
		return "it sent a page that cannot be"
	}
	b := f.page(p)
	for len(b) > 0 {
		rest, ok := o.logRecord(m, p.Kind, b)
		if !ok {
			break
		}
		b = rest
	}
	switch {
	case len(b) > 0 && f.done() || len(b) >= maxLogRecord:
		return "what it sent is malformed"
	case !f.done() && f.offset >= maxLog:
		return fmt.Sprintf("it has %d bytes, the first %d were taken", f.total, f.offset)
	}
	f.rest = append([]byte(nil), b...)
	return ""
}

// logRecord takes one record off b; it does not if b holds less, or what is
// none.
func (o *Origin) logRecord(m *originMember, kind protocol.PageKind, b []byte) (rest []byte, ok bool) {
	if kind == protocol.PageDeletes {
		d, rest, ok := protocol.ParseDeletedPath(b)
		if ok {
			o.emit(EvDeleted{m.Name, d.Path})
		}
		return rest, ok
	}
	p, rest, ok, err := protocol.ParseProblem(b)
	if ok && err == nil {
		o.emit(EvProblem{m.Name, p})
	}
	return rest, ok && err == nil
}

// noLogs ends what is still fetched of m's logs, for the reason why.
func (o *Origin) noLogs(m *originMember, why string) {
	for _, f := range [...]*fetch{m.problems, m.deletes} {
		if f != nil && !f.done() {
			o.noLog(m, f, why)
		}
	}
}

// noLog ends the fetch f of one of m's logs for the reason why. It is an error
// if what is not known is part of how the push went: the member's errors, or
// on a dry run what it would delete.
func (o *Origin) noLog(m *originMember, f *fetch, why string) {
	what := "its log of errors and warnings could not be had: "
	if f.kind == protocol.PageDeletes {
		what = "its list of what it deleted could not be had: "
		m.deletes = nil
	} else {
		m.problems = nil
	}
	p := protocol.Problem{Text: what + why, Warning: m.stage == MemberDone && m.counts.Errors == 0 && !o.cfg.DryRun}
	if !p.Warning && m.counts.Errors == 0 {
		m.counts.Errors = 1
	}
	o.emit(EvProblem{m.Name, p})
}

// MemberResult is how one member's part ended.
type MemberResult struct {
	RosterMember
	Outcome   MemberState // from MemberDone on, once the push is over
	Text      string      // why, if not done
	Where     string      // how far it was when it was lost or failed
	LastHeard time.Time
	Maybe     bool // lost after the order to commit was sent: it may have the new tree
	Counts    protocol.Counts
	Took      time.Duration // of its own renames
	DoneAfter time.Duration // after the first order to commit
}

// Result is how a push ended.
type Result struct {
	Abort     string // why it was given up; empty if it was not
	Committed bool   // the decision was to commit
	Members   []MemberResult
	Skew      time.Duration // order to commit until the last member done, less the longest member's own renames
}

// Result returns how the push stands; it is final after EvResult.
func (o *Origin) Result() Result {
	r := Result{Abort: o.abort, Committed: !o.commitAt.IsZero()}
	var last time.Time
	var longest time.Duration
	for _, m := range o.members {
		mr := MemberResult{RosterMember: m.RosterMember, Outcome: m.stage, Text: m.text, Where: m.where,
			LastHeard: m.heard, Maybe: m.maybe && r.Committed, Counts: m.counts, Took: m.took}
		if r.Committed && !m.doneAt.IsZero() {
			mr.DoneAfter = m.doneAt.Sub(o.commitAt)
			if m.doneAt.After(last) {
				last = m.doneAt
			}
			longest = max(longest, m.took)
		}
		r.Members = append(r.Members, mr)
	}
	if r.Committed && !last.IsZero() {
		r.Skew = max(0, last.Sub(o.commitAt)-longest)
	}
	return r
}
