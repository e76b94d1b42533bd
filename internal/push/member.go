package push

import (
	"fmt"
	"math/rand/v2"
	"time"

	"makuo/protocol"
	"makuo/transfer"
)

// Timers of the member's machine.
const (
	defaultSilence = 30 * time.Second // until the first state message says otherwise, and for the header to come
	maxSilence     = 10 * time.Minute // that an origin can ask for
	queryEvery     = time.Second
	answerWithin   = 3 * time.Second
	undecidedFor   = 10 * time.Minute // nobody knows: discard
	recordPause    = 30 * time.Millisecond
	preemptAfter   = 3 * time.Second       // an origin silent for so long does not keep others from the paths
	spreadPerHost  = 50 * time.Microsecond // of roster, so that answers do not implode
	spreadFrom     = 20                    // members
)

// Admission decides whether a member takes part in a push.
type Admission interface {
	// Admit takes the locks of the push. A refusal is a sentence for the
	// origin's user; otherwise, if ok is false, holder stands in the way.
	Admit(id protocol.PushID, h *protocol.PushHeader) (refusal string, holder Holder, ok bool)
	// Release gives the locks back.
	Release(id protocol.PushID)
}

// MemberConfig describes one push to a member's machine.
type MemberConfig struct {
	Self     protocol.Session
	Origin   protocol.Session
	Body     int // bytes of a packet's body
	Receiver *transfer.Receiver
	Admit    Admission
}

type memberState uint8

const (
	learning   memberState = iota // block 0 is not there yet
	bystander                     // not in the roster
	asking                        // the lock is not held
	streaming                     // the lock is held
	staging                       // everything is here; being put on disk
	staged                        // ready to commit
	undecided                     // staged, and the origin is silent
	committing                    //
	finished                      // done, failed or refused: answers for its logs until the end
	over
)

var memberStateNames = [...]string{"learn", "bystander", "lock", "stream", "stage", "staged", "undecided", "commit", "finished", "over"}

func (s memberState) String() string { return memberStateNames[s] }

// Events of the member's machine.
type (
	// EvBegin: the lock is held; begin a target, then call Began.
	EvBegin struct{ Header *protocol.PushHeader }
	// EvBlock: a manifest or data block is complete. Call Compared or Stored,
	// or BlockBad if its content does not verify.
	EvBlock struct{ Block transfer.Complete }
	// EvStage: verify, put on disk, then call StageDone.
	EvStage struct{}
	// EvCommit: the decision is to commit; then call CommitDone. It comes again
	// after a CommitDone with an error.
	EvCommit struct{}
	// EvAgreed: the push is over, and changed nothing here: the member had what
	// it decided.
	EvAgreed struct{}
	// EvDiscard: forget what is staged; Keep leaves complete files for the
	// next push of the same content.
	EvDiscard struct{ Keep bool }
	// EvFinished: the push is over for this member.
	EvFinished struct{ Outcome string }
)

// Member is the machine of one push at one member.
type Member struct {
	cfg      MemberConfig
	id       protocol.PushID
	r        *transfer.Receiver
	state    memberState
	header   *protocol.PushHeader
	self     int // roster index
	log      outlog
	st       protocol.State // the newest
	heard    time.Time      // from the origin
	silence  time.Duration
	locked   bool
	granted  uint8 // attempt answered with Locked
	answered uint8 // attempt answered with Busy or Yielded ...
	how      protocol.RecordType
	blocker  protocol.PushID

	wanted   []uint64 // bit per manifest entry: content is wanted
	compared uint32   // batches
	judged   uint32   // entries in them
	busy     int      // blocks handed out and not yet dealt with
	digest   uint64
	counts   protocol.Counts // as staged
	asked    time.Time       // last query
	unsure   time.Time       // since when undecided
	outcome  string
	events   []Event
	work     uint32    // what the disk has done, see Worked
	lastWork time.Time // last sign of life while working on the disk
	again    backoff   // of a commit that failed
	born     time.Time
	final    protocol.Record // how it ended here, for an origin that comes back
}

// NewMember starts the machine with the first state message heard.
func NewMember(cfg MemberConfig, now time.Time, st *protocol.State) *Member {
	m := &Member{cfg: cfg, id: st.Push, r: cfg.Receiver, heard: now, born: now, silence: defaultSilence}
	m.st.Seq = st.Seq - 1
	m.HandleState(now, st)
	return m
}

// ID returns the push.
func (m *Member) ID() protocol.PushID { return m.id }

// Header returns the push's header, nil until it is there.
func (m *Member) Header() *protocol.PushHeader { return m.header }

// Stage returns the word for the member's state.
func (m *Member) Stage() string { return m.state.String() }

// Over reports whether the machine has nothing more to do.
func (m *Member) Over() bool { return m.state == over }

// TakesPart reports whether the member is in the roster and not done.
func (m *Member) TakesPart() bool { return m.state > bystander && m.state < finished }

// aside reports whether the member takes no part, or does not know yet.
func (m *Member) aside() bool { return m.state <= bystander }

// Preemptible reports whether another push may end this one: its origin has
// been silent, and nothing is being committed.
func (m *Member) Preemptible(now time.Time) bool {
	return m.state != committing && m.state != staging && now.Sub(m.heard) >= preemptAfter
}

// passable reports whether a newer push need not wait for this one: it is
// staged, and nobody knows yet whether it is decided, or it only serves parked
// members.
func (m *Member) passable(now time.Time) bool {
	switch m.state {
	case undecided:
		return true
	case staged:
		return m.late() || now.Sub(m.heard) >= preemptAfter
	case staging:
		return m.late()
	}
	return false
}

// late reports whether the push serves members that were parked in another one.
func (m *Member) late() bool { return m.header != nil && !m.header.Order.IsZero() }

func (m *Member) emit(e Event) { m.events = append(m.events, e) }

// Events returns what has happened since the last call, in order.
func (m *Member) Events() []Event {
	e := m.events
	m.events = nil
	return e
}

func (m *Member) record(now time.Time, r protocol.Record) {
	m.log.add(r, now.Add(m.spread()))
	switch r.Type {
	case protocol.RecordRefused, protocol.RecordFailed, protocol.RecordDone:
		m.final = r
	}
}

func (m *Member) spread() time.Duration {
	n := 0
	if m.header != nil {
		n = len(m.header.Roster) - spreadFrom
	}
	if n <= 0 {
		return 0
	}
	return time.Duration(rand.Int64N(int64(n) * int64(spreadPerHost)))
}

// HandleState takes a state message of the push's origin.
func (m *Member) HandleState(now time.Time, st *protocol.State) {
	if m.state == over || st.Push != m.id {
		return
	}
	m.heard = now
	if m.header != nil && m.self >= int(st.First) && m.self < int(st.First)+len(st.Heard) {
		m.log.heard(st.Heard[m.self-int(st.First)])
	}
	if int32(st.Seq-m.st.Seq) <= 0 {
		return // overtaken by a newer one
	}
	m.st = *st
	if st.Silence > 0 {
		m.silence = min(st.Silence, maxSilence)
	}
	if m.state == bystander {
		if st.Phase >= protocol.PhaseEnd {
			m.end("not in the roster")
		}
		return
	}
	m.r.HandleState(now, st)
	m.act(now)
}

// StageDone says that everything is on disk, or why it is not.
func (m *Member) StageDone(now time.Time, c protocol.Counts, err error) {
	if m.state != staging {
		return
	}
	m.state = staged
	if err != nil {
		m.fail(now, err.Error())
	} else {
		m.counts = c
		m.record(now, protocol.Record{Type: protocol.RecordStaged, Digest: m.digest, Counts: c})
	}
	m.act(now)
}

// CommitDone says that the new tree is in place, or why not. A commit cannot
// be taken back, so that one which failed is tried until it works, with the
// paths locked; the origin is told of the first failure, and hears that it is
// done only if it has not heard of that.
func (m *Member) CommitDone(now time.Time, c protocol.Counts, took time.Duration, err error) {
	if m.state != committing {
		return
	}
	if err != nil {
		if m.again.first() {
			m.record(now, protocol.Record{Type: protocol.RecordFailed, Text: clip(fmt.Sprintf("while committing: %v; it is tried again", err))})
		}
		m.again.failed(now)
		return
	}
	m.cfg.Admit.Release(m.id)
	done := protocol.Record{Type: protocol.RecordDone, Counts: c, Took: took}
	if m.again.first() {
		m.record(now, done)
	} else {
		m.log.replace(protocol.RecordFailed, done)
		m.final = done
	}
	m.state, m.outcome = finished, "done"
	m.heard = now // an origin that was silent meanwhile is to learn of it
	m.act(now)
}

// Worked tells a number that changes when the disk has done something for the
// push: without it, a member that the push waits for is lost.
func (m *Member) Worked(n uint32) { m.work = n }

// MemberOut is one message of the member's machine: a feedback or report for
// the origin, or a query for all.
type MemberOut struct {
	Feedback *protocol.Feedback
	Report   *protocol.Report
	Query    *protocol.Query
}

// Poll returns the messages due now and when to be called next.
func (m *Member) Poll(now time.Time) (outs []MemberOut, next time.Time) {
	m.patience(now)
	if m.state == over {
		return nil, time.Time{}
	}
	next = m.heard.Add(m.silence)
	if m.state == learning {
		next = m.born.Add(defaultSilence)
	}
	if m.state == finished && !m.log.empty() {
		next = m.heard.Add(undecidedFor)
	}
	if m.state == undecided {
		if now.Sub(m.asked) >= queryEvery {
			m.asked = now
			outs = append(outs, MemberOut{Query: &protocol.Query{Push: m.id, Order: m.header.Order, Module: m.header.Module}})
		}
		next = m.asked.Add(queryEvery)
	}
	switch m.state {
	case staged:
		next = earlier(next, now.Add(time.Second))
	case staging, committing:
		next = now.Add(time.Second) // no silence ends these
	}
	if m.state == committing {
		if m.again.due(now) {
			m.emit(EvCommit{})
		}
		next = earlier(next, m.again.at)
	}
	for _, r := range m.log.poll(now, streamKey{m.cfg.Origin, m.st.Stream}, m.cfg.Body, m.repeatAfter()) {
		outs = append(outs, MemberOut{Report: r})
	}
	next = earlier(next, m.log.next())
	if m.state == bystander {
		return outs, next
	}
	fb, at := m.r.Poll(now)
	if fb == nil && (m.state == staging || m.state == committing) && now.Sub(m.lastWork) >= time.Second {
		fb = &protocol.Feedback{Origin: m.cfg.Origin, Stream: m.st.Stream, Clock: uint64(now.UnixMicro())}
	}
	if fb != nil {
		fb.Work = m.work
		if m.state == staging || m.state == committing {
			fb.Flags |= protocol.FlagSyncing
			m.lastWork = now
		}
		outs = append(outs, MemberOut{Feedback: fb})
	}
	return outs, earlier(next, at)
}

// repeatAfter returns when a record that was not heard is sent again. What is
// heard comes with the next state message, in large rosters with one of two.
func (m *Member) repeatAfter() time.Duration {
	if m.st.Every > stateEvery {
		return 2*m.st.Every + m.st.RTT
	}
	return max(recordPause, m.st.Every+m.st.RTT)
}

// earlier returns the earlier of two times; zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func clip(s string) string {
	if len(s) > protocol.MaxText {
		return s[:protocol.MaxText-3] + "..."
	}
	return s
}
