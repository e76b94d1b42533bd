package push

import (
	"time"

	"makuo/protocol"
)

// act does what the newest state message asks for, as far as it can be done.
func (m *Member) act(now time.Time) {
	if m.state == over {
		return
	}
	switch m.st.Phase {
	case protocol.PhaseLock:
		switch {
		case m.state == asking:
			m.lock(now)
		case m.state == streaming && m.granted != m.st.Attempt:
			m.grant(now) // it was told to give the lock back, and missed that
		}
	case protocol.PhaseYield:
		m.yield(now)
	case protocol.PhaseFlush:
		m.flush(now)
	case protocol.PhaseCommit:
		m.commit(now)
	case protocol.PhaseEnd:
		m.finish(now)
	case protocol.PhaseAbort:
		if m.state != committing && m.state != staging {
			m.discard(false)
			m.end("aborted")
		}
	}
}

func (m *Member) lock(now time.Time) {
	refusal, holder, ok := m.cfg.Admit.Admit(m.id, m.header)
	switch {
	case refusal != "":
		m.record(now, protocol.Record{Type: protocol.RecordRefused, Text: clip(refusal)})
		m.state, m.outcome = finished, "refused"
	case ok:
		m.locked, m.state = true, streaming
		m.grant(now)
		m.emit(EvBegin{m.header})
	case m.how != protocol.RecordBusy || m.answered != m.st.Attempt || m.blocker != holder.ID:
		m.how, m.answered, m.blocker = protocol.RecordBusy, m.st.Attempt, holder.ID
		m.record(now, protocol.Record{Type: protocol.RecordBusy, Attempt: m.st.Attempt, Holder: holder.Place, Name: holder.Name})
	}
}

// grant says that the lock is held, for the present attempt.
func (m *Member) grant(now time.Time) {
	m.granted = m.st.Attempt
	m.record(now, protocol.Record{Type: protocol.RecordLocked, Attempt: m.granted})
}

// yield gives the lock back; nothing has been sent yet, so that the target, if
// there is one, is empty and is kept for the next attempt.
func (m *Member) yield(now time.Time) {
	if m.state != asking && m.state != streaming {
		return
	}
	if m.how == protocol.RecordYielded && m.answered == m.st.Attempt {
		return
	}
	if m.locked {
		m.cfg.Admit.Release(m.id)
		m.emit(EvDiscard{})
	}
	m.locked, m.state = false, asking
	m.wanted, m.compared, m.judged, m.digest = nil, 0, 0, 0
	m.how, m.answered = protocol.RecordYielded, m.st.Attempt
	m.record(now, protocol.Record{Type: protocol.RecordYielded, Attempt: m.st.Attempt})
}

func (m *Member) flush(now time.Time) {
	if m.state == undecided {
		m.state = staged // the origin is back and has not decided
	}
	if m.state == streaming && m.compared == m.st.Batches && m.busy == 0 && m.r.Complete(m.st.Blocks) {
		m.state, m.lastWork = staging, now
		m.emit(EvStage{})
	}
}

func (m *Member) commit(now time.Time) {
	switch m.state {
	case staged, undecided:
		if m.st.Digest != m.digest {
			m.fail(now, "the order to commit names another manifest than the one received")
			return
		}
		m.state, m.lastWork = committing, now
		m.emit(EvCommit{})
	}
	// In stream or stage we are parked: the others commit without us, and a
	// push of our own follows.
}

// finish takes the end of the push.
func (m *Member) finish(now time.Time) {
	switch m.state {
	case committing, staging:
		return // CommitDone or StageDone comes back here
	case finished:
	case staged, undecided:
		if m.header.Options&protocol.OptDryRun == 0 && m.counts.Changed+m.counts.Deleted > 0 {
			// The order to commit was missed: only a question can tell.
			m.doubt(now)
			return
		}
		m.outcome = "done"
		if m.header.Options&(protocol.OptDryRun|protocol.OptCheck) == 0 {
			m.emit(EvAgreed{})
		}
		m.discard(false)
	default:
		m.outcome = "not finished here"
		m.discard(true)
	}
	m.end(m.outcome)
}

func (m *Member) end(outcome string) {
	if m.state == over {
		return
	}
	m.cfg.Admit.Release(m.id)
	m.locked = false
	m.state, m.outcome = over, outcome
	m.emit(EvFinished{outcome})
}

func (m *Member) discard(keep bool) {
	if m.state >= streaming && m.state < finished && m.state != committing {
		m.emit(EvDiscard{keep})
	}
}

// fail ends this member's part.
func (m *Member) fail(now time.Time, text string) {
	if m.state >= finished {
		return
	}
	m.discard(true)
	m.cfg.Admit.Release(m.id)
	m.record(now, protocol.Record{Type: protocol.RecordFailed, Text: clip(text)})
	m.state, m.outcome = finished, "failed: "+text
}

// Fail ends this member's part for a reason of its own: no space, a broken
// disk.
func (m *Member) Fail(now time.Time, text string) {
	if m.state != committing {
		m.fail(now, text)
	}
}

// kept reports whether the next start of the daemon goes on with the push.
func (m *Member) kept() bool {
	return m.state == staged || m.state == undecided || m.state == committing && !m.again.first()
}
