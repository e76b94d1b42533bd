package push

import (
	"net/netip"

	"makuo/protocol"
)

// Moved says that a member is at another address: what pushes under way send
// to it alone goes there from now on. A member finds an origin that moved by
// the source of its state messages.
func (m *Manager) Moved(s protocol.Session, addr netip.AddrPort) {
	for _, r := range m.runs {
		if i, ok := r.o.index[s]; ok {
			r.o.members[i].Addr = addr
		}
	}
}
