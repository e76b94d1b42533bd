package tree

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/cespare/xxhash/v2"

	"makuo/internal/fsroot"
	"makuo/protocol"
)

// linkTable knows the first names of the files of a manifest that have several
// names. No entry says how many are to come, so a push may hold a million of
// them to its end: a group takes two words, about 30 bytes in the map,
// and a file that stays one word, 11 to 22 bytes in the set.
//
// Paths are held by their hash. Two with the same one would take each other's
// group; Stage therefore checks what a group says against the plan, or against
// the file that is there, before it makes a link.
type linkTable struct {
	groups map[uint64]linkGroup // by the hash of the first path
	inodes inodeSet             // files with several names that stay

	// Of first names that could not be placed here, by the hash of the path:
	// what the file is, for the next name, and which one that became.
	failed map[uint64]*protocol.Entry
	moved  map[uint64]string
}

func (l *linkTable) init() {
	l.groups = make(map[uint64]linkGroup)
}

// linkGroup is what becomes of a first name: its kind, and below it where the
// replacement is in the plan, or the inode that stays.
type linkGroup uint64

const (
	linkNone   linkGroup = iota << 62 // no such name in the manifest
	linkFailed                        // nothing is at the first name that could be linked to
	linkKept                          // the file that is there stays
	linkStaged                        // a new one is staged

	linkKind = linkStaged
)

func (g linkGroup) kind() linkGroup { return g & linkKind }

// offset returns where the step of a staged first name is in the plan.
func (g linkGroup) offset() int64 { return int64(g &^ linkKind) }

// keeps reports whether st is the file that stays.
func (g linkGroup) keeps(st *fsroot.Stat) bool {
	return st != nil && g == linkKept|linkGroup(inodeOf(st))&^linkKind
}

// get returns the group of a first path.
func (l *linkTable) get(path string) linkGroup { return l.groups[xxhash.Sum64String(path)] }

// fail notes that e can't be placed, if it is a first name. Another name of the
// file may become the first.
func (l *linkTable) fail(e *protocol.Entry) {
	if e.Flags&protocol.EntryLinked == 0 {
		return
	}
	path := xxhash.Sum64String(e.Path)
	l.groups[path] = linkFailed
	if e.Type >= protocol.EntryAbsent {
		return
	}
	if l.failed == nil {
		l.failed = make(map[uint64]*protocol.Entry)
	}
	first := *e
	first.Xattrs = slices.Clone(e.Xattrs)
	for i, x := range first.Xattrs { // may lie in what e was parsed from
		first.Xattrs[i].Value = bytes.Clone(x.Value)
	}
	l.failed[path] = &first
}

// succeed makes another name the first one of a group whose own has failed.
func (l *linkTable) succeed(first, path string) {
	if l.moved == nil {
		l.moved = make(map[uint64]string)
	}
	h := xxhash.Sum64String(first)
	l.moved[h] = path
	delete(l.failed, h)
}

// first returns the name that is the first one here.
func (l *linkTable) first(path string) string {
	if to, ok := l.moved[xxhash.Sum64String(path)]; ok {
		return to
	}
	return path
}

func (l *linkTable) keep(path string, st *fsroot.Stat) {
	l.groups[xxhash.Sum64String(path)] = linkKept | linkGroup(inodeOf(st))&^linkKind
}

func (l *linkTable) stage(path string, off int64) {
	l.groups[xxhash.Sum64String(path)] = linkStaged | linkGroup(off)&^linkKind
}

// taken reports whether an entry has the file of st already, and notes it.
func (l *linkTable) taken(st *fsroot.Stat) bool { return !l.inodes.add(inodeOf(st)) }

// inode names a file by the hash of its device and number.
type inode uint64

func inodeOf(st *fsroot.Stat) inode {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], st.Dev)
	binary.LittleEndian.PutUint64(b[8:], st.Ino)
	return inode(xxhash.Sum64(b[:]))
}

// inodeSet is a set with linear probing: a map of keys alone takes twice as
// much. Zero is a free slot, and stands for no file.
type inodeSet struct {
	slots []inode // a power of two, three quarters full at most
	n     int
}

// add reports whether i is new.
func (s *inodeSet) add(i inode) bool {
	i = max(i, 1)
	if 4*(s.n+1) > 3*len(s.slots) {
		old := s.slots
		s.slots = make([]inode, max(64, 2*len(old)))
		for _, o := range old {
			if o != 0 {
				*s.slot(o) = o
			}
		}
	}
	at := s.slot(i)
	if *at == i {
		return false
	}
	*at = i
	s.n++
	return true
}

// slot returns where i is, or the free place where it belongs.
func (s *inodeSet) slot(i inode) *inode {
	mask := len(s.slots) - 1
	for at := int(i) & mask; ; at = (at + 1) & mask {
		if s.slots[at] == 0 || s.slots[at] == i {
			return &s.slots[at]
		}
	}
}
