package push

import (
	"fmt"
	"makuo/protocol"
	"time"
)

// HandleAnswer takes a daemon's word on how this push ended. It counts only
// shortly after it was asked for.
func (m *Member) HandleAnswer(now time.Time, a *protocol.Answer) {
	if a.Push != m.id || m.state != undecided || now.Sub(m.asked) > answerWithin {
		return
	}
	switch verdict(a) {
	case verdictCommit:
		m.state = committing
		m.emit(EvCommit{})
	case verdictDiscard:
		m.discard(false)
		m.end("aborted")
	}
}

// OriginGone says that the origin's session has ended: nobody is left to be
// told anything.
func (m *Member) OriginGone(now time.Time) {
	switch m.state {
	case staged:
		m.doubt(now)
	case undecided, staging, committing, over:
	default:
		m.discard(true)
		m.end("its origin was lost")
	}
}

// Preempt ends a push whose origin is silent in favour of another one. An
// origin that comes back is told.
func (m *Member) Preempt(now time.Time) {
	m.fail(now, "ended by a newer push: its origin had fallen silent")
}

// Supersede ends a push that serves parked members in favour of a newer one.
func (m *Member) Supersede(now time.Time, by string) {
	m.fail(now, "superseded by "+by)
}

// Shutdown ends this member's part because its daemon stops. What is staged
// stays on disk: the origin counts on it, and the next start asks how the push
// ended.
func (m *Member) Shutdown(now time.Time) {
	if !m.kept() {
		m.Fail(now, "the daemon is shutting down")
	}
}

// Quiet reports whether a daemon that stops need not wait for the machine.
func (m *Member) Quiet(now time.Time) bool {
	if m.kept() {
		return true
	}
	gone := m.state == finished && now.Sub(m.heard) > time.Second // nobody listens
	return !m.TakesPart() && (gone || m.log.empty())
}

// patience ends or questions a push whose origin is silent.
func (m *Member) patience(now time.Time) {
	quiet := now.Sub(m.heard)
	switch m.state {
	case learning:
		if now.Sub(m.born) >= defaultSilence {
			m.end("its header did not come")
		}
	case staged:
		// Well before the origin takes this member, which does nothing, for lost.
		if quiet >= min(m.silence/2, 5*time.Second) {
			m.doubt(now)
		}
	case undecided:
		if now.Sub(m.unsure) >= undecidedFor {
			m.fail(now, "discarded: nobody knew for ten minutes how the push had ended")
		}
	case committing, staging, over:
	case finished:
		// An origin that comes back must hear how it ended here, or it would
		// wait for ever: any packet of this host is a sign of life to it.
		if quiet >= m.silence && m.log.empty() || quiet >= undecidedFor {
			m.end(m.outcome)
		}
	case asking, streaming:
		if quiet >= m.silence {
			m.fail(now, fmt.Sprintf("it had not heard from the origin for %v and discarded the push", m.silence))
		}
	default:
		if quiet >= m.silence {
			m.end("its origin was lost")
		}
	}
}

// doubt begins to ask all members how the push ended.
func (m *Member) doubt(now time.Time) {
	if m.state == staged {
		m.state, m.unsure = undecided, now
	}
}
