package tree

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/cespare/xxhash/v2"

	"makuo/internal/fsroot"
	"makuo/protocol"
)

// node is one name in an open directory, or with no name that directory.
type node struct {
	d    *fsroot.Dir
	name string
}

func (n node) stat() (fsroot.Stat, error) {
	if n.name == "" {
		return n.d.LstatSelf()
	}
	return n.d.Lstat(n.name)
}

func (n node) chmod(perm uint32) error {
	if n.name == "" {
		return n.d.ChmodSelf(perm)
	}
	return n.d.Chmod(n.name, perm)
}

// chown leaves -1 as it is.
func (n node) chown(uid, gid int) error {
	if n.name == "" {
		return n.d.ChownSelf(uid, gid)
	}
	return n.d.Chown(n.name, uid, gid)
}

func (n node) utimes(sec int64, nsec uint32) error {
	if n.name == "" {
		return n.d.UtimesSelf(sec, nsec)
	}
	return n.d.Utimes(n.name, sec, nsec)
}

func (n node) listXattr() ([]string, error) {
	if n.name == "" {
		return n.d.ListXattrSelf()
	}
	return n.d.ListXattr(n.name)
}

func (n node) getXattr(attr string) ([]byte, error) {
	if n.name == "" {
		return n.d.GetXattrSelf(attr)
	}
	return n.d.GetXattr(n.name, attr)
}

func (n node) setXattr(attr string, v []byte) error {
	if n.name == "" {
		return n.d.SetXattrSelf(attr, v)
	}
	return n.d.SetXattr(n.name, attr, v)
}

func (n node) removeXattr(attr string) error {
	if n.name == "" {
		return n.d.RemoveXattrSelf(attr)
	}
	return n.d.RemoveXattr(n.name, attr)
}

// holdable is what this member's privileges and file system can hold; nothing
// else is compared or set, so that unchanged stays unchanged.
type holdable struct {
	t      *Target
	root   bool
	me     uint32
	groups map[uint32]bool // not root: ours

	// Of the goroutine that compares: who was said not to be given anything.
	saidUsers, saidGroups map[uint32]bool
	timesTried            bool // in vain, if the module knows no times

	mu    sync.Mutex
	kinds map[string]bool             // kinds of attributes that the file system has
	fits  map[string]map[string]error // by shape, which attributes do not fit
}

func (h *holdable) init(t *Target) {
	h.me = uint32(os.Geteuid())
	h.t, h.root, h.groups, h.kinds = t, t.root, map[uint32]bool{uint32(os.Getegid()): true}, make(map[string]bool)
	gs, err := os.Getgroups()
	if err != nil {
		return // our own group is known
	}
	for _, g := range gs {
		h.groups[uint32(g)] = true
	}
}

// mode returns the mode that e is to have as what st is, and the bits of it that
// can be held. Setuid and setgid lend the rights of an owner: where the owner
// of the entry can't be set they are left off, and taken off.
func (h *holdable) mode(e *protocol.Entry, st *fsroot.Stat) (mode, mask uint32) {
	mode, mask = e.Mode, protocol.MaxMode
	if h.root && !h.t.m.may.refusesOwners() {
		return mode, mask
	}
	uid, gid := h.owner(e, st)
	if e.Type != protocol.EntryDirectory {
		if uid != h.t.m.accounts.userID(e.User) {
			mode &^= 0o4000
		}
		if gid != h.t.m.accounts.groupID(e.Group) {
			mode &^= 0o2000
		}
		if mode != e.Mode {
			h.t.warn("setid", e.Path, "setuid or setgid is left off, here and wherever the owner or group can't be set")
		}
	}
	if !h.root && !h.groups[gid] && (mode&0o2000 != 0 || e.Type == protocol.EntryDirectory) {
		mask &^= 0o2000
	}
	return mode, mask
}

// modeDiffers reports whether the mode of st has to be changed.
func (h *holdable) modeDiffers(e *protocol.Entry, st *fsroot.Stat) bool {
	mode, mask := h.mode(e, st)
	return (st.Perm()^mode)&mask != 0
}

const (
	aclAccess  = "system.posix_acl_access"
	aclDefault = "system.posix_acl_default"
)

// kindOf returns the kind of attribute that name is, "" if it is never carried.
func (h *holdable) kindOf(name string, typ protocol.EntryType) string {
	switch {
	case strings.HasPrefix(name, "user."):
		if typ == protocol.EntryRegular || typ == protocol.EntryDirectory {
			return "user."
		}
	case name == aclAccess:
		return aclAccess
	case name == aclDefault:
		if typ == protocol.EntryDirectory {
			return aclAccess
		}
	case name == "security.selinux", name == "security.ima", name == "security.evm":
	default:
		return privilegedKind(name)
	}
	return ""
}

// has reports whether the file system keeps attributes of a kind; where not,
// one warning says so.
func (h *holdable) has(kind string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if ok, known := h.kinds[kind]; known {
		return ok
	}
	name := kind
	if strings.HasSuffix(kind, ".") {
		name += "makuo"
	}
	ok := true
	if privilegedKind(kind) != "" && !h.t.m.may.may(kind) {
		h.kinds[kind] = false
		h.refused(kind)
		return false
	}
	if d, err := h.t.m.Root.OpenDir("."); err == nil {
		_, err = d.GetXattrSelf(name)
		ok = !errors.Is(err, fsroot.ErrUnsupported)
		d.Close()
	}
	h.kinds[kind] = ok
	if !ok {
		h.t.warn("xattr "+kind, "", fmt.Sprintf("the file system has no extended attributes %s*: they are left out", strings.TrimSuffix(kind, "_access")))
	}
	return ok
}

// refused says once that attributes of a privileged kind are left out.
func (h *holdable) refused(kind string) {
	if strings.HasSuffix(kind, ".") {
		kind += "*"
	}
	h.t.warn("xattr "+kind, "", fmt.Sprintf("extended attributes %s are left out: the daemon lacks the privilege to set them", kind))
}

// permitted passes an error of setting or removing attribute name on, unless it
// is the lack of a privilege: then attributes of the kind are left out from now.
func (h *holdable) permitted(name string, err error) error {
	kind := privilegedKind(name)
	if kind == "" || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	h.t.m.may.refuse(kind)
	h.mu.Lock()
	h.kinds[kind] = false
	h.mu.Unlock()
	h.refused(kind)
	return nil
}

// wanted returns the attributes of e that can be held here: those of kinds that
// are, and that fit.
func (h *holdable) wanted(e *protocol.Entry) []protocol.Xattr {
	xs := h.ofKinds(e)
	if bad := h.unfit(xs); bad != nil {
		xs = slices.DeleteFunc(xs, func(x protocol.Xattr) bool { return bad[x.Name] != nil })
	}
	return xs
}

// ofKinds returns the attributes of e of kinds that can be held here.
func (h *holdable) ofKinds(e *protocol.Entry) []protocol.Xattr {
	var xs []protocol.Xattr
	for _, x := range e.Xattrs {
		if k := h.kindOf(x.Name, e.Type); k != "" && h.has(k) {
			xs = append(xs, x)
		}
	}
	return xs
}

// removable reports whether an attribute that an entry lacks is taken away.
func (h *holdable) removable(name string, typ protocol.EntryType) bool {
	kind := h.kindOf(name, typ)
	return kind != "" && (privilegedKind(name) == "" || h.t.m.may.may(kind))
}

// granularities of file systems that are coarser than nanoseconds: NTFS,
// microseconds, exFAT, ext3 and HFS+, FAT.
var granularities = [...]int64{100, 1000, 1e7, 1e9, 2e9}

// sameCoarse is sameTime where nothing could be tried. The change time, which
// nobody chooses, shows how fine times are: on a file system with nanoseconds it
// is a multiple of neither second nor microsecond.
func sameCoarse(e *protocol.Entry, st *fsroot.Stat) bool {
	if e.Sec == st.Sec && e.Nsec == st.Nsec {
		return true
	}
	if d := e.Sec - st.Sec; d < 0 || d > 1 {
		return false
	}
	for _, g := range granularities {
		sec, nsec := floorTime(e.Sec, e.Nsec, g)
		csec, cnsec := floorTime(st.CSec, st.CNsec, g)
		if sec == st.Sec && nsec == st.Nsec && csec == st.CSec && cnsec == st.CNsec {
			return true
		}
	}
	return false
}

func floorTime(sec int64, nsec uint32, g int64) (int64, uint32) {
	if g >= 1e9 {
		n := g / 1e9
		return sec - ((sec%n)+n)%n, 0
	}
	return sec, nsec - nsec%uint32(g)
}

// sameContent reports whether st can stay and become e by attributes alone.
func (t *Target) sameContent(nd node, e *protocol.Entry, st *fsroot.Stat) (bool, error) {
	if st == nil || st.Type() != fileType(e.Type) {
		return false, nil
	}
	switch e.Type {
	case protocol.EntryRegular:
		if uint64(st.Size) != e.Size {
			return false, nil
		}
		if e.HasSum {
			sum, err := t.sumJudged(nd, st)
			return sum == e.Sum, err
		}
		return t.hold.sameTime(e, st), nil
	case protocol.EntrySymlink:
		target, err := nd.d.Readlink(nd.name)
		return target == e.Link, err
	case protocol.EntryChar, protocol.EntryBlock:
		return st.Rdev == e.Rdev, nil
	}
	return true, nil
}

func fileType(t protocol.EntryType) uint32 {
	switch t {
	case protocol.EntryRegular:
		return fsroot.TypeRegular
	case protocol.EntryDirectory:
		return fsroot.TypeDir
	case protocol.EntrySymlink:
		return fsroot.TypeSymlink
	case protocol.EntryFIFO:
		return fsroot.TypeFIFO
	case protocol.EntryChar:
		return fsroot.TypeChar
	case protocol.EntryBlock:
		return fsroot.TypeBlock
	}
	return 0
}

// sumJudged is sumOf for the file that st is of. If another one has its name by
// now, or it is being written, that is an error of the path.
func (t *Target) sumJudged(nd node, st *fsroot.Stat) (uint64, error) {
	sum, err := sumOf(nd.d, nd.name, &t.work)
	if err != nil {
		return 0, err
	}
	now, err := nd.stat()
	if id := identOf(st); err == nil && !id.untouched(&now, false, false) {
		err = errSwapped
	}
	return sum, err
}

// sumOf returns the xxhash64 of a regular file's content. It counts what it
// has read in work.
func sumOf(d *fsroot.Dir, name string, work *workCount) (uint64, error) {
	f, err := d.OpenRead(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var h xxhash.Digest
	h.Reset()
	buf := sumBuffers.Get().(*[256 << 10]byte)
	defer sumBuffers.Put(buf)
	if _, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(&h, work)}, struct{ io.Reader }{f}, buf[:]); err != nil {
		return 0, err
	}
	return h.Sum64(), nil
}

var sumBuffers = sync.Pool{New: func() any { return new([256 << 10]byte) }}

// differs reports whether attributes of what is there have to be changed. w, if
// any, is of the directory that it is in, and learns of it.
func (t *Target) differs(nd node, e *protocol.Entry, st *fsroot.Stat, w *plainWalk) (bool, error) {
	if e.Type != protocol.EntrySymlink && t.hold.modeDiffers(e, st) {
		return true, nil
	}
	if uid, gid := t.hold.owner(e, st); st.UID != uid || st.GID != gid {
		return true, nil
	}
	if !t.hold.sameTime(e, st) {
		return true, nil
	}
	if w != nil && len(e.Xattrs) == 0 && w.knows(st) {
		w.files++
		return false, nil
	}
	set, remove, err := t.xattrChanges(nd, e)
	if w != nil && err == nil && len(e.Xattrs)+len(set)+len(remove) == 0 {
		w.files++
	}
	return len(set)+len(remove) > 0, err
}

// xattrChanges returns what makes the attributes those of e.
func (t *Target) xattrChanges(nd node, e *protocol.Entry) (set []protocol.Xattr, remove []string, err error) {
	names, err := nd.listXattr()
	if err != nil || (len(names) == 0 && len(e.Xattrs) == 0) {
		return nil, nil, err
	}
	want := t.hold.wanted(e)
	for _, x := range want {
		if _, have := slices.BinarySearch(names, x.Name); have {
			v, err := nd.getXattr(x.Name)
			if err != nil && !errors.Is(err, fsroot.ErrNoXattr) {
				return nil, nil, err
			}
			if err == nil && bytes.Equal(v, x.Value) {
				continue
			}
		}
		set = append(set, x)
	}
	if e.Flags&protocol.EntrySomeXattrs != 0 {
		return set, nil, nil // what is not listed may be what could not be carried
	}
	for _, name := range names {
		kept := slices.ContainsFunc(want, func(x protocol.Xattr) bool { return x.Name == name })
		if !kept && t.hold.removable(name, e.Type) {
			remove = append(remove, name)
		}
	}
	return set, remove, nil
}

// xattrError is an error about attributes; "no space" means the attributes'
// own, not the disk's.
type xattrError struct{ error }

func (e xattrError) Unwrap() error { return e.error }

// apply gives what is there the attributes of e, in the order owner,
// attributes, mode, time, each only if it differs.
func (t *Target) apply(nd node, e *protocol.Entry, st *fsroot.Stat, mode uint32) error {
	owned := false
	if uid, gid := t.hold.owner(e, st); st.UID != uid || st.GID != gid {
		if err := t.give(uid, gid, false, nd.chown); err != nil {
			return err
		}
		owned = true // the kernel may have taken setuid and setgid away
	}
	changed, err := t.applyXattrs(nd, e, st)
	if err != nil {
		return err
	}
	if e.Type == protocol.EntrySymlink {
		return t.applyTime(nd, e, st)
	}
	mode &^= 0o070 &^ e.Mode // of an ACL that could not be set
	wanted, mask := t.hold.mode(e, st)
	mode &^= e.Mode &^ wanted
	if owned || changed || (st.Perm()^mode)&mask != 0 {
		if err := nd.chmod(mode); err != nil {
			return err
		}
	}
	return t.applyTime(nd, e, st)
}

func (t *Target) applyTime(nd node, e *protocol.Entry, st *fsroot.Stat) error {
	if st.Sec == e.Sec && st.Nsec == e.Nsec {
		return nil
	}
	return nd.utimes(e.Sec, e.Nsec)
}

// applyXattrs sets ACLs last: they may take away the right to set the others.
func (t *Target) applyXattrs(nd node, e *protocol.Entry, st *fsroot.Stat) (changed bool, err error) {
	set, remove, err := t.xattrChanges(nd, e)
	if err != nil || len(set)+len(remove) == 0 {
		return false, err
	}
	if !t.root && st.Perm()&0o200 == 0 && !st.IsSymlink() {
		// Needs the right to write, which apply takes away again.
		if err := nd.chmod(st.Perm() | 0o200); err != nil {
			return false, err
		}
	}
	for _, name := range remove {
		if err := t.hold.permitted(name, nd.removeXattr(name)); err != nil && !errors.Is(err, fsroot.ErrNoXattr) {
			return false, xattrError{err}
		}
	}
	return true, inOrder(set, func(x protocol.Xattr) error { return t.setAttr(e, x, nd.setXattr) })
}

// inOrder calls set for each attribute, ACLs last.
func inOrder(xs []protocol.Xattr, set func(x protocol.Xattr) error) error {
	for _, acls := range [...]bool{false, true} {
		for _, x := range xs {
			if (x.Name == aclAccess || x.Name == aclDefault) != acls {
				continue
			}
			if err := set(x); err != nil {
				return err
			}
		}
	}
	return nil
}
