package membership

import (
	"net/netip"
	"time"

	"makuo/protocol"
)

// foreignInterval is assumed of members whose beacons say none that we can
// read.
const foreignInterval = 6 * time.Second

// HandleBeacon takes a beacon that came from the address from.
func (t *Table) HandleBeacon(now time.Time, from netip.AddrPort, p protocol.Prefix, b protocol.Beacon) []Event {
	at := t.enter(now)
	t.beacon(at, from, p, b, b.MinVersion > protocol.Version || b.MaxVersion < protocol.Version)
	return t.flush()
}

// HandleForeign takes a beacon in another protocol version, as read by
// protocol.ParseForeignBeacon.
func (t *Table) HandleForeign(now time.Time, from netip.AddrPort, p protocol.Prefix, b protocol.Beacon) []Event {
	at := t.enter(now)
	t.beacon(at, from, p, protocol.Beacon{Name: b.Name, Port: b.Port, MinVersion: b.MinVersion, MaxVersion: b.MaxVersion}, true)
	return t.flush()
}

// HandleLeave takes a leave message that came from the address from: the
// session is gone at once, and the member away until it is back. It counts only
// from the member's own address.
func (t *Table) HandleLeave(now time.Time, from netip.AddrPort, p protocol.Prefix) []Event {
	at := t.enter(now)
	m := t.byID[p.Session]
	if p.Session == t.cfg.Self.Session || m != nil && m.addr != netip.AddrPortFrom(from.Addr().Unmap(), from.Port()) {
		return nil
	}
	t.dead.add(at, p.Session)
	switch {
	case m == nil || m.state == Away:
	case t.succeeded(m):
		t.drop(m)
		m.state, m.since = Away, at
		t.emit(EventLeft, m, Member{})
	default:
		if m.live() {
			t.count(m, -1)
		}
		m.state, m.since, m.loaded, m.doubted, m.probes = Away, at, false, false, 0
		t.changed = true
		t.sweepAt = min(t.sweepAt, t.due(m))
		t.emit(EventLeft, m, Member{})
		t.refreshName(m.name)
	}
	return t.flush()
}

// succeeded reports whether another session is what m's daemon is now: this
// one's own, or one that appeared at the same host under m's name.
func (t *Table) succeeded(m *member) bool {
	if m.name == t.cfg.Self.Name {
		return true
	}
	h := t.heir(m)
	return m.doubted && h != nil && h.addr.Addr() == m.addr.Addr()
}

// Heard takes note that a packet of any kind came from a session. It costs a
// look into a map; what follows from it is told by the next Poll.
func (t *Table) Heard(now time.Time, s protocol.Session) {
	if m := t.byID[s]; m != nil {
		t.hear(t.enter(now), m)
	}
}

func (t *Table) hear(at time.Duration, m *member) {
	if m.state == Away && t.dead.has(at, m.session) {
		return // it was on its way when the member left
	}
	m.heard = at
	m.probes = 0
	if !m.live() {
		t.revive(at, m)
	}
	if m.doubted && at >= m.doubtAt+m.interval/2 {
		m.doubted = false
		t.refreshName(m.name)
	}
}

func (t *Table) revive(at time.Duration, m *member) {
	kind := EventReturned
	if m.loaded {
		kind = EventJoined
	}
	m.state, m.loaded, m.since = Alive, false, at
	if m.foreign {
		m.state = Foreign
	}
	t.count(m, 1)
	t.changed = true
	t.sweepAt = min(t.sweepAt, t.due(m))
	t.emit(kind, m, Member{})
	t.appeared(at, m.session)
	t.doubtOthers(at, m)
}

func (t *Table) beacon(at time.Duration, from netip.AddrPort, p protocol.Prefix, b protocol.Beacon, foreign bool) {
	if p.Session == t.cfg.Self.Session || p.Session == 0 || t.dead.has(at, p.Session) {
		return
	}
	addr := netip.AddrPortFrom(from.Addr().Unmap(), b.Port)
	m := t.byID[p.Session]
	switch {
	case m == nil:
		if m = t.admit(at, addr, p, b, foreign); m == nil {
			return
		}
	case m.name != b.Name:
		return // a session has one name: this is somebody else's
	default:
		t.update(m, b, foreign)
		t.hear(at, m)
		t.move(m, addr)
	}
	if foreign {
		return
	}
	if b.Flags&protocol.FlagSolicit != 0 {
		t.solicited(at)
	}
	t.wantDetail(at, m)
}

func (t *Table) update(m *member, b protocol.Beacon, foreign bool) {
	interval := min(max(b.Interval, 20*time.Millisecond), maxInterval)
	if foreign {
		interval = foreignInterval
	}
	if interval < m.interval {
		m.interval = interval
		t.sweepAt = min(t.sweepAt, t.due(m))
	}
	m.interval, m.started, m.flags = interval, b.Started, b.Flags&^protocol.FlagSolicit
	m.minVer, m.maxVer, m.digest = b.MinVersion, b.MaxVersion, b.Digest
	if m.foreign != foreign {
		m.foreign = foreign
		if m.live() {
			m.state = Alive
			if foreign {
				m.state = Foreign
			}
		}
	}
}

// admit takes a session into the table that is not in it, or returns nil. It
// first looks whose place it takes: that of the session at the same address,
// whose socket it has now; or else of a missing one with its name.
func (t *Table) admit(at time.Duration, addr netip.AddrPort, p protocol.Prefix, b protocol.Beacon, foreign bool) *member {
	old := t.addrs[addr]
	switch {
	case old == nil:
		old = t.missingHeir(b.Name, addr)
	case !foreign && b.Started < old.started && old.live() && at-old.heard < old.interval*3/2:
		return nil // left over from an earlier run
	default:
		t.dead.add(at, old.session)
	}
	if old == nil && (len(t.list) >= MaxMembers || len(t.names[b.Name]) >= maxSameName) {
		t.refuse(at, addr, p, b)
		return nil
	}
	m := &member{session: p.Session, name: b.Name, addr: addr, state: Alive, since: at, heard: at, interval: maxInterval, foreign: foreign}
	if foreign {
		m.state = Foreign
	}
	t.update(m, b, foreign)
	if old == nil {
		t.insert(m)
		t.emit(EventJoined, m, Member{})
	} else {
		view := t.view(old)
		t.drop(old)
		t.insert(m)
		t.emit(EventRestarted, m, view)
	}
	t.appeared(at, m.session)
	t.doubtOthers(at, m)
	return m
}

func (t *Table) refuse(at time.Duration, addr netip.AddrPort, p protocol.Prefix, b protocol.Beacon) {
	if at-t.refused < time.Minute {
		return
	}
	t.refused = at
	m := &member{session: p.Session, name: b.Name, addr: addr, state: Alive, since: at, heard: at, minVer: b.MinVersion, maxVer: b.MaxVersion}
	t.emit(EventRefused, m, Member{})
}

func (t *Table) move(m *member, addr netip.AddrPort) {
	if m.addr == addr {
		return
	}
	old := t.view(m)
	if t.addrs[m.addr] == m {
		delete(t.addrs, m.addr)
	}
	m.addr = addr
	if t.addrs[addr] == nil {
		t.addrs[addr] = m
	}
	t.changed = true
	t.emit(EventMoved, m, old)
}
