package push

import (
	"errors"
	"fmt"
	"time"

	"makuo/internal/push/journal"
)

// DecisionWritten says that the decision to commit is on disk, or why it could
// not be put there.
func (o *Origin) DecisionWritten(now time.Time, err error) {
	if o.state != originDeciding {
		return
	}
	if errors.Is(err, journal.ErrDoubt) {
		// To say that it is aborted could be wrong after the next start.
		o.CutOff(now, fmt.Sprintf("the decision to commit could not be written for certain (%v): the push failed", err))
		o.cfg.Lock.Release()
		o.emit(EvResult{})
		return
	}
	if err != nil {
		o.giveUp(now, fmt.Sprintf("the decision to commit could not be written: %v", err))
		return
	}
	o.commitAt = now
	o.cfg.Lock.Release() // all that is pushed was read
	o.enter(now, originCommitting)
	o.emit(EvDecided{})
	o.advance(now)
}

// Abort ends the push with nothing changed anywhere, unless the decision is
// taken. It reports whether it did.
func (o *Origin) Abort(now time.Time, why string) bool {
	if o.state >= originDeciding {
		return false
	}
	o.giveUp(now, why)
	return true
}

// CutOff ends a push that is decided and cannot be seen to its end: who has not
// said that it is done is lost, and commits by itself what is staged there.
func (o *Origin) CutOff(now time.Time, why string) {
	if o.state == originDeciding {
		o.commitAt = now // perhaps: the decision may be on disk
	}
	for _, m := range o.members {
		o.noLogs(m, why)
		if m.inStream() && m.stage != MemberDone {
			m.where = m.whereabouts(o)
			m.maybe = m.stage == MemberStaged && !o.cfg.DryRun
			m.stage, m.text = MemberLost, why+" before it had said that it is done"
		}
	}
	o.state = originOver
}

// Fail aborts for a reason of the origin's own, such as a scan that failed.
func (o *Origin) Fail(now time.Time, why string) { o.Abort(now, why) }

func (o *Origin) giveUp(now time.Time, why string) {
	o.abort = why
	o.cfg.Lock.Release()
	o.repeats = 0
	for i, m := range o.members {
		o.s.Drop(i)
		// What they logged cannot be had: members forget a push that is given up.
		m.maybe, m.problems, m.deletes = false, nil, nil
	}
	o.enter(now, originCollecting)
	o.advance(now)
}

// anythingToCommit reports whether any staged member would change anything.
func (o *Origin) anythingToCommit() bool {
	return o.count(func(m *originMember) bool {
		return m.stage >= MemberStaged && m.stage <= MemberDone && m.staged.Changed+m.staged.Deleted > 0
	}) > 0
}

const nobodyLeft = "no member is left"

// noneLeft aborts a push that has lost all its members.
func (o *Origin) noneLeft(now time.Time) bool {
	if o.count((*originMember).inStream) > 0 {
		return false
	}
	o.giveUp(now, nobodyLeft)
	return true
}

// collect begins to fetch the members' logs.
func (o *Origin) collect(now time.Time) {
	o.cfg.Lock.Release()
	for _, m := range o.members {
		if !o.alone {
			m.startFetch(o.cfg.Deletes)
		}
		m.word = now
	}
	o.enter(now, originCollecting)
}
