package tree

import (
	"encoding/binary"
	"errors"

	"makuo/internal/fsroot"
)

// ident is what a step of a plan was judged by: between compare and commit the
// name may come to lead to something else, which nobody judged.
type ident struct {
	dev, ino uint64
	mode     uint32 // 0: not known
	size     int64
	sec      int64 // mtime
	csec     int64
	nsec     uint32
	cnsec    uint32
}

func identOf(st *fsroot.Stat) ident {
	return ident{dev: st.Dev, ino: st.Ino, mode: st.Mode, size: st.Size, sec: st.Sec, nsec: st.Nsec, csec: st.CSec, cnsec: st.CNsec}
}

func (i *ident) known() bool { return i.mode != 0 }

// errSwapped is about a path at which something else is, or that was changed,
// since it was compared.
var errSwapped = errors.New("was changed here during the push; push again")

// same reports whether st is the entry that was judged, whatever became of its
// content and attributes. What is not known is the same.
func (i *ident) same(st *fsroot.Stat, otherBoot bool) bool {
	if !i.known() {
		return true
	}
	return i.ino == st.Ino && (otherBoot || i.dev == st.Dev) && i.mode&fsroot.TypeMask == st.Type()
}

// untouched reports whether st is the entry that was judged and nothing about
// it changed since. The change time, which nobody chooses, tells; but the links
// that a push makes or removes move that of a file with several names: of such
// a one size and time must be what they were.
func (i *ident) untouched(st *fsroot.Stat, links, otherBoot bool) bool {
	if !i.known() {
		return true
	}
	if !i.same(st, otherBoot) || i.size != st.Size {
		return false
	}
	if links {
		return i.sec == st.Sec && i.nsec == st.Nsec
	}
	return i.csec == st.CSec && i.cnsec == st.CNsec
}

// What a step knows: bits of the byte before its identities.
const (
	knowsDir = 1 << iota
	knowsWas
)

// appendIdents codes the identities of a step: a byte that says which follow;
// of the directory device and inode; of what is there all that ident has.
func appendIdents(dst []byte, dir, was *ident) []byte {
	at := len(dst)
	dst = append(dst, 0)
	if dir.known() {
		dst[at] |= knowsDir
		dst = binary.AppendUvarint(dst, dir.dev)
		dst = binary.AppendUvarint(dst, dir.ino)
	}
	if was.known() {
		dst[at] |= knowsWas
		for _, v := range [...]uint64{was.dev, was.ino, uint64(was.mode), uint64(was.nsec), uint64(was.cnsec)} {
			dst = binary.AppendUvarint(dst, v)
		}
		for _, v := range [...]int64{was.size, was.sec, was.csec} {
			dst = binary.AppendVarint(dst, v)
		}
	}
	return dst
}

// parseIdents takes the identities off b, and returns what follows them.
func parseIdents(b []byte, dir, was *ident) (rest []byte, err error) {
	if len(b) == 0 || b[0]&^(knowsDir|knowsWas) != 0 {
		return nil, errStep
	}
	knows, b := b[0], b[1:]
	if knows&knowsDir != 0 {
		var v [2]uint64
		if b, err = parseUvarints(b, v[:]); err != nil {
			return nil, err
		}
		*dir = ident{dev: v[0], ino: v[1], mode: fsroot.TypeDir}
	}
	if knows&knowsWas == 0 {
		return b, nil
	}
	var v [5]uint64
	if b, err = parseUvarints(b, v[:]); err != nil {
		return nil, err
	}
	var t [3]int64
	for i := range t {
		x, k := binary.Varint(b)
		if k <= 0 {
			return nil, errStep
		}
		t[i], b = x, b[k:]
	}
	if v[2] == 0 || max(v[2], v[3], v[4]) > 1<<32-1 {
		return nil, errStep
	}
	*was = ident{dev: v[0], ino: v[1], mode: uint32(v[2]), nsec: uint32(v[3]), cnsec: uint32(v[4]), size: t[0], sec: t[1], csec: t[2]}
	return b, nil
}

func parseUvarints(b []byte, v []uint64) ([]byte, error) {
	for i := range v {
		x, k := binary.Uvarint(b)
		if k <= 0 {
			return nil, errStep
		}
		v[i], b = x, b[k:]
	}
	return b, nil
}

// self returns the identity of the directory of f, in which names change. What
// is new and lies in the stage needs none.
func (f *frame) self() (ident, error) {
	if f.inTree || f.dir == nil || f.held.known() {
		return f.held, nil
	}
	st, err := f.dir.LstatSelf()
	if err == nil {
		f.held, f.fixed = identOf(&st), st.Immutable
		f.appends = st.AppendOnly
	}
	return f.held, err
}

var (
	errImmutable    = errors.New("is immutable here (chattr +i) and can't be changed, replaced or deleted")
	errAppendOnly   = errors.New("is append-only here (chattr +a) and can't be changed, replaced or deleted")
	errImmutableDir = errors.New("lies in a directory that is immutable here (chattr +i)")
	errAppendDir    = errors.New("lies in a directory that is append-only here (chattr +a), where nothing can be replaced or deleted")
)

// fixed returns the error of an entry that nobody can change.
func fixed(st *fsroot.Stat) error {
	switch {
	case st.Immutable:
		return errImmutable
	case st.AppendOnly:
		return errAppendOnly
	}
	return nil
}

// changeable reports whether names can be made in f, or with st, if that is
// something, replaced or deleted: what can't be is found before the commit.
func (f *frame) changeable(st *fsroot.Stat) error {
	if _, err := f.self(); err != nil {
		return err
	}
	switch {
	case f.fixed:
		return errImmutableDir
	case st == nil:
		return nil
	case f.appends:
		return errAppendDir
	}
	return fixed(st)
}
