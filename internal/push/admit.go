package push

import (
	"fmt"

	"makuo/protocol"
)

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
	if text := m.known(id); text != "" {
		return text, Holder{}, false
	}
	if h, ok := m.tryLock(id, h.Name, h.Module, h.Paths); !ok {
		return "", h, false
	}
	return "", Holder{}, true
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

// tryLock takes the lock, ending older pushes that hold it and are undecided or
// abandoned; a newer one is in the way of an older push whatever its state.
// Of several holders the oldest is named.
func (m *Manager) tryLock(id protocol.PushID, name, module string, paths []string) (Holder, bool) {
	if h, ok := m.locks.Denied(m.now, id); ok {
		return h, false
	}
	var oldest Holder
	for _, h := range m.locks.Conflicts(id, module, paths) {
		if !(h.ID.Less(id) && m.preempt(h.ID)) && (oldest.ID.IsZero() || h.ID.Less(oldest.ID)) {
			oldest = h
		}
	}
	if !oldest.ID.IsZero() {
		m.locks.Deny(m.now, id, oldest)
		return oldest, false
	}
	m.locks.Hold(id, name, module, paths)
	return Holder{}, true
}

// preempt ends a push whose origin is gone; it reports whether it did.
func (m *Manager) preempt(id protocol.PushID) bool {
	for _, r := range m.members {
		if r.m.ID() == id && r.m.Preemptible(m.now) {
			r.m.Preempt(m.now)
			m.locks.Release(id)
			return true
		}
	}
	for _, p := range m.pending {
		if p.id() == id && p.preempt() {
			m.locks.Release(id)
			return true
		}
	}
	return false
}

// Release implements Admission.
func (m *Manager) Release(id protocol.PushID) { m.locks.Release(id) }
