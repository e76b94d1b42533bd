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
		if r.m.Header() != nil && r.m.TakesPart() {
			out = append(out, r.receiving(m.now))
		}
	}
	for _, p := range m.pending {
		out = append(out, p.receiving())
	}
	return out
}

func (r *memberRun) receiving(now time.Time) Receiving {
	h, state := r.m.Header(), r.m.state
	s := Receiving{ID: r.m.ID(), Origin: h.Name, Module: h.Module, Paths: h.Paths, DryRun: h.Options&protocol.OptDryRun != 0,
		Stage: state.String(), Decided: state == committing, Entries: r.entries, Bytes: r.content, Rate: r.received.rate(now, r.content)}
	if state >= staged {
		s.State = MemberStaged
	}
	switch {
	case state == undecided:
		s.Text = textUndecided
	case state == committing:
		s.Text = committingText(r.waits, r.cause)
	}
	return s
}

func (r *pendingRun) receiving() Receiving {
	h := r.p.Header
	s := Receiving{ID: r.id(), Origin: h.Name, Module: h.Module, Paths: r.paths(), Stage: undecided.String(), State: MemberStaged, Text: textUndecided}
	if r.commits || r.waits || !r.again.first() {
		s.Stage, s.Decided, s.Text = committing.String(), true, committingText(r.waits, r.cause)
	}
	return s
}

const textUndecided = "everything is here; its origin is silent, and the other members are asked whether it was committed"

// committingText says what keeps a commit, "" if nothing is known to.
func committingText(waits bool, cause error) string {
	switch {
	case waits:
		return "it waits for a newer push on the same paths"
	case cause != nil:
		return "the commit failed and is tried again: " + cause.Error()
	}
	return ""
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
