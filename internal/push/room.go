package push

import (
	"makuo/protocol"
	"makuo/transfer"
)

// maxMemberRuns bounds the pushes a member knows of at a time.
const maxMemberRuns = 256

// maxAside bounds those of one origin that it takes no part in, or does not
// know yet whether it does.
const maxAside = 8

// mayJoin reports whether a push can be one of another daemon's that is not
// known here under another stream.
func (m *Manager) mayJoin(id protocol.PushID) bool {
	if _, own := m.cfg.Store.Outcome(id); own {
		return false
	}
	for _, r := range m.members {
		if r.m.ID() == id {
			return false
		}
	}
	return true
}

// makePlace ends the oldest machine that takes no part in its push if there
// are too many, of one origin or at all; it reports whether there is room.
func (m *Manager) makePlace(origin protocol.Session) bool {
	var oldest, oldestHere *memberRun
	here := 0
	for _, r := range m.members {
		if !r.m.aside() {
			continue
		}
		if oldest == nil || r.m.born.Before(oldest.m.born) {
			oldest = r
		}
		if r.origin != origin {
			continue
		}
		here++
		if oldestHere == nil || r.m.born.Before(oldestHere.m.born) {
			oldestHere = r
		}
	}
	switch {
	case here >= maxAside:
		oldest = oldestHere
	case len(m.members) < maxMemberRuns:
		return true
	case oldest == nil:
		return false
	}
	oldest.m.end("pushed out by newer pushes")
	m.memberOver(oldest, "pushed out by newer pushes")
	return true
}

// smallRoom is what a machine may hold that takes no part, or does not know yet.
const smallRoom = 1 << 20

// shareRoom divides the receivers' memory among the pushes under way.
func (m *Manager) shareRoom() {
	n := 0
	for _, r := range m.members {
		if r.m.TakesPart() {
			n++
		}
	}
	for _, r := range m.members {
		if r.m.TakesPart() {
			r.m.r.SetRoom(max(smallRoom, transfer.DefaultRoom/n))
		}
	}
}
