// Package order remembers, for each module, which pushes have decided which
// paths here, so that nothing older is ever put after something newer at any
// path. See docs/order.md.
package order

import (
	"encoding/binary"
	"slices"
	"sort"
	"sync"

	"github.com/klauspost/compress/zstd"

	"makuo/internal/tree"
	"makuo/protocol"
)

// Place returns the place in the order of a push: the one its header names, or
// its own id.
func Place(id protocol.PushID, h *protocol.PushHeader) protocol.PushID {
	if h != nil && !h.Order.IsZero() {
		return h.Order
	}
	return id
}

// Layer is what one push has decided of a module.
type Layer struct {
	Place protocol.PushID
	Name  string   // of the push's origin
	Paths []string // the pushed paths, in the order of protocol.ComparePaths
	Whole bool     // all that is at or below Paths, less what Rules exclude
	Rules []protocol.Rule

	packed []byte // entries, unless Whole: see Entries
}

// Whole reports whether a push of h decides all that is at or below its paths:
// the entries of others have to be noted one by one.
func Whole(h *protocol.PushHeader) bool {
	const all = protocol.OptRecursive | protocol.OptDelete
	return h.Options&all == all
}

// Of returns the layer of a push. entries are those of its manifest; without
// them the push counts as having decided all that is at or below its paths.
func Of(id protocol.PushID, h *protocol.PushHeader, entries *Entries) Layer {
	l := Layer{Place: Place(id, h), Name: h.Name, Paths: h.Paths, Whole: true}
	switch {
	case Whole(h):
		l.Rules = h.Rules
	case entries != nil:
		l.Whole, l.packed = false, entries.bytes()
	}
	return l
}

// Entry is a path that a push without --delete has decided. One that is no
// directory decides everything below it: nothing can be there.
type Entry struct {
	Path string
	Dir  bool
}

// Entries collects the entries of a manifest, in its order, compressed. The
// zero value is empty. It is not safe for concurrent use.
type Entries struct {
	raw    []byte
	packed []byte
	last   string
}

const packAt = 256 << 10

// AddBatch adds what a batch of the manifest decides: all but what the origin
// could not read and the directories above the pushed paths.
func (e *Entries) AddBatch(b *protocol.Batch) {
	for i := range b.Entries {
		x := &b.Entries[i]
		if x.Type != protocol.EntryFailed && x.Flags&protocol.EntryImplied == 0 {
			e.Add(Entry{x.Path, x.Type == protocol.EntryDirectory})
		}
	}
}

// Add adds one entry, which comes after all earlier ones.
func (e *Entries) Add(x Entry) {
	n := 0
	for n < len(e.last) && n < len(x.Path) && e.last[n] == x.Path[n] {
		n++
	}
	e.raw = binary.AppendUvarint(e.raw, uint64(n))
	rest := uint64(len(x.Path)-n) << 1
	if x.Dir {
		rest |= 1
	}
	e.raw = binary.AppendUvarint(e.raw, rest)
	e.raw = append(e.raw, x.Path[n:]...)
	e.last = x.Path
	if len(e.raw) >= packAt {
		e.pack()
	}
}

var coder = sync.OnceValues(func() (*zstd.Encoder, *zstd.Decoder) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		panic(err)
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		panic(err)
	}
	return enc, dec
})

func (e *Entries) pack() {
	if len(e.raw) > 0 {
		enc, _ := coder()
		e.packed = enc.EncodeAll(e.raw, e.packed)
		e.raw = e.raw[:0]
	}
}

func (e *Entries) bytes() []byte {
	e.pack()
	return e.packed
}

// unpack returns the entries of a layer; ok is false if they are damaged.
func unpack(packed []byte) (list []Entry, ok bool) {
	_, dec := coder()
	b, err := dec.DecodeAll(packed, nil)
	if err != nil {
		return nil, false
	}
	last := ""
	for len(b) > 0 {
		shared, k := binary.Uvarint(b)
		if k <= 0 || shared > uint64(len(last)) {
			return nil, false
		}
		b = b[k:]
		rest, k := binary.Uvarint(b)
		if k <= 0 || rest>>1 > uint64(len(b)-k) {
			return nil, false
		}
		b = b[k:]
		path := last[:shared] + string(b[:rest>>1])
		b = b[rest>>1:]
		if !protocol.ValidPath(path) || last != "" && protocol.ComparePaths(last, path) >= 0 {
			return nil, false
		}
		list, last = append(list, Entry{path, rest&1 != 0}), path
	}
	return list, true
}

// view is a layer that can be asked.
type view struct {
	*Layer
	entries []Entry
	filter  *tree.Filter
}

func (l *Layer) view() *view {
	v := &view{Layer: l}
	if !l.Whole {
		var ok bool
		if v.entries, ok = unpack(l.packed); !ok {
			v.Layer = &Layer{Place: l.Place, Name: l.Name, Paths: l.Paths, Whole: true}
		}
	}
	if len(l.Rules) > 0 {
		v.filter, _ = tree.NewFilter(l.Rules) // they were compiled when the push was
	}
	return v
}

// decided returns how far the push has decided path.
func (v *view) decided(path string) tree.Scope {
	if !v.Whole {
		return v.entry(path)
	}
	scope := tree.ScopeNone
	for _, p := range v.Paths {
		switch {
		case protocol.Within(path, p):
			rel := tree.Anchor(p, path)
			if !(v.filter.Covers(rel, false) && v.filter.Covers(rel, true)) {
				return tree.ScopePath
			}
		case protocol.Within(p, path):
			scope = tree.ScopeBelow
		}
	}
	return scope
}

// entry is decided for a list of entries.
func (v *view) entry(path string) tree.Scope {
	for i := range len(path) {
		if path[i] == '/' {
			if k, ok := v.find(path[:i]); ok && !v.entries[k].Dir {
				return tree.ScopePath
			}
		}
	}
	k, ok := v.find(path)
	switch {
	case ok:
		return tree.ScopePath
	case k < len(v.entries) && protocol.Within(v.entries[k].Path, path), path == "." && len(v.entries) > 0:
		return tree.ScopeBelow
	}
	return tree.ScopeNone
}

// covers reports whether the push has decided all that e has: that is all
// below it, too, if e is no directory.
func (v *view) covers(e Entry) bool {
	switch {
	case v.decided(e.Path) != tree.ScopePath:
		return false
	case e.Dir:
		return true
	case v.Whole:
		return len(v.Rules) == 0
	}
	for i := range len(e.Path) + 1 {
		if i == len(e.Path) || e.Path[i] == '/' {
			if k, ok := v.find(e.Path[:i]); ok && !v.entries[k].Dir {
				return true
			}
		}
	}
	return false
}

func (v *view) find(path string) (int, bool) {
	return sort.Find(len(v.entries), func(i int) int { return protocol.ComparePaths(path, v.entries[i].Path) })
}

// overlap reports whether a path of one list is at, below or above one of the
// other.
func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(a string) bool {
		return slices.ContainsFunc(b, func(b string) bool { return protocol.Within(a, b) || protocol.Within(b, a) })
	})
}

// within reports whether all of a lie at or below paths of b.
func within(a, b []string) bool {
	for _, p := range a {
		if !slices.ContainsFunc(b, func(b string) bool { return protocol.Within(p, b) }) {
			return false
		}
	}
	return true
}
