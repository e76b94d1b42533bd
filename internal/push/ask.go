package push

import (
	"net/netip"
	"time"

	"makuo/protocol"
)

func (m *Manager) query(from netip.AddrPort, q *protocol.Query) {
	a := protocol.Answer{Push: q.Push}
	a.Outcome, a.Origin = m.cfg.Store.Outcome(q.Push)
	for _, r := range m.runs {
		if r.o.cfg.ID == q.Push && a.Outcome != protocol.OutcomeCommitted {
			a.Outcome, a.Origin = protocol.OutcomeRunning, true
			if r.o.abort != "" {
				a.Outcome = protocol.OutcomeAborted
			}
		}
	}
	if a.Outcome == protocol.OutcomeCommitted {
		a.Newer = m.answersWith(q)
	}
	if a.Outcome != protocol.OutcomeUnknown {
		m.cfg.Wire.Send(from, protocol.TypeAnswer, &a)
	}
}

func (m *Manager) answer(now time.Time, a *protocol.Answer) {
	for _, r := range m.members {
		if r.m.ID() == a.Push && r.m.state == undecided {
			r.newer = a.Newer
		}
		r.m.HandleAnswer(now, a)
	}
	for _, p := range m.pending {
		p.answer(now, a)
	}
}

// ask answers a question from this host's own store: a push of ours that a
// crash cut short may be staged here as well.
func (m *Manager) ask(q *protocol.Query) {
	a := protocol.Answer{Push: q.Push}
	a.Outcome, a.Origin = m.cfg.Store.Outcome(q.Push)
	if a.Outcome != protocol.OutcomeUnknown {
		m.cfg.Post(func(now time.Time) { m.answer(now, &a) })
	}
}
