package push

import "makuo/protocol"

// Locks is the path lock table of one daemon: which push may change which
// paths. Locks of one module conflict when a path of one is at, below or above
// a path of the other. It is not safe for concurrent use.
type Locks struct{ held []*lock }

type lock struct {
	id     protocol.PushID
	name   string // of the push's origin, for people
	module string
	paths  []string
}

func overlap(a, b []string) bool {
	for _, p := range a {
		for _, q := range b {
			if protocol.Within(p, q) || protocol.Within(q, p) {
				return true
			}
		}
	}
	return false
}

// Holder is a push that stands in the way of another.
type Holder struct {
	ID   protocol.PushID
	Name string // of its origin
}

// Conflicts returns the other pushes that hold a lock overlapping the paths.
func (l *Locks) Conflicts(id protocol.PushID, module string, paths []string) []Holder {
	var hs []Holder
	for _, h := range l.held {
		if h.id != id && h.module == module && overlap(h.paths, paths) {
			hs = append(hs, Holder{h.id, h.name})
		}
	}
	return hs
}

// Hold takes the lock. The caller has dealt with all conflicts; holding twice
// is harmless.
func (l *Locks) Hold(id protocol.PushID, name, module string, paths []string) {
	for _, h := range l.held {
		if h.id == id {
			return
		}
	}
	l.held = append(l.held, &lock{id, name, module, paths})
}

// Release gives the lock of a push back; releasing what is not held is
// harmless.
func (l *Locks) Release(id protocol.PushID) {
	for i, h := range l.held {
		if h.id == id {
			l.held = append(l.held[:i], l.held[i+1:]...)
			return
		}
	}
}
