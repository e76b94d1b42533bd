package push

import (
	"context"
	"time"
)

const cancelled = "it was cancelled"

// cancelWith cancels the push when ctx ends, until the returned function is
// called.
func (r *run) cancelWith(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() { r.mgr.cfg.Post(r.stop) })
}

// stop aborts the push; if it is too late for that, the report waits for no
// member any more.
func (r *run) stop(now time.Time) {
	if r.over || r.o.Abort(now, cancelled) {
		return
	}
	r.stopped = true // if the decision is being written: see event
	r.leave(now)
}

// leave ends the report of a decided push, which goes on without one.
func (r *run) leave(now time.Time) {
	res, ok := r.o.Leave(now, "the push was cancelled after the decision to commit")
	if !ok {
		return
	}
	for _, e := range r.o.Events() {
		r.event(now, e)
	}
	r.endWith(finalNote{res, r.summary(now), r.pathErrs})
}

// Leave returns how a decided push stands for somebody who does not wait for its
// end: who has not said that it is done is lost in that. The machine goes on to
// the end; of the members' logs it fetches no more.
func (o *Origin) Leave(now time.Time, why string) (Result, bool) {
	if o.abort != "" || o.state != originCommitting && o.state != originCollecting {
		return Result{}, false
	}
	for _, m := range o.members {
		if o.state == originCommitting && m.stage == MemberDone {
			m.startFetch(o.cfg.Deletes)
		}
		o.noLogs(m, why)
	}
	r := o.Result()
	for i, m := range o.members {
		if m.inStream() && m.stage != MemberDone {
			mr := &r.Members[i]
			mr.Outcome, mr.Text = MemberLost, why+", before it had said that it is done"
			mr.Where, mr.Maybe = m.whereabouts(o), true
		}
	}
	o.alone = true
	return r, true
}
