package push

import (
	"fmt"
	"time"

	"makuo/internal/push/order"
	"makuo/protocol"
)

// aheadOfClock is how far the id of a push may be ahead of a member's clock:
// pushes are ordered by it, and one from the future would stand before all
// others until its time has come.
const aheadOfClock = time.Minute

// Admit implements Admission for the members' machines.
func (m *Manager) Admit(id protocol.PushID, h *protocol.PushHeader) (refusal string, holder Holder, ok bool) {
	switch {
	case m.cfg.NoReceive:
		return "it takes no pushes (--no-receive)", Holder{}, false
	case m.closing:
		return "it is shutting down", Holder{}, false
	case m.modules[h.Module] == nil:
		return fmt.Sprintf("it has no module %q", h.Module), Holder{}, false
	}
	if text := tooEarly(m.now, id, h.Name); text != "" {
		return text, Holder{}, false
	}
	if text := m.known(id); text != "" {
		return text, Holder{}, false
	}
	c := claimOf(id, h)
	if text := m.sick(&c); text != "" {
		return text, Holder{}, false
	}
	if h, ok := m.tryLock(c); !ok {
		return "", h, false
	}
	m.seen = max(m.seen, id.Start)
	return "", Holder{}, true
}

// tooEarly says, as a refusal, that the clocks of this host and of the origin
// are too far apart.
func tooEarly(now time.Time, id protocol.PushID, name string) string {
	at := time.Unix(0, id.Start)
	if at.Sub(now) <= aheadOfClock {
		return ""
	}
	const form = "2006-01-02 15:04:05 MST"
	return fmt.Sprintf("the push began at %s by the clock of %s, and here it is %s: set the clocks of both hosts", at.UTC().Format(form), name, now.UTC().Format(form))
}

// known says, as a refusal, that a push is not new here: what is staged or
// committed under its id must not be touched by another push of that id.
func (m *Manager) known(id protocol.PushID) string {
	for _, p := range m.pending {
		if p.id() == id {
			return "a push of this id is staged here since before its daemon was started again; it asks how that ended"
		}
	}
	if o, _ := m.cfg.Store.Outcome(id); o == protocol.OutcomeCommitted {
		return "a push of this id is committed here already"
	}
	return ""
}

// claim is what a push asks of the locks.
type claim struct {
	id, place protocol.PushID
	name      string // of the push's origin
	module    string
	paths     []string
	dry       bool // it changes nothing
}

func claimOf(id protocol.PushID, h *protocol.PushHeader) claim {
	return claim{id: id, place: order.Place(id, h), name: h.Name, module: h.Module, paths: h.Paths, dry: h.Options&(protocol.OptDryRun|protocol.OptCheck) != 0}
}

// sick says, as a refusal, that this member has a commit on the paths that has
// failed and is tried again: that is its own trouble, for which no other member
// waits.
func (m *Manager) sick(c *claim) string {
	if c.dry {
		return ""
	}
	for _, h := range m.locks.Conflicts(c.id, c.module, c.paths) {
		if why := m.failing(h.ID); why != nil {
			return fmt.Sprintf("its commit of push %s of %s has not finished: %v; it is behind", h.ID, h.Name, why)
		}
	}
	return ""
}

// failing returns why the commit of a push fails, nil if it does not.
func (m *Manager) failing(id protocol.PushID) error {
	for _, r := range m.members {
		if r.m.ID() == id && r.m.state == committing && !r.m.again.first() {
			return r.cause
		}
	}
	for _, p := range m.pending {
		if p.id() == id && !p.again.first() {
			return p.cause
		}
	}
	return nil
}

// tryLock takes the lock, past older pushes that need not be waited for; a
// newer one is in the way of an older push whatever its state. Of several
// holders the oldest is named.
func (m *Manager) tryLock(c claim) (Holder, bool) {
	if h, ok := m.locks.Denied(m.now, c.id); ok {
		return h, false
	}
	var oldest Holder
	for _, h := range m.locks.Conflicts(c.id, c.module, c.paths) {
		if !m.passes(&c, h) && (oldest.ID.IsZero() || h.Place.Less(oldest.Place)) {
			oldest = h
		}
	}
	if !oldest.ID.IsZero() {
		m.locks.Deny(m.now, c.id, oldest)
		return oldest, false
	}
	m.locks.hold(c)
	return Holder{}, true
}

// passes reports whether a push need not wait for another that holds its
// paths. What an older push has staged stays, and is committed or discarded
// when its decision is known, but for what newer ones have decided. One that
// has nothing staged, and whose origin is silent or only serves parked members,
// is ended, but not for a push that changes nothing.
func (m *Manager) passes(c *claim, h Holder) bool {
	if !c.dry && !h.Place.Less(c.place) {
		return false
	}
	for _, p := range m.pending {
		if p.id() == h.ID {
			return c.dry || !p.decided()
		}
	}
	for _, r := range m.members {
		if r.m.ID() != h.ID {
			continue
		}
		switch by := "push " + c.id.String() + " of " + c.name; {
		case r.m.passable(m.now):
			return true
		case c.dry || r.m.state >= staging:
			return c.dry && r.m.state == committing
		case r.m.late():
			r.m.Supersede(m.now, by)
		case r.m.Preemptible(m.now):
			r.m.Preempt(m.now)
		default:
			return false
		}
		m.locks.Release(h.ID)
		return true
	}
	return m.passesOwn(c, h)
}

// passesOwn is passes for a push of this daemon's own: one that serves parked
// members gives way at once.
func (m *Manager) passesOwn(c *claim, h Holder) bool {
	for _, r := range m.runs {
		if r.o.cfg.ID != h.ID || c.dry || r.req.Header.Order.IsZero() {
			continue
		}
		r.o.Abort(m.now, "superseded by push "+c.id.String()+" of "+c.name)
		m.locks.Release(h.ID)
		return true
	}
	return false
}

// newerHolds reports whether a push that is newer than c works on its paths: a
// decision that arrives late waits for its end.
func (m *Manager) newerHolds(c *claim) bool {
	for _, h := range m.locks.Conflicts(c.id, c.module, c.paths) {
		if !h.dry && c.place.Less(h.Place) {
			return true
		}
	}
	return false
}

// Release implements Admission.
func (m *Manager) Release(id protocol.PushID) { m.locks.Release(id) }
