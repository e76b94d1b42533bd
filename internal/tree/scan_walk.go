package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"makuo/internal/fsroot"
	"makuo/protocol"
)

// entry adds name in parent, and what is below it. typ is what the listing
// says of it, 0 if nothing: a directory is opened first and examined through
// its descriptor, so that what is described is what is walked.
func (s *scan) entry(parent *fsroot.Dir, name, path string, typ uint32) error {
	if s.m.isOwn(path) { // the members keep what they have there
		return s.add(&protocol.Entry{Path: path, Type: protocol.EntryFailed})
	}
	var st fsroot.Stat
	if typ != fsroot.TypeDir {
		if err := parent.Stat(name, &st); err != nil {
			return s.unexamined(path, err)
		}
		typ = st.Type()
	}
	if s.spec.Filter.Excluded(path[s.anchor:], typ == fsroot.TypeDir) {
		return nil
	}
	if typ != fsroot.TypeDir {
		return s.file(parent, name, path, &st)
	}
	d, err := parent.OpenChild(name)
	switch {
	case err == nil:
		defer d.Close()
		return s.directory(d, path)
	case errors.Is(err, fsroot.ErrMount):
		return s.mount(parent, name, path)
	case errors.Is(err, fsroot.ErrSymlink), errors.Is(err, fsroot.ErrNotDir):
		return s.failed(path, false, "was replaced while it was read; push again")
	}
	return s.unexamined(path, err)
}

// unexamined handles an entry that the listing has and that cannot be reached.
func (s *scan) unexamined(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return s.failed(path, true, "vanished while the tree was read")
	}
	return s.failed(path, false, "cannot be examined: %v", cause(err))
}

// directory adds an open directory and, in a recursive push, its contents. It
// is listed completely before its entry is made, as the entry says whether
// what is not listed may be deleted.
func (s *scan) directory(d *fsroot.Dir, path string) error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	e := protocol.Entry{Path: path, Type: protocol.EntryDirectory}
	ino, err := s.self(d, &e)
	if err != nil {
		return s.failed(path, false, "cannot be examined: %v", cause(err))
	}
	if !s.recursive {
		if path != "." {
			s.dirs = append(s.dirs, path)
		}
		return s.add(&e)
	}
	names := s.names()
	defer func() {
		names.Reset()
		s.spare = append(s.spare, names)
	}()
	above := s.plain
	s.plain = s.m.plain.begin(plainScan, path, ino)
	e.Flags |= protocol.EntryRecurse
	if !s.list(d, path, names, &e) {
		e.Flags |= protocol.EntryIncomplete
	}
	if err := s.add(&e); err != nil {
		return err
	}
	for i := range names.Len() {
		name := names.Name(i)
		if !s.listed(path, name) {
			continue
		}
		if err := s.entry(d, name, below(path, name), names.Type(i)); err != nil {
			return err
		}
	}
	s.m.plain.end(plainScan, path, &s.plain, names)
	s.plain = above
	return nil
}

// names takes memory for a listing.
func (s *scan) names() *fsroot.Names {
	if n := len(s.spare); n > 0 {
		names := s.spare[n-1]
		s.spare = s.spare[:n-1]
		return names
	}
	return new(fsroot.Names)
}

func below(dir, name string) string {
	if dir == "." {
		return strings.Clone(name)
	}
	return dir + "/" + name
}

// unlisted reports a name that no manifest can hold, and whether the directory
// counts as complete without it. Staging directories are no content.
func (s *scan) unlisted(path, name string) bool {
	if protocol.Reserved(name) {
		if path != "." && name == protocol.StageName {
			s.problem(below(path, name), true, "is never pushed: the name is that of staging directories")
		}
		return true
	}
	s.problem(path, false, "holds %.80q: the path is longer than the %d bytes that are carried; nothing is deleted in the directory on the members",
		name, protocol.MaxPath)
	return false
}

// listed reports whether a name is walked.
func (s *scan) listed(path, name string) bool {
	if protocol.Reserved(name) || len(path)+1+len(name) > protocol.MaxPath || !protocol.ValidComponent(name) {
		return false
	}
	stage := s.m.stageRel
	return stage == "" || len(stage) != relLen(path, name) || stage != below(path, name)
}

func relLen(path, name string) int {
	if path == "." {
		return len(name)
	}
	return len(path) + 1 + len(name)
}

// mount adds a mount point: the directory is carried, what is mounted is not.
func (s *scan) mount(parent *fsroot.Dir, name, path string) error {
	var st fsroot.Stat
	if err := parent.Stat(name, &st); err != nil {
		return s.unexamined(path, err)
	}
	if !st.IsDir() {
		return s.failed(path, false, "was replaced while it was read; push again")
	}
	e := protocol.Entry{Path: path, Type: protocol.EntryDirectory, Flags: protocol.EntryIncomplete}
	if s.recursive {
		e.Flags |= protocol.EntryRecurse
	}
	s.attributes(&st, &e)
	s.problem(path, false, "is a mount point; mount points are not crossed: push it from a module of its own, or exclude it")
	return s.add(&e)
}

// self fills e with the attributes of an open directory.
func (s *scan) self(d *fsroot.Dir, e *protocol.Entry) (ino uint64, err error) {
	st, err := d.LstatSelf()
	if err != nil {
		return 0, err
	}
	s.attributes(&st, e)
	names, err := d.ListXattrSelf()
	if err != nil || len(names) > 0 {
		s.readXattrs(e, names, err, d.GetXattrSelf)
	}
	return st.Ino, nil
}

// attributes fills e with what a Stat holds of every type.
func (s *scan) attributes(st *fsroot.Stat, e *protocol.Entry) {
	e.Mode = st.Perm()
	e.User = owner(s.users, st.UID, s.m.accounts.user)
	e.Group = owner(s.groups, st.GID, s.m.accounts.group)
	e.Sec, e.Nsec = st.Sec, st.Nsec
}

func owner(have map[uint32]protocol.Owner, id uint32, look func(uint32) protocol.Owner) protocol.Owner {
	o, ok := have[id]
	if !ok {
		o = look(id)
		have[id] = o
	}
	return o
}

// file adds what is not a directory.
func (s *scan) file(parent *fsroot.Dir, name, path string, st *fsroot.Stat) error {
	if reason := s.leftAlone(st); reason != "" {
		return s.failed(path, true, "%s", reason)
	}
	if st.Mount {
		return s.failed(path, false, "is a mount point; mount points are not crossed: exclude it")
	}
	if st.Nlink > 1 {
		first, err := s.links.next(scanID(st.Ino))
		if err != nil {
			return err
		}
		if first != "" {
			return s.add(&protocol.Entry{Path: path, Type: protocol.EntryHardlink, Link: first})
		}
	}
	e := protocol.Entry{Path: path}
	if err := s.content(parent, name, st, &e); err != nil {
		return s.unread(path, err)
	}
	s.attributes(st, &e)
	if st.Nlink > 1 {
		e.Flags |= protocol.EntryLinked
		// The inode alone says which: another file system is a mount point.
		if err := s.links.add(scanID(st.Ino), path, st.Nlink-1); err != nil {
			return err
		}
	}
	return s.add(&e)
}

// leftAlone says why an entry is none that this push carries.
func (s *scan) leftAlone(st *fsroot.Stat) string {
	cfg := &s.m.cfg
	switch t := st.Type(); {
	case t == fsroot.TypeSocket:
		return "is a socket; sockets are not carried"
	case (t == fsroot.TypeChar || t == fsroot.TypeBlock) && s.spec.Header.Options&protocol.OptDevices == 0:
		return "is a device; devices are carried with --devices only"
	case cfg.OwnerMatch && st.UID != *cfg.UID:
		return fmt.Sprintf("belongs to user %d; with --owner-match only files of user %d are sent", st.UID, *cfg.UID)
	}
	return ""
}

// unread handles a file whose attributes or content cannot be read.
func (s *scan) unread(path string, err error) error {
	if ended := s.ctx.Err(); ended != nil {
		return ended
	}
	if errors.Is(err, fs.ErrNotExist) {
		return s.failed(path, true, "vanished while the tree was read")
	}
	return s.failed(path, false, "cannot be read: %v", cause(err))
}

// content fills e with its type and what only that type has, and with the
// extended attributes. With a sum, st becomes that of the file that was read.
func (s *scan) content(parent *fsroot.Dir, name string, st *fsroot.Stat, e *protocol.Entry) (err error) {
	switch st.Type() {
	case fsroot.TypeRegular:
		e.Type = protocol.EntryRegular
		if s.sum {
			if err := s.checksum(parent, name, st, e); err != nil {
				return err
			}
		}
		e.Size = uint64(st.Size)
		if st.Size-st.Blocks*512 >= leastHoles {
			e.Holes = holesOf(parent, name, st.Size)
		}
	case fsroot.TypeSymlink:
		e.Type = protocol.EntrySymlink
		if e.Link, err = parent.Readlink(name); err != nil {
			return err
		}
	case fsroot.TypeFIFO:
		e.Type = protocol.EntryFIFO
	case fsroot.TypeChar:
		e.Type, e.Rdev = protocol.EntryChar, st.Rdev
	case fsroot.TypeBlock:
		e.Type, e.Rdev = protocol.EntryBlock, st.Rdev
	default:
		return fmt.Errorf("has the unknown type %#o", st.Type())
	}
	return s.xattrs(parent, name, st, e)
}

// xattrs keeps the common case, none at all, free of allocations.
func (s *scan) xattrs(parent *fsroot.Dir, name string, st *fsroot.Stat, e *protocol.Entry) error {
	if s.plain.knows(st) {
		s.plain.files++
		return nil
	}
	names, err := parent.ListXattr(name)
	if errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err != nil || len(names) > 0 {
		s.readXattrs(e, names, err, func(attr string) ([]byte, error) { return parent.GetXattr(name, attr) })
	}
	if len(e.Xattrs) == 0 && e.Flags&protocol.EntrySomeXattrs == 0 {
		s.plain.files++
	}
	return nil
}
