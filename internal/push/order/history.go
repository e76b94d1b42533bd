package order

import (
	"fmt"
	"slices"
	"sync"

	"makuo/internal/tree"
	"makuo/protocol"
)

// MaxLayers is how many layers of a module are kept. Beyond it the two oldest
// become one, which takes the place of the newer of them and has decided all
// that is at or below the paths of both: older pushes skip more than they had
// to, and say so; nothing newer is ever lost.
const MaxLayers = 64

// maxMerged is how many paths such a layer has; beyond it, it is the module.
const maxMerged = 1000

// History is what has been decided of one module. Its methods may be called by
// any goroutine.
type History struct {
	mu     sync.Mutex
	layers []*Layer // the oldest first
	disk   disk
}

// disk keeps layers; the zero value keeps none.
type disk struct {
	dir    string
	write  func(path, content string) error
	remove func(path string) error
}

// Decide notes, durably, what a push has decided. It is called before the first
// rename of its commit.
func (h *History) Decide(l Layer) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	i, found := slices.BinarySearchFunc(h.layers, l.Place, func(x *Layer, p protocol.PushID) int { return compare(x.Place, p) })
	if found && h.layers[i].same(&l) {
		return nil
	}
	if found { // by other words, such as another member's: both hold
		l = merge(h.layers[i], &l)
	}
	if err := h.disk.put(&l); err != nil {
		return fmt.Errorf("note of what the push decides: %w", err)
	}
	if found {
		h.layers[i] = &l
	} else {
		h.layers = slices.Insert(h.layers, i, &l)
	}
	return nil
}

// Heard notes what a push has decided elsewhere, unless it is known here.
func (h *History) Heard(l Layer) error {
	h.mu.Lock()
	known := slices.ContainsFunc(h.layers, func(x *Layer) bool { return x.Place == l.Place })
	h.mu.Unlock()
	if known {
		return nil
	}
	return h.Decide(l)
}

// Paths returns the paths of the push at a place, the whole module if it is not
// known.
func (h *History) Paths(place protocol.PushID) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.layers {
		if l.Place == place {
			return l.Paths
		}
	}
	return []string{"."}
}

// Tidy takes from older layers what the newest one of them has decided since, and keeps their
// number in bounds. It is called when the commit is over.
func (h *History) Tidy(place protocol.PushID) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.IndexFunc(h.layers, func(l *Layer) bool { return l.Place == place })
	if i < 0 {
		return nil
	}
	var v *view
	for k := i - 1; k >= 0; k-- {
		l := h.layers[k]
		if !overlap(l.Paths, h.layers[i].Paths) {
			continue
		}
		if v == nil {
			v = h.layers[i].view()
		}
		rest, changed := l.less(v)
		switch {
		case rest == nil:
			if err := h.drop(k); err != nil {
				return err
			}
			i--
		case changed:
			if err := h.disk.put(rest); err != nil {
				return err
			}
			h.layers[k] = rest
		}
	}
	for len(h.layers) > MaxLayers {
		l := merge(h.layers[0], h.layers[1])
		if err := h.disk.put(&l); err != nil {
			return err
		}
		h.layers[1] = &l
		if err := h.drop(0); err != nil {
			return err
		}
	}
	return nil
}

func (h *History) drop(k int) error {
	if err := h.disk.drop(h.layers[k]); err != nil {
		return err
	}
	h.layers = slices.Delete(h.layers, k, k+1)
	return nil
}

// Latest returns the newest place here, zero if there is none.
func (h *History) Latest() protocol.PushID {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.layers) == 0 {
		return protocol.PushID{}
	}
	return h.layers[len(h.layers)-1].Place
}

// Newer implements tree.Order.
func (h *History) Newer(place protocol.PushID, paths []string) tree.Newer {
	h.mu.Lock()
	defer h.mu.Unlock()
	var n newer
	for i := len(h.layers) - 1; i >= 0 && place.Less(h.layers[i].Place); i-- {
		if overlap(h.layers[i].Paths, paths) {
			n = append(n, h.layers[i].view())
		}
	}
	if n == nil {
		return nil
	}
	return n
}

// newer is the layers that are newer than a push, the newest first.
type newer []*view

// Decided implements tree.Newer.
func (n newer) Decided(path string) (scope tree.Scope, by string) {
	for _, v := range n {
		if s := v.decided(path); s > scope {
			scope, by = s, fmt.Sprintf("%s of %s", v.Place, v.Name)
			if s == tree.ScopePath {
				break
			}
		}
	}
	return scope, by
}

// Since returns what has been decided at or around the paths after place, in at
// most size bytes of paths: a layer that is too long is given as all that is at
// or below its paths, then as the whole module.
func (h *History) Since(place protocol.PushID, paths []string, size int) []protocol.NewerPush {
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []protocol.NewerPush
	for i := len(h.layers) - 1; i >= 0 && place.Less(h.layers[i].Place); i-- {
		l := h.layers[i]
		if !overlap(l.Paths, paths) {
			continue
		}
		p := protocol.NewerPush{Place: l.Place, Name: l.Name, Paths: l.Paths}
		if !l.Whole && len(l.packed) < size {
			if entries, ok := unpack(l.packed); ok && len(entries) <= protocol.MaxNewerPaths {
				if flat := leaves(entries); pathsLen(flat) <= size {
					p.Paths = flat
				}
			}
		}
		if n := pathsLen(p.Paths); n > size || len(p.Paths) > protocol.MaxNewerPaths || len(list) == protocol.MaxNewer-1 {
			p.Paths = []string{"."}
			return append(list, p)
		}
		size -= pathsLen(p.Paths) + len(p.Name) + 24
		list = append(list, p)
	}
	return list
}

// leaves returns the entries that hold no others.
func leaves(entries []Entry) []string {
	var paths []string
	for i, e := range entries {
		if i+1 == len(entries) || !protocol.Within(entries[i+1].Path, e.Path) {
			paths = append(paths, e.Path)
		}
	}
	return paths
}

func pathsLen(paths []string) int {
	n := 0
	for _, p := range paths {
		n += len(p) + 2
	}
	return n
}

func compare(a, b protocol.PushID) int {
	switch {
	case a.Less(b):
		return -1
	case b.Less(a):
		return 1
	}
	return 0
}

func (l *Layer) same(o *Layer) bool {
	return l.Whole == o.Whole && slices.Equal(l.Paths, o.Paths) && slices.Equal(l.Rules, o.Rules) && slices.Equal(l.packed, o.packed)
}

// less returns l without what v has decided; nil if nothing is left.
func (l *Layer) less(v *view) (rest *Layer, changed bool) {
	if l.Whole {
		if v.Whole && within(l.Paths, v.Paths) && (len(v.Rules) == 0 || slices.Equal(l.Rules, v.Rules) && slices.Equal(l.Paths, v.Paths)) {
			return nil, true
		}
		return l, false
	}
	entries, ok := unpack(l.packed)
	if !ok {
		return l, false
	}
	var left Entries
	n := 0
	for _, e := range entries {
		if !v.covers(e) {
			left.Add(e)
			n++
		}
	}
	switch n {
	case 0:
		return nil, true
	case len(entries):
		return l, false
	}
	r := *l
	r.packed = left.bytes()
	return &r, true
}

// merge makes one coarse layer of two.
func merge(older, newer *Layer) Layer {
	paths := append(slices.Clone(older.Paths), newer.Paths...)
	slices.SortFunc(paths, protocol.ComparePaths)
	var top []string
	for _, p := range paths {
		if len(top) == 0 || !protocol.Within(p, top[len(top)-1]) {
			top = append(top, p)
		}
	}
	if len(top) > maxMerged {
		top = []string{"."}
	}
	return Layer{Place: newer.Place, Name: newer.Name, Paths: top, Whole: true}
}
