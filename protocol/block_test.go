package protocol

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// randomPaths returns up to n valid paths in order, no two the same.
func randomPaths(r *rand.Rand, n int) []string {
	var ps []string
	dir := ""
	for range n {
		switch r.IntN(4) {
		case 0:
			dir = ""
		case 1:
			if len(dir) < 500 {
				dir += word(r, 1, MaxComponent) + "/"
			}
		}
		if p := dir + word(r, 1, 30); ValidPath(p) {
			ps = append(ps, p)
		}
	}
	if chance(r, 10) {
		ps = append(ps, ".")
	}
	slices.SortFunc(ps, ComparePaths)
	if ps = slices.Compact(ps); len(ps) == 0 {
		return []string{"only"}
	}
	return ps
}

func randomHeader(r *rand.Rand) PushHeader {
	h := PushHeader{Module: word(r, 1, MaxName), Name: word(r, 1, MaxName), Options: r.Uint32() & optAll, MaxDelete: number(r, 1<<62), Order: randomID(r), Paths: randomPaths(r, 1+r.IntN(30))}
	for range r.IntN(10) {
		h.Rules = append(h.Rules, Rule{chance(r, 2), text(r, 0, MaxPattern)})
	}
	for i := range size(r, 0, 500) {
		h.Roster = append(h.Roster, Session(i*1000+1+r.IntN(1000)))
	}
	return h
}

func TestPushHeader(t *testing.T) {
	h := PushHeader{Module: "default", Name: "src", Options: OptRecursive | OptDelete, MaxDelete: 300, Paths: []string{"a", "b/c"},
		Rules: []Rule{{true, "*.h"}, {false, "*"}}, Roster: []Session{9, 8}}
	exact(t, "push header", h, `07 64656661756c74 03 737263 00000003 ac02 0000000000000000 0000000000000000 02 01 61 03 622f63
		02 01 03 2a2e68 00 01 2a 02 0000000000000009 0000000000000008`)
	mod := func(f func(*PushHeader)) PushHeader { e := h; f(&e); return e }
	roster := make([]Session, MaxRoster+1)
	paths := make([]string, MaxPaths+1)
	for i := range roster {
		roster[i], paths[i] = Session(i+1), fmt.Sprintf("%05d", i)
	}
	accepted(t, "push header", mod(func(h *PushHeader) { h.Roster = roster[:MaxRoster] }), mod(func(h *PushHeader) { h.Paths = paths[:MaxPaths] }))
	rule := h.Append(nil)
	rule[bytes.Index(rule, []byte("*.h"))-2] = 2
	refused(t, "push header", map[string]any{
		`module "" of`:                     mod(func(h *PushHeader) { h.Module = "" }),
		`module "default" of "a b"`:        mod(func(h *PushHeader) { h.Name = "a b" }),
		"options 0x403":                    mod(func(h *PushHeader) { h.Options |= optAll + 1 }),
		"no paths":                         mod(func(h *PushHeader) { h.Paths = nil }),
		`path "../a"`:                      mod(func(h *PushHeader) { h.Paths = []string{"../a"} }),
		`path "a" is out of order`:         mod(func(h *PushHeader) { h.Paths = []string{"b", "a"} }),
		`path "b" is out of order`:         mod(func(h *PushHeader) { h.Paths = []string{"b", "b"} }),
		"paths: 10001":                     mod(func(h *PushHeader) { h.Paths = paths }),
		"rules: 10001":                     mod(func(h *PushHeader) { h.Rules = make([]Rule, MaxRules+1) }),
		"roster: 10001":                    mod(func(h *PushHeader) { h.Roster = roster }),
		"roster session 0":                 mod(func(h *PushHeader) { h.Roster = []Session{0} }),
		"roster session 7":                 mod(func(h *PushHeader) { h.Roster = []Session{7, 6, 7} }),
		"pattern: 4097":                    mod(func(h *PushHeader) { h.Rules = []Rule{{false, strings.Repeat("p", MaxPattern+1)}} }),
		"rule kind 2":                      rule,
		"max-delete: 4611686018427387905 ": mod(func(h *PushHeader) { h.MaxDelete = 1<<62 + 1 }),
		"push header of 153601 bytes":      make([]byte, MaxHeaderLen+1),
	})
}

func randomBatch(r *rand.Rand) Batch {
	own := []Owner{{}, {ID: 0, Name: "root"}, {ID: 33, Name: "www-data"}, {ID: 1<<32 - 1, Name: strings.Repeat("o", MaxOwnerName)}, {ID: 1000}}
	b := Batch{Number: r.Uint32(), First: r.Uint32() >> 1}
	for _, p := range randomPaths(r, size(r, 1, 200)) {
		b.Entries = append(b.Entries, randomEntry(r, p, own))
	}
	return b
}

func randomEntry(r *rand.Rand, path string, own []Owner) Entry {
	e := Entry{Path: path, Type: EntryRegular + EntryType(r.IntN(9))}
	if path == "." {
		e.Type = EntryDirectory
	}
	if e.Type == EntryHardlink {
		if e.Link = path[:len(path)-1]; ValidPath(e.Link) {
			return e
		}
		e.Link, e.Type = "", EntryFIFO
	}
	e.Flags = uint8(r.Uint32()) & EntryLinked
	if e.Type == EntryDirectory {
		e.Flags = uint8(r.Uint32()) & (EntryLinked<<1 - 1)
	}
	if e.Type >= EntryAbsent {
		return e
	}
	e.Mode, e.User, e.Group = r.Uint32()&MaxMode, own[r.IntN(len(own))], own[r.IntN(len(own))]
	e.Sec, e.Nsec = int64(r.Uint64()), uint32(r.IntN(1e9))
	switch e.Type {
	case EntryRegular:
		if e.Size = number(r, 1<<63-1); e.Size > 1 && chance(r, 3) {
			e.Holes = 1 + r.Uint64N(e.Size-1)
		}
		if e.HasSum = chance(r, 3); e.HasSum {
			e.Sum = r.Uint64()
		}
	case EntrySymlink:
		e.Link = "../" + word(r, 0, 200)
	case EntryChar, EntryBlock:
		e.Rdev = number(r, 1<<64-1)
	}
	if chance(r, 5) {
		for i := range 1 + size(r, 0, 10) {
			e.Xattrs = append(e.Xattrs, Xattr{fmt.Sprintf("user.%03d%s", i, word(r, 0, 100)), append([]byte(nil), octets(r, 0, 300)...)})
		}
	}
	return e
}

func TestBatch(t *testing.T) {
	root, www := Owner{0, "root"}, Owner{33, "w"}
	exact(t, "batch", Batch{Number: 1, First: 2, Entries: []Entry{
		{Path: "a", Type: EntryDirectory, Flags: EntryRecurse, Mode: 0o755, User: root, Group: www, Sec: -1, Nsec: 5},
		{Path: "a/f", Type: EntryRegular, Flags: EntryLinked, Mode: 0o644, User: www, Group: www, Sec: 1, Size: 300, HasSum: true, Sum: 6,
			Xattrs: []Xattr{{"user.x", []byte("v")}}},
		{Path: "a/g", Type: EntryHardlink, Link: "a/f"},
		{Path: "a/gone", Type: EntryAbsent},
		{Path: "b", Type: EntrySymlink, Mode: 0o777, User: root, Group: root, Link: "a"},
		{Path: "c", Type: EntryChar, Mode: 0o600, User: root, Group: root, Rdev: 0x103},
	}}, `00000001 00000002
		02  00 04 726f6f74  21 01 77
		06
		02 01  00 01 61  ed03 00 01 ffffffffffffffff 00000005
		01 38  01 02 2f66  a403 01 01 0000000000000001 00000000 ac02 0000000000000006 01 06 757365722e78 01 76
		04 00  02 01 67  03 612f66
		08 00  03 03 6f6e65
		03 00  00 01 62  ff03 00 00 0000000000000000 00000000 01 61
		06 00  00 01 63  8003 00 00 0000000000000000 00000000 8302`)
}

func TestBatchRefuses(t *testing.T) {
	file := func(p string) Entry { return Entry{Path: p, Type: EntryRegular} }
	of := func(es ...Entry) Batch { return Batch{Entries: es} }
	attr := func(xs ...Xattr) Batch { e := file("f"); e.Xattrs = xs; return of(e) }
	mod := func(f func(*Entry)) Batch { e := file("f"); f(&e); return of(e) }
	many := make([]Entry, MaxBatch+1)
	for i := range many {
		many[i] = file(fmt.Sprintf("%04d", i))
	}
	xs := make([]Xattr, MaxXattrs+1)
	for i := range xs {
		xs[i] = Xattr{Name: fmt.Sprintf("%04d", i)}
	}
	value := func(name string, n int) Xattr { return Xattr{name, make([]byte, n)} }
	most := []Xattr{value("a", MaxXattrValue), value("b", MaxXattrValue), value("c", MaxXattrBytes-2*MaxXattrValue-3*6)}
	over := append(most[:2:2], value("c", len(most[2].Value)+1))
	some := mod(func(e *Entry) { e.Flags = EntrySomeXattrs })
	accepted(t, "batch", of(many[:MaxBatch]...), attr(xs[:MaxXattrs]...), attr(most...), some, Batch{First: 1<<32 - 2, Entries: []Entry{file("f")}})
	long := strings.Repeat("n", MaxComponent)
	refused(t, "batch", map[string]any{
		"no entries":                        of(),
		"entries: 1025":                     of(many...),
		"entry numbers overflow":            Batch{First: 1<<32 - 1, Entries: []Entry{file("f")}},
		`path "b" does not come after "b"`:  of(file("b"), file("b")),
		`path "a" does not come after "b"`:  of(file("b"), file("a")),
		`"a/x" does not come after "a!"`:    of(file("a!"), file("a/x")),
		`path "/etc"`:                       of(file("/etc")),
		`path "a/../b"`:                     of(file("a/../b")),
		`path "a//b"`:                       of(file("a//b")),
		`path "a\x00b"`:                     of(file("a\x00b")),
		`path ".makuo-stage/x"`:             of(file(".makuo-stage/x")),
		`path "` + long:                     of(file(long + "n")),
		"path: 4096 is over":                of(file(strings.Repeat("n/", 2048))),
		"entry type 0":                      mod(func(e *Entry) { e.Type = 0 }),
		"entry type 10":                     mod(func(e *Entry) { e.Type = 10 }),
		"entry of type 8 with flags 0x80":   mod(func(e *Entry) { e.Type, e.Flags = EntryAbsent, EntrySomeXattrs }),
		"entry of type 4 with flags 0x80":   mod(func(e *Entry) { e.Type, e.Flags, e.Link = EntryHardlink, EntrySomeXattrs, "a" }),
		"5 bytes of holes in a file of 5":   mod(func(e *Entry) { e.Size, e.Holes = 5, 5 }),
		"entry of type 3 with flags 0x40":   mod(func(e *Entry) { e.Type, e.Link, e.Holes = EntrySymlink, "a", 1 }),
		"entry of type 1 with flags 0x1":    mod(func(e *Entry) { e.Flags = EntryRecurse }),
		"entry of type 3 with flags 0x10":   mod(func(e *Entry) { e.Type, e.HasSum = EntrySymlink, true }),
		"entry of type 4 with flags 0x8":    mod(func(e *Entry) { e.Type, e.Flags, e.Link = EntryHardlink, EntryLinked, "a" }),
		"mode: 4096 is over":                mod(func(e *Entry) { e.Mode = MaxMode + 1 }),
		"mtime of 1000000000 ns":            mod(func(e *Entry) { e.Nsec = 1e9 }),
		"size: 9223372036854775808 is over": mod(func(e *Entry) { e.Size = 1 << 63 }),
		`symbolic link to ""`:               mod(func(e *Entry) { e.Type = EntrySymlink }),
		`symbolic link to "a\x00"`:          mod(func(e *Entry) { e.Type, e.Link = EntrySymlink, "a\x00" }),
		`hard link "f" to "g"`:              mod(func(e *Entry) { e.Type, e.Link = EntryHardlink, "g" }),
		`hard link "f" to "../a"`:           mod(func(e *Entry) { e.Type, e.Link = EntryHardlink, "../a" }),
		"owner name: 256 is over":           mod(func(e *Entry) { e.User.Name = strings.Repeat("o", MaxOwnerName+1) }),
		"xattrs: 9363 is over":              attr(xs...),
		`xattr name "b"`:                    attr(Xattr{Name: "b"}, Xattr{Name: "b"}),
		`xattr name "a"`:                    attr(Xattr{Name: "b"}, Xattr{Name: "a"}),
		`xattr name ""`:                     attr(Xattr{}),
		"xattr value: 65537 is over":        attr(value("a", MaxXattrValue+1)),
		"more than 143360 bytes of xattrs":  attr(over...),
		"xattr name: 256 is over":           attr(Xattr{Name: strings.Repeat("x", MaxXattrName+1)}),
	})
	root := of(Entry{Path: ".", Type: EntryRegular})
	refused(t, "batch", map[string]any{"entry of type 1 with flags 0x0": root})
}

// One value has one encoding: nothing is shared less than it could be, and
// owners are listed once, in order of first use, none unused.
func TestBatchCanonical(t *testing.T) {
	const attrs = "00 00 0000000000000000 00000000 00" // mode 0, owner 0; to be completed per case
	head := "00000000 00000000 "
	refused(t, "batch", map[string]any{
		`"ab" shares more`:         unhex(t, head+"01 00 00 02 01 00 00 01 61 00 "+attrs+" 01 00 00 02 6162 00 "+attrs),
		"1 of 2 owners are used":   unhex(t, head+"02 00 00 01 00 01 01 00 00 01 61 00 "+attrs),
		"owner 1 before 0":         unhex(t, head+"02 00 00 01 00 01 01 00 00 01 61 00 01 00 0000000000000000 00000000 00"),
		"owner 1 is a repetition":  unhex(t, head+"02 00 00 00 00 01 01 00 00 01 61 00 00 01 0000000000000000 00000000 00"),
		"owner 3 of 1":             unhex(t, head+"01 00 00 01 01 00 00 01 61 00 03 00 0000000000000000 00000000 00"),
		"empty list of xattrs":     unhex(t, head+"01 00 00 01 01 20 00 01 61 00 "+attrs+"00"),
		"owners: 2049 is over the": unhex(t, head+"8110"),
		"shared path: 2 is over":   unhex(t, head+"01 00 00 02 01 00 00 01 61 00 "+attrs+" 01 00 02 01 62 00 "+attrs),
	})
}

func randomPieces(r *rand.Rand) pieces {
	var ps pieces
	for range size(r, 0, 30) {
		p := Piece{Type: PieceWhole + PieceType(r.IntN(5)), Entry: r.Uint32()}
		switch p.Type {
		case PieceWhole:
			p.Data = octets(r, 0, 5000)
		case PiecePart:
			p.Attempt, p.Data = uint8(r.Uint32()), octets(r, 1, 5000)
			p.Offset = number(r, 1<<62)
			p.Hole = r.Uint64N(p.Offset + 1)
		case PieceEnd:
			p.Attempt, p.Size, p.Hash = uint8(r.Uint32()), number(r, 1<<63-1), r.Uint64()
		case PieceVoid:
			p.Attempt = uint8(r.Uint32())
		}
		ps = append(ps, p)
	}
	return ps
}

func TestPieces(t *testing.T) {
	exact(t, "pieces", pieces{{Type: PieceWhole, Entry: 300, Data: []byte("hi")}, {Type: PiecePart, Entry: 1, Attempt: 2, Offset: 128, Hole: 3, Data: []byte("x")},
		{Type: PieceEnd, Entry: 1, Attempt: 2, Size: 129, Hash: 7}, {Type: PieceVoid, Entry: 1, Attempt: 2}, {Type: PieceFail, Entry: 4}},
		"01 ac02 02 6869  02 01 02 8001 03 01 78  03 01 02 8101 0000000000000007  04 01 02  05 04")
	const top = 1<<63 - 1
	widest := Piece{Type: PiecePart, Entry: 1<<32 - 1, Attempt: 255, Offset: top - MaxContent, Hole: top - MaxContent, Data: make([]byte, MaxContent)}
	if n := len(widest.Append(nil)) - MaxContent; n > PieceOverhead {
		t.Errorf("%d bytes beside the data", n)
	}
	accepted(t, "pieces", pieces{widest}, pieces{{Type: PiecePart, Offset: top - 1, Data: []byte{1}}})
	refused(t, "pieces", map[string]any{
		"piece type 0":        []byte{0, 0},
		"piece type 6":        []byte{6, 0},
		"part of 0 bytes":     pieces{{Type: PiecePart}},
		"part of 1 bytes at ": pieces{{Type: PiecePart, Offset: top, Data: []byte{1}}},
		"hole of 2 bytes ":    pieces{{Type: PiecePart, Offset: 1, Hole: 2, Data: []byte{1}}},
		"content: 196609":     pieces{{Type: PieceWhole, Data: make([]byte, MaxContent+1)}},
		"size: 9223372036854": pieces{{Type: PieceEnd, Size: 1 << 63}},
		"entry: 4294967296 ":  append([]byte{5}, binary.AppendUvarint(nil, 1<<32)...),
	})
}

func TestHashes(t *testing.T) {
	var a, b, none FileHash
	a.Add(0, 1)
	a.Add(100, 2)
	b.Add(100, 2)
	b.Add(0, 1)
	if a.Sum() == b.Sum() || a.Sum() == none.Sum() || none.Sum() != 0xef46db3751d8e999 {
		t.Errorf("%x %x %x", a.Sum(), b.Sum(), none.Sum())
	}
	if x, y := ChainDigest(ChainDigest(0, []byte("a")), []byte("b")), ChainDigest(ChainDigest(0, []byte("b")), []byte("a")); x == y {
		t.Error("order of batches does not count")
	}
}

// EncodedSize is a bound, so that who fills batches by it never makes one
// that is too large.
func TestEncodedSize(t *testing.T) {
	r := rng(t)
	for range 300 {
		b := randomBatch(r)
		sum := 16
		for i := range b.Entries {
			sum += b.Entries[i].EncodedSize()
		}
		if n := len(b.Append(nil)); n > sum {
			t.Fatalf("%d bytes, %d foretold", n, sum)
		}
	}
}
