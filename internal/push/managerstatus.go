package push

import (
	"time"

	"makuo/protocol"
)

// Status describes the pushes whose origin this daemon is.
func (m *Manager) Status(now time.Time) []Status {
	var out []Status
	for _, r := range m.runs {
		if !r.over {
			out = append(out, r.status(now))
		}
	}
	return out
}

// Receiving describes the pushes this daemon takes part in as a member.
func (m *Manager) Receiving() []Receiving {
	var out []Receiving
	for _, r := range m.members {
		if h := r.m.Header(); h != nil && r.m.TakesPart() {
			out = append(out, Receiving{r.m.ID(), h.Name, h.Module, h.Paths, r.m.Stage(), r.entries, r.content, r.received.rate(m.now, r.content)})
		}
	}
	for _, p := range m.pending {
		out = append(out, Receiving{ID: p.id(), Origin: "?", Module: protocol.DefaultModule, Paths: p.paths(), Stage: "undecided"})
	}
	return out
}

// Busy reports whether the daemon is the origin of a push, and whether it
// takes part in one.
func (m *Manager) Busy() (pushing, receiving bool) {
	for _, r := range m.runs {
		pushing = pushing || !r.over
	}
	for _, r := range m.members {
		receiving = receiving || r.m.TakesPart()
	}
	return pushing, receiving
}

// Quiet reports whether no push has anything left to say.
func (m *Manager) Quiet() bool {
	for _, r := range m.members {
		if !r.m.Quiet(m.now) {
			return false
		}
	}
	for _, r := range m.runs {
		if !r.over || r.o.repeats < endHeard {
			return false
		}
	}
	return true
}

// Shutdown aborts or fails all pushes that are not decided; the owner goes on
// polling until Quiet or its patience ends, then calls Close.
func (m *Manager) Shutdown(now time.Time) {
	m.closing = true
	for _, r := range m.runs {
		r.o.Abort(now, "the daemon "+m.cfg.Name+" is shutting down")
	}
	for _, r := range m.members {
		r.m.Shutdown(now)
	}
}

// Close ends all goroutines. Undecided stages stay on disk.
func (m *Manager) Close() {
	close(m.closed)
	for _, r := range m.runs {
		r.cancel()
		r.closeQueues()
		r.notes.close()
	}
	for _, r := range m.members {
		r.jobs.close()
	}
	m.wg.Wait()
}
