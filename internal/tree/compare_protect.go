package tree

import (
	"errors"
	"fmt"
	"io/fs"

	"makuo/internal/fsroot"
	"makuo/protocol"
)

// protected reports whether this member keeps a push off e's path.
func (t *Target) protected(e *protocol.Entry, st *fsroot.Stat) bool {
	return t.m.kept(e.Path, e.Type == protocol.EntryDirectory || st != nil && st.IsDir())
}

// errExcluded is of a path whose own type here is excluded, while the origin's
// is not: as with "upload/" and a link of that name.
var errExcluded = errors.New("what this member has here is of another type, and an exclude pattern covers it: it stays; remove it by hand, or push without the pattern")

// excludedHere reports whether a pattern of the push covers what the member has
// at path.
func (t *Target) excludedHere(f *frame, path string, st *fsroot.Stat) bool {
	pushed := f.pushed
	if pushed == "" {
		pushed = t.pushedPath(path)
	}
	return t.filter.Excluded(Anchor(pushed, path), st.IsDir())
}

// errParent is of a directory above a pushed path, where the member has
// something else. Only a push of that path itself replaces it.
func (t *Target) errParent(f *frame, name string, st *fsroot.Stat) error {
	what := "is no directory on this member"
	if st.Type() == fsroot.TypeSymlink {
		what = "is a symbolic link on this member"
		if to, err := f.dir.Readlink(name); err == nil {
			what += fmt.Sprintf(", to %.200q", to)
		}
	}
	return fmt.Errorf("%s, and only what is below was pushed: nothing is done there; push the directory itself to replace it", what)
}

// keepOff is decide for a protected path: it stays as it is, but a difference
// is counted, and no check calls it the same.
func (t *Target) keepOff(d *fsroot.Dir, e *protocol.Entry, name string, st *fsroot.Stat) verdict {
	if !t.protectedDiffers(node{d, name}, e, st) {
		return verdictNone
	}
	t.keptOff++
	if t.header.Options&protocol.OptCheck != 0 {
		return verdictChange
	}
	return verdictNone
}

// belowProtected is entry for what lies below a protected directory.
func (t *Target) belowProtected(e *protocol.Entry) verdict {
	dir, name := splitPath(e.Path)
	d, err := t.m.Root.Dir(dir)
	if err != nil {
		return t.keepOff(nil, e, name, nil)
	}
	defer d.Close()
	st, err := d.Lstat(name)
	if err != nil {
		return t.keepOff(nil, e, name, nil)
	}
	return t.keepOff(d, e, name, &st)
}

// protectedDiffers reports whether a protected path would be made, changed or
// removed. What can't be read is different.
func (t *Target) protectedDiffers(nd node, e *protocol.Entry, st *fsroot.Stat) bool {
	switch {
	case e.Type == protocol.EntryFailed, e.Flags&protocol.EntryImplied != 0 && st != nil:
		return false
	case e.Type == protocol.EntryAbsent:
		return st != nil && t.header.Options&protocol.OptDeleteMissing != 0
	case st == nil:
		return true
	case e.Type == protocol.EntryHardlink: // the first name is compared
		return st.IsDir()
	}
	same, err := t.sameContent(nd, e, st)
	if err != nil || !same {
		return !errors.Is(err, fs.ErrNotExist)
	}
	differs, err := t.differs(nd, e, st, nil)
	return err != nil || differs
}

// reportKeptOff says in one line that the member is not as the origin.
func (t *Target) reportKeptOff() {
	if t.keptOff == 0 {
		return
	}
	text := fmt.Sprintf("%d paths are protected here and differ", t.keptOff)
	if t.keptOff == 1 {
		text = "1 path is protected here and differs"
	}
	t.warn("protected", "", text)
}
