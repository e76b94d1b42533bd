package membership

import (
	"net/netip"
	"time"
)

// The same name from two sessions means one of two things: a daemon was
// killed and started again (its port may be another), or two hosts have one
// name. Which one is told apart by whether the older session is heard again:
//
//  1. A session that appears puts the others under its name in doubt.
//  2. One in doubt that is heard half an interval later or more (so that
//     it is no packet that was on its way) is there: the name is in use twice.
//  3. One in doubt at the newer one's host that stays silent for two intervals
//     is replaced by it; at another host, when its silence limit has passed.
//
// A session that was proven to be there besides another goes missing like any
// other when it falls silent.

// missingHeir returns the missing member whose place a new session with the
// given name takes: the one at the same host, or, when nobody with that name
// is there, the one heard last.
func (t *Table) missingHeir(name string, addr netip.AddrPort) *member {
	var best *member
	live := name == t.cfg.Self.Name
	for _, m := range t.names[name] {
		switch {
		case m.live():
			live = true
		case m.addr.Addr() == addr.Addr():
			return m
		case best == nil || m.heard > best.heard:
			best = m
		}
	}
	if live {
		return nil
	}
	return best
}

// doubtOthers puts in doubt whoever has the name of m, which just appeared.
// With this daemon's own name it is m itself that is in doubt: it may be
// what was on its way from this daemon's earlier run.
func (t *Table) doubtOthers(at time.Duration, m *member) {
	if m.name == t.cfg.Self.Name {
		m.doubted, m.doubtAt = true, at
		t.sweepAt = min(t.sweepAt, t.due(m))
	}
	for _, o := range t.names[m.name] {
		if o != m && o.live() && !o.doubted {
			o.doubted, o.doubtAt, o.probes = true, at, 0
			t.sweepAt = min(t.sweepAt, t.due(o))
		}
	}
	t.refreshName(m.name)
}

// heir returns the session that put m in doubt: the one with its name that
// appeared last.
func (t *Table) heir(m *member) *member {
	var best *member
	for _, o := range t.names[m.name] {
		if o != m && o.live() && !o.doubted && (best == nil || o.since > best.since) {
			best = o
		}
	}
	return best
}

// refreshName finds out anew whether a name is in use twice.
func (t *Table) refreshName(name string) {
	own := name == t.cfg.Self.Name
	same := t.names[name]
	if len(same) <= 1 && !own && (len(same) == 0 || !same[0].dup) {
		return
	}
	n := 0
	if own {
		n = 1
	}
	for _, m := range same {
		if m.live() && !m.doubted {
			n++
		}
	}
	if own {
		t.selfDup = n > 1
	}
	for _, m := range same {
		dup := n > 1 && m.live() && !m.doubted
		if dup == m.dup {
			continue
		}
		m.dup = dup
		kind := EventDuplicate
		if !dup {
			kind = EventUnique
		}
		t.emit(kind, m, Member{})
	}
}
