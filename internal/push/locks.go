package push

import (
	"slices"
	"time"

	"makuo/protocol"
)

// Locks is the path lock table of one daemon: which push may change which
// paths. Locks of one module conflict when a path of one is at, below or above
// a path of the other. It is not safe for concurrent use.
type Locks struct {
	held     []*lock
	releases int // so far
	denied   map[protocol.PushID]denial
}

// denial is the answer to a push that asks again and again.
type denial struct {
	holder   Holder
	at       time.Time
	releases int
}

// askAgain is how long a denial holds if no lock is released: a holder's
// origin may fall silent meanwhile.
const askAgain = 100 * time.Millisecond

// Denied returns who stands in the way of a push as far as that is known from
// its last try, shortly ago.
func (l *Locks) Denied(now time.Time, id protocol.PushID) (Holder, bool) {
	d, ok := l.denied[id]
	if !ok || d.releases != l.releases || now.Sub(d.at) >= askAgain {
		return Holder{}, false
	}
	return d.holder, true
}

// Deny notes who stands in the way of a push, for Denied, until Release.
func (l *Locks) Deny(now time.Time, id protocol.PushID, h Holder) {
	if l.denied == nil {
		l.denied = make(map[protocol.PushID]denial)
	}
	l.denied[id] = denial{h, now, l.releases}
}

type lock struct {
	claim
}

// overlap reports whether a path of one list is at, below or above one of the
// other. Both are in the order of protocol.ComparePaths, where everything below
// a path follows it without a gap: only the outermost path of each list that
// came last can hold the next of the other.
func overlap(a, b []string) bool {
	var topA, topB string // never the empty path
	for len(a) > 0 && len(b) > 0 || len(a) > 0 && topB != "" || len(b) > 0 && topA != "" {
		if len(b) == 0 || len(a) > 0 && protocol.ComparePaths(a[0], b[0]) <= 0 {
			if topB != "" && protocol.Within(a[0], topB) {
				return true
			}
			if topA == "" || !protocol.Within(a[0], topA) {
				topA = a[0]
			}
			a = a[1:]
			continue
		}
		if topA != "" && protocol.Within(b[0], topA) {
			return true
		}
		if topB == "" || !protocol.Within(b[0], topB) {
			topB = b[0]
		}
		b = b[1:]
	}
	return false
}

// ordered returns the paths in the order that overlap needs.
func ordered(paths []string) []string {
	if slices.IsSortedFunc(paths, protocol.ComparePaths) {
		return paths
	}
	paths = slices.Clone(paths)
	slices.SortFunc(paths, protocol.ComparePaths)
	return paths
}

// Holder is a push that stands in the way of another.
type Holder struct {
	ID    protocol.PushID
	Place protocol.PushID // in the order of the pushes
	Name  string          // of its origin
	dry   bool            // it changes nothing
}

// Conflicts returns the other pushes that hold a lock overlapping the paths.
func (l *Locks) Conflicts(id protocol.PushID, module string, paths []string) []Holder {
	var hs []Holder
	paths = ordered(paths)
	for _, h := range l.held {
		if h.id != id && h.module == module && overlap(h.paths, paths) {
			hs = append(hs, Holder{h.id, h.place, h.name, h.dry})
		}
	}
	return hs
}

// Hold takes the lock. The caller has dealt with all conflicts; holding twice
// is harmless.
func (l *Locks) Hold(id protocol.PushID, name, module string, paths []string) {
	l.hold(claim{id: id, place: id, name: name, module: module, paths: paths})
}

// hold takes the lock for a claim.
func (l *Locks) hold(c claim) {
	for _, h := range l.held {
		if h.id == c.id {
			return
		}
	}
	c.paths = ordered(c.paths)
	l.held = append(l.held, &lock{c})
}

// Release gives the lock of a push back; releasing what is not held is
// harmless.
func (l *Locks) Release(id protocol.PushID) {
	delete(l.denied, id)
	for i, h := range l.held {
		if h.id == id {
			l.releases++
			l.held = append(l.held[:i], l.held[i+1:]...)
			return
		}
	}
}
