package push

import (
	"time"

	"makuo/protocol"
)

// MemberState is where a roster member stands, seen from the origin.
type MemberState uint8

// States of a roster member. From MemberRefused on it is out of the push.
const (
	MemberActive MemberState = iota // asked for its lock, comparing, receiving
	MemberParked                    // too slow for the stream: served when the others are done
	MemberStaged
	MemberDone
	MemberRefused
	MemberFailed
	MemberLost
	MemberAborted // in results only: the push was given up, nothing was changed there
	MemberLate    // in results only: done, after the others
)

var memberStates = [...]string{"active", "parked", "staged", "done", "refused", "failed", "lost", "aborted", "late"}

// String returns the word used in the local API.
func (s MemberState) String() string { return memberStates[s] }

// originMember is what the origin knows of one roster member.
type originMember struct {
	RosterMember
	in        inlog
	stage     MemberState
	locked    bool
	yielded   bool
	syncing   bool      // by its last feedback: it has everything, its disk is at work
	wants     uint32    // batches answered
	busy      bool      // it named another push that is in the way, and is not locked since
	with      Holder    // that push
	busyAt    time.Time // since when it has named one each time
	heard     time.Time // any packet
	word      time.Time // something about this push
	lastProbe time.Time
	staged    protocol.Counts // as reported before the decision
	counts    protocol.Counts // the newest
	took      time.Duration
	doneAt    time.Time
	text      string // why it refused, failed or was lost
	where     string // how far it was when it was lost
	maybe     bool   // lost when it could commit by itself, once that is decided
	problems  *fetch
	deletes   *fetch
	pace      pace
	progress  progress
	hold      hold
	words     int       // feedback while it is in the stream
	atWord    int       // and all members' when the last came
	counted   time.Time // when that was
}

func (m *originMember) alive() bool { return m.stage < MemberRefused }

// inStream reports whether the push waits for the member.
func (m *originMember) inStream() bool { return m.alive() && m.stage != MemberParked }

// whereabouts says for people how far the member is.
func (m *originMember) whereabouts(o *Origin) string {
	switch {
	case m.stage == MemberStaged && o.state == originCommitting:
		return "committing"
	case m.stage != MemberActive:
		return m.stage.String()
	case !m.locked:
		return "waiting for its lock"
	case o.state == originFlushing && m.syncing:
		return "staging"
	}
	return "receiving"
}

func (m *originMember) startFetch(deletes bool) {
	if m.stage == MemberLost || m.stage == MemberRefused || m.stage == MemberParked {
		return
	}
	if m.counts.Errors+m.counts.Warnings > 0 || m.stage == MemberFailed {
		m.problems = &fetch{kind: protocol.PageProblems}
	}
	if deletes && m.counts.Deleted > 0 && m.stage != MemberFailed {
		m.deletes = &fetch{kind: protocol.PageDeletes}
	}
}

func (m *originMember) fetching() bool {
	return m.stage != MemberLost && (m.problems != nil && !m.problems.done() || m.deletes != nil && !m.deletes.done())
}

// out takes member i out of the push.
func (o *Origin) out(now time.Time, i int, stage MemberState, why string) {
	m := o.members[i]
	if !m.alive() {
		return
	}
	m.where = m.whereabouts(o)
	parked := m.stage == MemberParked
	m.stage, m.text = stage, why
	if !parked {
		o.s.Drop(i)
		o.unanswered(m)
	}
	if !o.alone && (o.state == originCollecting || o.state == originCommitting) {
		m.startFetch(o.cfg.Deletes)
	}
	o.emit(EvMember{Name: m.Name, State: stage, Text: why})
}

// unanswered takes the member off the batches that wait for its answer.
func (o *Origin) unanswered(m *originMember) {
	for k, b := range o.batches {
		if o.answered+uint32(k) >= m.wants {
			b.left--
		}
	}
}

// lose marks member i lost, unless its part is over.
func (o *Origin) lose(now time.Time, i int, why string) {
	m := o.members[i]
	if o.state >= originEnding || m.stage == MemberLost {
		return
	}
	if m.stage == MemberDone || !m.alive() {
		o.noLogs(m, why)
		return
	}
	// What is staged there commits as soon as the order arrives.
	m.maybe = o.state >= originFlushing && o.state <= originCommitting && !o.cfg.DryRun
	o.out(now, i, MemberLost, why)
}
