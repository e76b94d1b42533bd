package push

import (
	"slices"
	"time"

	"go.uber.org/zap"

	"makuo/internal/tree"
	"makuo/protocol"
)

// pendingRun is a push that was staged here, undecided, when the daemon
// stopped: it asks how the push ended until somebody knows, ten minutes have
// passed, or a newer push wants the paths.
type pendingRun struct {
	mgr   *Manager
	p     *tree.Pending
	since time.Time
	asked time.Time
	busy  bool // being committed or discarded
}

// Recover takes over what tree.Module.Recover found undecided.
func (m *Manager) Recover(now time.Time, module string, list []*tree.Pending) {
	for _, p := range list {
		m.log.Warn("a push is staged here and undecided: asking how it ended", zap.Stringer("push", p.ID))
		m.pending = append(m.pending, &pendingRun{mgr: m, p: p, since: now})
		m.locks.Hold(p.ID, "an earlier push", module, p.Paths)
	}
}

func (r *pendingRun) id() protocol.PushID { return r.p.ID }

func (r *pendingRun) paths() []string { return r.p.Paths }

func (r *pendingRun) poll(now time.Time) time.Time {
	if r.busy {
		return time.Time{}
	}
	if now.Sub(r.since) >= undecidedFor {
		r.end(false, "nobody knew for ten minutes")
		return time.Time{}
	}
	if now.Sub(r.asked) >= queryEvery {
		r.asked = now
		q := &protocol.Query{Push: r.p.ID}
		r.mgr.sendMember(nil, MemberOut{Query: q})
	}
	return r.asked.Add(queryEvery)
}

// state learns the decision from the origin itself, if it is still at it.
func (r *pendingRun) state(now time.Time, st *protocol.State) {
	if st.Push == r.p.ID && st.Phase == protocol.PhaseAbort && !r.busy {
		r.end(false, "the origin has aborted it")
	}
}

func (r *pendingRun) answer(now time.Time, a *protocol.Answer) {
	if a.Push != r.p.ID || r.busy {
		return
	}
	switch verdict(a) {
	case verdictCommit:
		r.end(true, "it was committed")
	case verdictDiscard:
		r.end(false, "its origin had not decided")
	}
}

// preempt discards the push in favour of a newer one.
func (r *pendingRun) preempt() bool {
	if r.busy {
		return false
	}
	r.end(false, "a newer push has the paths")
	return false // the paths are free when it is discarded
}

func (r *pendingRun) end(commit bool, why string) {
	r.busy = true
	m := r.mgr
	m.wg.Add(1)
	go func() {
		defer m.wg.Done()
		var err error
		if commit {
			_, _, err = r.p.Commit()
		} else {
			err = r.p.Discard()
		}
		r.p.Target().Close()
		m.cfg.Post(func(now time.Time) {
			m.log.Info("undecided push ended", zap.Stringer("push", r.p.ID), zap.Bool("committed", commit), zap.String("why", why), zap.Error(err))
			if commit && err == nil {
				if err := m.cfg.Store.Commit(r.p.ID, r.p.Header.Module, now); err != nil {
					m.log.Warn("could not note the commit in the state directory", zap.Error(err))
				}
			}
			m.locks.Release(r.p.ID)
			m.pending = slices.DeleteFunc(m.pending, func(x *pendingRun) bool { return x == r })
		})
	}()
}
