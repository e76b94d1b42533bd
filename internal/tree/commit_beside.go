package tree

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"makuo/internal/fsroot"
	"makuo/protocol"
)

// Within one file system there are borders that rename can't cross: into a
// btrfs subvolume, into a directory of another quota project. What is staged
// for the other side is copied there, beside its target and under a name of its
// own, and renamed when it is complete. The staged one stays to the end of the
// commit: who repeats it removes what was begun, and copies again.

// errBorder: the kernel moves nothing from the stage to the target.
var errBorder = errors.New("lies across a border that rename can't cross (a subvolume, a quota project)")

// borderHook, if set, says which paths lie across a border. For tests.
var borderHook func(path string) bool

func border(path string) error {
	if hook := borderHook; hook != nil && hook(path) {
		return syscall.EXDEV
	}
	return nil
}

func isBorder(err error) bool { return errors.Is(err, syscall.EXDEV) }

// noteName names the link in the stage that says which directory was made
// beside the target of an entry.
func noteName(entry uint32) string { return "d" + strconv.FormatUint(uint64(entry), 16) }

func (c *committer) besideName(s *step) string {
	return protocol.BesidePrefix + c.t.stage.path + "-" + strconv.FormatUint(uint64(s.entry), 16)
}

// besides is a file with several names that was copied across a border.
type besides struct {
	path string
	is   ident
}

// beside puts a copy of what is staged for s in place of name in d. replaces: a
// directory takes the place of something else.
func (c *committer) beside(s *step, d *fsroot.Dir, name string, replaces bool) error {
	err := c.writable(d, func() error { return c.copyBeside(s, d, name, replaces) })
	var full syscall.Errno
	if errors.As(err, &full) && (full == syscall.ENOSPC || full == syscall.EDQUOT) {
		// The room beyond the border is not that of the member.
		return fmt.Errorf("%w, and a copy has no room there: %s", errBorder, full)
	}
	if err != nil && !isFatal(err) {
		return fmt.Errorf("%w, and is not copied: %w", errBorder, err)
	}
	return err
}

func (c *committer) copyBeside(s *step, d *fsroot.Dir, name string, replaces bool) error {
	if live, err := d.Lstat(name); err == nil && s.op == opTree && c.noted(s, &live) {
		return c.dropBeside(s, d) // by an earlier attempt
	}
	if err := c.dropBeside(s, d); err != nil {
		return err
	}
	if err := c.change("copy", s.path); err != nil {
		return err
	}
	st, err := c.makeBeside(s, d)
	if err == nil {
		err = c.change("rename copy", s.path)
	}
	if err == nil {
		err = c.renameBeside(s, d, name, &st, replaces)
	}
	if err != nil && !isFatal(err) {
		return join(err, c.dropBeside(s, d))
	}
	return err
}

// makeBeside makes the complete copy, on disk, under its own name.
func (c *committer) makeBeside(s *step, d *fsroot.Dir) (fsroot.Stat, error) {
	stage, staged, tmp := c.t.stage.dir, stagedName(s.entry), c.besideName(s)
	st, err := stage.Lstat(staged)
	if err != nil {
		return st, err
	}
	cp := &copier{
		t: c.t, before: c.beyond, links: make(map[inode]besides), files: s.op != opTree,
		made: func(dir *fsroot.Dir) error { return c.note(s, dir) },
	}
	is, err := cp.copy(node{stage, staged}, node{d, tmp})
	if err == nil && s.op == opTree {
		err = c.t.m.Root.SyncFS()
	}
	if err != nil {
		return is, err
	}
	if c.beyond == nil {
		c.beyond = make(map[inode]besides)
	}
	from := joinPath(d.Path(), tmp)
	for i, b := range cp.links {
		b.path = s.path + strings.TrimPrefix(b.path, from)
		c.beyond[i] = b
	}
	return is, nil
}

// renameBeside gives the copy its name, if it is still the one that was made.
func (c *committer) renameBeside(s *step, d *fsroot.Dir, name string, is *fsroot.Stat, replaces bool) error {
	tmp := c.besideName(s)
	st, err := d.Lstat(tmp)
	if err != nil {
		return err
	}
	if made := identOf(is); !made.same(&st, c.t.otherBoot) {
		return errSwapped
	}
	if !replaces {
		if live, err := d.Lstat(name); err == nil && !st.IsDir() && live.Nlink > 1 && live.Ino == st.Ino && live.Dev == st.Dev {
			return d.Remove(tmp) // rename does nothing between two names of one file
		}
		return d.Rename(tmp, d, name)
	}
	err = fsroot.ErrUnsupported
	if !exchangeOff.Load() {
		err = d.Exchange(tmp, d, name)
	}
	switch {
	case err == nil:
		return d.Remove(tmp) // never a directory: one that came since stays
	case !errors.Is(err, fsroot.ErrUnsupported):
		return err
	}
	if err := d.Remove(name); err != nil {
		return err
	}
	return d.Rename(tmp, d, name)
}

// dropBeside removes what is under the name of the copy. Of a directory only
// the one that was noted goes with its contents: whoever owns d may have moved
// another one there.
func (c *committer) dropBeside(s *step, d *fsroot.Dir) error {
	tmp := c.besideName(s)
	st, err := d.Lstat(tmp)
	switch {
	case err != nil:
		return absentOK(err)
	case !st.IsDir():
		return absentOK(d.Remove(tmp))
	case c.noted(s, &st):
		return d.RemoveTree(tmp)
	}
	return absentOK(d.Rmdir(tmp))
}

// note makes it durable which directory lies beside the target of s.
func (c *committer) note(s *step, dir *fsroot.Dir) error {
	st, err := dir.LstatSelf()
	if err != nil {
		return err
	}
	stage, name := c.t.stage.dir, noteName(s.entry)
	if err := absentOK(stage.Remove(name)); err != nil {
		return err
	}
	if err := stage.Symlink(fmt.Sprintf("%d %d", st.Dev, st.Ino), name); err != nil {
		return err
	}
	return stage.Sync()
}

// noted reports whether st is the directory that was made for s.
func (c *committer) noted(s *step, st *fsroot.Stat) bool {
	text, err := c.t.stage.dir.Readlink(noteName(stageNumber(s)))
	if err != nil {
		return false
	}
	is := ident{mode: fsroot.TypeDir}
	if _, err := fmt.Sscanf(text, "%d %d", &is.dev, &is.ino); err != nil {
		return false
	}
	return is.same(st, c.t.otherBoot)
}

// dropLeft removes the copy of a step that is not done after all.
func (c *committer) dropLeft(s *step) {
	if s.op != opTree && s.op != opFile && s.op != opNode && s.op != opLink || s.has(stepInTree) {
		return
	}
	dir, _ := splitPath(s.path)
	if d, err := c.t.m.Root.Dir(dir); err == nil {
		// What stays is never pushed, and in nobody's way.
		_ = c.dropBeside(s, d)
		d.Close()
	}
}

// copier copies from the stage across a border.
type copier struct {
	t             *Target
	before, links map[inode]besides           // files with several names, of earlier copies and of this one
	files         bool                        // sync each file
	made          func(dir *fsroot.Dir) error // called once with the first directory, while it is empty
}

var errNotMade = errors.New("the copy beside it was changed while it was made")

// copy makes to a copy of from with all that it has, and returns what it is.
// Until it has all, only this user can reach it.
func (k *copier) copy(from, to node) (fsroot.Stat, error) {
	st, err := from.stat()
	if err != nil {
		return st, err
	}
	switch st.Type() {
	case fsroot.TypeDir:
		return k.copyDir(from, to, &st)
	case fsroot.TypeRegular:
		if st.Nlink < 2 {
			return k.copyFile(from, to, &st)
		}
		i := inodeOf(&st)
		if is, ok := k.link(i, to); ok {
			return is, nil
		}
		is, err := k.copyFile(from, to, &st)
		if err == nil {
			k.links[i] = besides{joinPath(to.d.Path(), to.name), identOf(&is)}
		}
		return is, err
	case fsroot.TypeSymlink:
		var target string
		if target, err = from.d.Readlink(from.name); err == nil {
			err = to.d.Symlink(target, to.name)
		}
	default:
		err = to.d.Mknod(to.name, st.Type()|0o600, st.Rdev)
	}
	if err != nil {
		return st, err
	}
	return k.finish(from, to, &st, nil)
}

// link makes to another name of the copy of i, if there is one on this side.
func (k *copier) link(i inode, to node) (is fsroot.Stat, ok bool) {
	first, ok := k.links[i]
	if !ok {
		if first, ok = k.before[i]; !ok {
			return is, false
		}
	}
	dir, name := splitPath(first.path)
	from, err := k.t.m.Root.OpenDir(dir)
	if err != nil {
		return is, false
	}
	defer from.Close()
	if to.d.Link(from, name, to.name) != nil {
		return is, false
	}
	if is, err = to.d.Lstat(to.name); err == nil && first.is.same(&is, false) {
		return is, true
	}
	_ = to.d.Remove(to.name) // else making the copy says that the name is taken
	return is, false
}

func (k *copier) copyDir(from, to node, st *fsroot.Stat) (is fsroot.Stat, err error) {
	if err := to.d.Mkdir(to.name, 0o700); err != nil {
		return is, err
	}
	dst, err := to.d.OpenChild(to.name)
	if err != nil {
		return is, err
	}
	defer dst.Close()
	if is, err = dst.LstatSelf(); err != nil {
		return is, err
	}
	there, err := dst.Names()
	if err != nil {
		return is, err
	}
	if is.UID != uint32(os.Geteuid()) || is.Perm()&0o077 != 0 || there.Len() > 0 {
		return is, errNotMade
	}
	if made := k.made; made != nil {
		k.made = nil
		if err := made(dst); err != nil {
			return is, err
		}
	}
	src, err := from.d.OpenChild(from.name)
	if err != nil {
		return is, err
	}
	defer src.Close()
	names, err := src.Names()
	if err != nil {
		return is, err
	}
	for i := range names.Len() {
		name := names.Name(i)
		if _, err := k.copy(node{src, name}, node{dst, name}); err != nil {
			return is, fmt.Errorf("%q: %w", name, err)
		}
	}
	if err := k.attributes(from, node{d: dst}, st); err != nil {
		return is, err
	}
	return dst.LstatSelf()
}

func (k *copier) copyFile(from, to node, st *fsroot.Stat) (is fsroot.Stat, err error) {
	src, err := from.d.OpenRead(from.name)
	if err != nil {
		return is, err
	}
	defer src.Close()
	dst, err := to.d.Create(to.name, 0o600)
	if err != nil {
		return is, err
	}
	defer dst.Close()
	if err := copyContent(dst, src, st.Size); err != nil {
		return is, err
	}
	if is, err = fsroot.StatFile(dst); err != nil {
		return is, err
	}
	made := identOf(&is)
	if is, err = k.finish(from, to, st, &made); err == nil && k.files {
		err = dst.Sync()
	}
	return is, err
}

// finish gives the new name its attributes, on a descriptor of just what was
// made.
func (k *copier) finish(from, to node, st *fsroot.Stat, made *ident) (is fsroot.Stat, err error) {
	self, err := to.d.OpenPath(to.name)
	if err != nil {
		return is, err
	}
	defer self.Close()
	if is, err = self.LstatSelf(); err != nil {
		return is, err
	}
	if is.Type() != st.Type() || is.UID != uint32(os.Geteuid()) || made != nil && !made.same(&is, false) {
		return is, errNotMade
	}
	if err := k.attributes(from, node{d: self}, st); err != nil {
		return is, err
	}
	return self.LstatSelf()
}

// attributes gives to what from has, in the order of apply.
func (k *copier) attributes(from, to node, st *fsroot.Stat) error {
	is, err := to.stat()
	if err != nil {
		return err
	}
	if is.UID != st.UID || is.GID != st.GID {
		if err := to.chown(int(st.UID), int(st.GID)); err != nil {
			return err
		}
	}
	if err := k.xattrs(from, to, st); err != nil {
		return err
	}
	if !st.IsSymlink() {
		if err := to.chmod(st.Perm()); err != nil {
			return err
		}
	}
	return to.utimes(st.Sec, st.Nsec)
}

// xattrs copies the attributes that are carried, and takes away the ACLs that
// the directory gave. Others are what the place gives to all that is made there.
func (k *copier) xattrs(from, to node, st *fsroot.Stat) error {
	wanted, err := from.listXattr()
	if err != nil && !errors.Is(err, fsroot.ErrUnsupported) {
		return err
	}
	there, err := to.listXattr()
	if err != nil && !errors.Is(err, fsroot.ErrUnsupported) {
		return err
	}
	typ := protocol.EntryRegular
	switch {
	case st.IsDir():
		typ = protocol.EntryDirectory
	case !st.IsRegular():
		typ = protocol.EntrySymlink
	}
	var set []protocol.Xattr
	for _, name := range wanted {
		if k.t.hold.kindOf(name, typ) == "" {
			continue
		}
		v, err := from.getXattr(name)
		if err != nil {
			return err
		}
		set = append(set, protocol.Xattr{Name: name, Value: v})
	}
	for _, name := range there {
		if (name != aclAccess && name != aclDefault) || slices.Contains(wanted, name) {
			continue
		}
		if err := to.removeXattr(name); err != nil && !errors.Is(err, fsroot.ErrNoXattr) {
			return err
		}
	}
	return inOrder(set, func(x protocol.Xattr) error { return k.t.hold.permitted(x.Name, to.setXattr(x.Name, x.Value)) })
}

// copyContent shares the blocks where the file system can, and keeps holes.
func copyContent(dst, src *os.File, size int64) error {
	if cloneFile(dst, src) == nil {
		return nil
	}
	for off := int64(0); off < size; {
		var data, end int64
		err := fsroot.WithFD(src, "seek", func(fd int) (err error) {
			data, end, err = nextData(fd, off)
			return err
		})
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			data, end = off, size // no holes here that could be told
		}
		end = min(end, size)
		if _, err := src.Seek(data, io.SeekStart); err != nil {
			return err
		}
		if _, err := dst.Seek(data, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.CopyN(dst, src, end-data); err != nil {
			return err
		}
		off = end
	}
	return dst.Truncate(size)
}
