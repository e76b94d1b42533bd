package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"sort"

	"makuo/internal/fsroot"
	"makuo/protocol"
)

// frame is one directory on the way from the root to where the manifest is
// now. The stack of frames lives from batch to batch, so that a directory of
// any size is listed once.
type frame struct {
	path   string
	name   string
	dir    *fsroot.Dir // nil until something below is looked at
	entry  *protocol.Entry
	number uint32
	inTree bool   // new: dir is its staged twin
	isTop  bool   // new, and its parent is not
	top    uint32 // entry of the new directory it lies in, or is
	keep   int    // length of that one's path

	judged    ident // of the directory whose attributes were compared, or that was made
	held      ident // of dir, once names in it change
	fixed     bool  // dir is immutable
	appends   bool  // dir is append-only
	blocked   bool  // nothing can, or may, be done below
	protected bool  // ... because a pattern of this member's covers it
	deletes   bool  // what is not in the manifest goes
	differs   bool  // attributes
	touched   bool  // names in it will be made, replaced or removed
	asked     bool  // whether names in it can be changed
	refused   error // ... why not
	sticky    bool  // ... only those of this user
	foreign   bool  // it differs, belongs to somebody else, and that was reported
	newer     bool  // a newer push has decided its attributes
	listed    bool
	listErr   error
	names     *fsroot.Names
	plain     plainWalk // of a listed directory
	filled    bool      // the manifest has something in it
	mixed     bool      // a file below has extended attributes or is a further name
	next      int       // first name that no entry has passed yet
	pushed    string    // the pushed path it lies under
}

// take notes the entry of a directory.
func (f *frame) take(t *Target, n uint32, e *protocol.Entry) {
	f.entry, f.number = e, n
	f.deletes = t.header.Options&protocol.OptDelete != 0 && e.Flags&protocol.EntryRecurse != 0 && e.Flags&protocol.EntryIncomplete == 0
	f.pushed = t.pushedPath(f.path)
}

// pushedPath returns the pushed path that path lies under, or path itself.
func (t *Target) pushedPath(path string) string {
	ps := t.header.Paths
	i := sort.Search(len(ps), func(i int) bool { return protocol.ComparePaths(ps[i], path) > 0 })
	for ; i > 0; i-- {
		if protocol.Within(path, ps[i-1]) {
			return ps[i-1]
		}
		if !protocol.Within(ps[i-1], firstComponent(path)) && ps[i-1] != "." {
			break
		}
	}
	return path
}

func firstComponent(p string) string {
	for i := range len(p) {
		if p[i] == '/' {
			return p[:i]
		}
	}
	return p
}

func (t *Target) pushBlocked(path string) {
	t.frames = append(t.frames, &frame{path: path, blocked: true})
}

// enter returns the frame of dir: it closes what the manifest has left behind,
// and opens what it did not list on the way. With mayLack it is no Problem that
// the directory is not there.
func (t *Target) enter(dir string, mayLack bool) (*frame, error) {
	for {
		f := t.frames[len(t.frames)-1]
		if f.path == dir || f.blocked && protocol.Within(dir, f.path) {
			return f, t.open(f)
		}
		if protocol.Within(dir, f.path) {
			break
		}
		if err := t.pop(); err != nil {
			return nil, err
		}
	}
	for {
		f := t.frames[len(t.frames)-1]
		if f.path == dir {
			return f, nil
		}
		rest := dir
		if f.path != "." {
			rest = dir[len(f.path)+1:]
		}
		name := firstComponent(rest)
		if err := t.open(f); err != nil || f.blocked {
			return f, err
		}
		// Not to be taken for a name that is not at the origin.
		if _, err := f.lookup(t, name); err != nil {
			return nil, t.fail(joinPath(f.path, name), err)
		}
		child := &frame{path: joinPath(f.path, name), name: name, inTree: f.inTree, top: f.top, keep: f.keep}
		t.frames = append(t.frames, child)
		if mayLack && lacks(f.dir, name) {
			child.blocked = true
			return child, nil
		}
		if err := t.open(child); err != nil {
			return nil, err
		}
	}
}

// lacks reports whether name is surely no directory of d.
func lacks(d *fsroot.Dir, name string) bool {
	if d == nil {
		return true
	}
	st, err := d.Lstat(name)
	return errors.Is(err, fs.ErrNotExist) || err == nil && !st.IsDir()
}

// open opens the directory of the last frame, and lists it if what is not in
// the manifest goes. If that fails the frame is blocked, with one Problem for
// all that lies below.
func (t *Target) open(f *frame) error {
	if f.blocked {
		return nil
	}
	if f.dir == nil && !(f.inTree && t.dry) {
		parent := t.frames[len(t.frames)-2]
		if err := t.open(parent); err != nil {
			return err
		}
		var err error
		if f.dir, err = parent.dir.OpenChild(f.name); err != nil {
			f.blocked = true
			return t.fail(f.path, fmt.Errorf("%w; nothing below it is done", err))
		}
	}
	if f.entry == nil || f.entry.Flags&protocol.EntryRecurse == 0 || f.listed || f.inTree {
		return nil
	}
	f.listed = true
	f.names, t.spare = t.spare, nil
	if f.names == nil {
		f.names = new(fsroot.Names)
	}
	f.plain = t.m.plain.begin(plainCompare, f.path, f.plain.ino)
	if f.listErr = f.dir.ReadNames(f.names); f.listErr != nil {
		f.deletes, f.listed = false, true
		return t.fail(f.path, fmt.Errorf("its contents can't be listed, nothing in it is deleted: %w", f.listErr))
	}
	return nil
}

// lookup says what name is, nil if it is not there. It decides about the names
// before it, which the manifest does not have. What it returns is valid until
// the next call.
func (f *frame) lookup(t *Target, name string) (*fsroot.Stat, error) {
	if f.inTree {
		return nil, nil
	}
	if f.listed && f.listErr == nil {
		for f.next < f.names.Len() && f.names.Name(f.next) < name {
			if err := t.extra(f, f.next); err != nil {
				return nil, err
			}
			f.next++
		}
		if f.next == f.names.Len() || f.names.Name(f.next) != name {
			return nil, nil
		}
		f.next++
	}
	st := &t.stat
	if err := f.dir.Stat(name, st); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, err
	}
	return st, nil
}

// pop ends the last frame: the names after the last entry are decided, and its
// own attributes come last.
func (t *Target) pop() error {
	f := t.frames[len(t.frames)-1]
	err := t.finish(f)
	if f.dir != nil {
		f.dir.Close()
	}
	if f.names != nil {
		t.spare = f.names
	}
	t.frames = t.frames[:len(t.frames)-1]
	return err
}

func (t *Target) finish(f *frame) error {
	if f.entry != nil && f.deletes && !f.blocked {
		if err := t.open(f); err != nil {
			return err
		}
	}
	if f.listed && f.listErr == nil && !f.blocked {
		if err := t.keepFull(f); err != nil {
			return err
		}
		for ; f.next < f.names.Len(); f.next++ {
			if err := t.extra(f, f.next); err != nil {
				return err
			}
		}
		t.m.plain.end(plainCompare, f.path, &f.plain, f.names)
	}
	if f.entry == nil || f.newer || f.entry.Type != protocol.EntryDirectory || (!f.differs && !f.touched && !f.inTree) {
		return nil
	}
	if f.foreign || f.touched && !f.differs && !t.mayTouch(f) {
		return nil
	}
	s := step{op: opDirAttr, entry: f.number, path: f.path, was: f.judged}
	switch {
	case f.inTree:
		s.flags, s.top, s.keep = stepInTree, f.top, f.keep
		if f.isTop {
			s.flags |= stepTop
		}
		if !f.mixed {
			s.flags |= stepPlain
		}
	case !f.differs:
		s.flags |= stepTouched
	}
	return t.addStep(nil, &s, f.entry)
}

// extra decides about name i of f's listing, which the manifest does not have.
func (t *Target) extra(f *frame, i int) error {
	name := f.names.Name(i)
	path := joinPath(f.path, name)
	if path == t.m.stageRel {
		return nil
	}
	if !f.deletes {
		return nil
	}
	typ := f.names.Type(i)
	if typ == 0 {
		var st fsroot.Stat
		if err := f.dir.Stat(name, &st); err != nil {
			return t.fail(path, absentOK(err))
		}
		typ = st.Type()
	}
	if err := t.mayChange(f, nil); err != nil && t.mayGo(&deletion{from: f}, path, typ == fsroot.TypeDir) && !t.m.holdsStage(path) {
		return t.fail(path, fmt.Errorf("is not deleted: %w", err))
	}
	_, err := t.remove(deletion{from: f, op: opDelete}, f.dir, name, path, typ)
	return t.fail(path, err)
}
