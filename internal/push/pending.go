package push

import (
	"slices"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"makuo/internal/push/journal"
	"makuo/internal/push/order"
	"makuo/internal/tree"
	"makuo/protocol"
)

// pendingRun is a push that was staged here, undecided, when the daemon
// stopped: it asks how the push ended until somebody knows, or ten minutes have
// passed. Newer pushes go past it; then it leaves their paths alone.
type pendingRun struct {
	mgr     *Manager
	p       *tree.Pending
	since   time.Time
	asked   time.Time
	busy    bool                 // being committed or discarded
	commits bool                 // busy with a commit, not a discard
	again   backoff              // of a commit that failed
	cause   error                // why it failed
	waits   bool                 // to commit, for a newer push
	why     string               // it is committed
	newer   []protocol.NewerPush // decided elsewhere since
}

// Recover takes over what tree.Module.Recover found undecided.
func (m *Manager) Recover(now time.Time, module string, list []*tree.Pending) {
	for _, p := range list {
		m.log.Warn("a push is staged here and undecided: asking how it ended", zap.Stringer("push", p.ID))
		m.pending = append(m.pending, &pendingRun{mgr: m, p: p, since: now})
		if c := claimOf(p.ID, p.Header); tooEarly(now, p.ID, p.Header.Name) == "" {
			m.locks.hold(c)
		}
	}
}

func (r *pendingRun) id() protocol.PushID { return r.p.ID }

func (r *pendingRun) paths() []string { return r.p.Paths }

func (r *pendingRun) poll(now time.Time) time.Time {
	if r.busy {
		return time.Time{}
	}
	if r.waits {
		r.end(true, r.why)
		return now.Add(commitAgain)
	}
	if !r.again.first() {
		if r.again.due(now) {
			r.end(true, "it was committed")
		}
		return r.again.at
	}
	if now.Sub(r.since) >= undecidedFor {
		r.end(false, "nobody knew for ten minutes")
		return time.Time{}
	}
	if now.Sub(r.asked) >= queryEvery {
		r.asked = now
		q := &protocol.Query{Push: r.p.ID, Order: r.p.Header.Order, Module: r.p.Header.Module}
		r.mgr.sendMember(nil, MemberOut{Query: q})
	}
	return r.asked.Add(queryEvery)
}

// state learns the decision from the origin itself, if it is still at it.
func (r *pendingRun) state(now time.Time, st *protocol.State) {
	if st.Push == r.p.ID && st.Phase == protocol.PhaseAbort && !r.decided() {
		r.end(false, "the origin has aborted it")
	}
}

func (r *pendingRun) answer(now time.Time, a *protocol.Answer) {
	if a.Push != r.p.ID || r.decided() || now.Sub(r.asked) > answerWithin {
		return
	}
	switch verdict(a) {
	case verdictCommit:
		r.newer = a.Newer
		r.end(true, "it was committed")
	case verdictDiscard:
		r.end(false, "its origin had not decided")
	}
}

// decided reports whether it is known how the push ends here.
func (r *pendingRun) decided() bool { return r.busy || r.waits || !r.again.first() }

// end commits or discards the push on a goroutine, a commit when it is noted that
// it was ordered. One that fails is tried again until it works, with the paths
// locked.
func (r *pendingRun) end(commit bool, why string) {
	m := r.mgr
	if !commit {
		r.busy = true
		m.wg.Go(func() { r.work(false, why) })
		return
	}
	c := claimOf(r.p.ID, r.p.Header)
	if r.waits, r.why = m.newerHolds(&c), why; r.waits {
		return
	}
	r.busy, r.commits = true, true
	m.behind(r.p.ID, r.newer)
	m.cfg.Store.Ordered(r.p.ID, r.p.Header.Module, m.now, func(now time.Time, err error) {
		m.noted(now, err)
		if !m.ended() {
			m.wg.Go(func() { r.work(true, why) })
		}
	})
}

// work is end's on the disk.
func (r *pendingRun) work(commit bool, why string) {
	m := r.mgr
	id, module := r.p.ID, r.p.Header.Module
	var err error
	var counts protocol.Counts
	if commit {
		h, layer := m.cfg.Order.Module(module), order.Of(id, r.p.Header, nil)
		if err = decideHere(h, layer, r.newer); err == nil {
			counts, _, err = r.p.Commit()
		}
		if err == nil {
			m.tidy(h, layer.Place)
		}
	} else {
		err = r.p.Discard()
	}
	if !commit || err == nil {
		r.p.Target().Close()
	}
	m.cfg.Post(func(now time.Time) {
		if commit && err != nil {
			m.log.Error("could not commit a push; it is tried again", zap.Stringer("push", id), zap.Error(err))
			r.busy, r.cause = false, err
			r.again.failed(now)
			return
		}
		level := zapcore.InfoLevel
		if !commit || err != nil || counts.Errors > 0 {
			level = zapcore.WarnLevel
		}
		m.log.Log(level, "undecided push ended", zap.Stringer("push", id), zap.String("origin", r.p.Header.Name), zap.String("module", module),
			zap.Bool("committed", commit), zap.String("why", why), zap.Uint64("changed", counts.Changed), zap.Uint64("deleted", counts.Deleted),
			zap.Uint64("errors", counts.Errors), zap.Uint64("bytes", counts.Bytes), zap.Error(err))
		if commit {
			m.cfg.Store.Ended(module, journal.LastPush{ID: id, Origin: r.p.Header.Name, At: now, Errors: counts.Errors}, m.noted)
		}
		m.locks.Release(id)
		m.pending = slices.DeleteFunc(m.pending, func(x *pendingRun) bool { return x == r })
	})
}
