package tree

import (
	"errors"
	"fmt"
	"strings"

	"makuo/internal/fsroot"
	"makuo/protocol"
)

// deletion is one walk through what goes.
type deletion struct {
	from  *frame // the directory of the manifest in which it goes
	op    stepOp // opDelete, or opGone for the contents of a replaced directory
	entry uint32 // opGone: what replaces it
	check bool   // only look whether everything may go: plan nothing, report nothing
}

// mayGo reports whether neither a pattern of the push nor one of this member
// keeps path.
func (t *Target) mayGo(d *deletion, path string, dir bool) bool {
	if _, name := splitPath(path); strings.HasPrefix(name, protocol.BesidePrefix) {
		return false // a copy that a commit has not renamed yet
	}
	pushed := d.from.pushed
	if pushed == "" {
		pushed = t.pushedPath(path)
	}
	return path != t.m.stageRel && !t.filter.Excluded(Anchor(pushed, path), dir) && !t.m.kept(path, dir)
}

// remove plans the removal of name in dir, contents first. removed is false if
// it stays, because of a pattern, or of an error that is reported already.
func (t *Target) remove(d deletion, dir *fsroot.Dir, name, path string, typ uint32) (removed bool, err error) {
	isDir := typ == fsroot.TypeDir
	if !t.mayGo(&d, path, isDir) {
		return false, nil
	}
	if !protocol.ValidPath(path) {
		return false, t.unplannable(&d, name, path)
	}
	scope := t.newer.scope(path)
	if scope == ScopePath && !d.check {
		t.newer.left++
	}
	if scope == ScopePath && !isDir {
		return false, nil
	}
	st, err := dir.Lstat(name)
	if err == nil {
		err = d.removable(&st)
	}
	if err != nil {
		return false, t.keeps(&d, path, err)
	}
	if isDir {
		empty, err := t.removeContents(d, dir, name, path)
		if err != nil || !empty || scope == ScopePath {
			return false, err
		}
	}
	if t.m.holdsStage(path) {
		return false, nil
	}
	if d.check {
		return true, nil
	}
	return true, t.planDeletion(&d, dir, path, &st)
}

// removable reports whether st can be deleted.
func (d *deletion) removable(st *fsroot.Stat) error {
	if d.op == opDelete {
		return d.from.changeable(st)
	}
	return fixed(st)
}

// holdsStage reports whether path is the staging directory or above it.
func (m *Module) holdsStage(path string) bool {
	return m.stageRel != "" && protocol.Within(m.stageRel, path)
}

func (t *Target) removeContents(d deletion, dir *fsroot.Dir, name, path string) (empty bool, err error) {
	child, err := dir.OpenChild(name)
	if err != nil {
		return false, t.keeps(&d, path, err)
	}
	defer child.Close()
	names, err := child.Names()
	if err != nil {
		return false, t.keeps(&d, path, err)
	}
	if names.Len() > 0 {
		if err := t.writable(child); err != nil {
			return false, t.keeps(&d, path, err)
		}
	}
	empty = true
	for i := range names.Len() {
		name := names.Name(i)
		typ := names.Type(i)
		if typ == 0 {
			st, err := child.Lstat(name)
			if err != nil {
				return false, t.keeps(&d, joinPath(path, name), err)
			}
			typ = st.Type()
		}
		removed, err := t.remove(d, child, name, joinPath(path, name), typ)
		if err != nil {
			return false, err
		}
		empty = empty && removed
	}
	return empty, nil
}

// unplannable reports a path that no plan can hold: it stays, with all that is
// in it, and nothing else is held back by it.
func (t *Target) unplannable(d *deletion, name, path string) error {
	err := errors.New("is never deleted by a push: the name is that of staging directories; remove it by hand, or exclude it")
	if len(path) > protocol.MaxPath {
		path, _ = splitPath(path)
		err = fmt.Errorf("holds %.80q, whose path is longer than the %d bytes that are carried: it is not deleted; remove it by hand", name, protocol.MaxPath)
	}
	if d.check {
		return fmt.Errorf("%.200q %w", path, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.addProblem(protocol.Problem{Path: path, Text: err.Error()})
	return nil
}

// keeps reports why path can't go.
func (t *Target) keeps(d *deletion, path string, err error) error {
	if d.check {
		return fmt.Errorf("%q %w", path, err)
	}
	return t.fail(path, fmt.Errorf("is not deleted: %w", err))
}

func (t *Target) planDeletion(d *deletion, dir *fsroot.Dir, path string, st *fsroot.Stat) error {
	t.going++
	if d.op == opDelete && d.from.path == "." && firstComponent(path) == path {
		t.goingRoot++
	}
	if t.dry {
		t.logDeleted(path)
		return nil
	}
	s := step{op: d.op, entry: d.entry, path: path, was: identOf(st)}
	if d.op == opDelete {
		in, err := dir.LstatSelf()
		if err != nil {
			return t.keeps(d, path, err)
		}
		s.dir = identOf(&in)
	}
	if d.from.path != "." {
		s.keep = len(d.from.path)
	}
	if st.IsDir() {
		s.flags = stepDir
	}
	f := d.from
	if d.op == opGone {
		f = nil
	}
	return t.addStep(f, &s, nil)
}

// emptyOut decides whether the directory name in f may go to make room for
// entry n, and plans what goes with it.
func (t *Target) emptyOut(f *frame, n uint32, path, name string) error {
	if t.header.Options&protocol.OptDelete == 0 {
		return t.mustBeEmpty(f.dir, name)
	}
	d := deletion{from: f, op: opGone, entry: n, check: true}
	empty, err := t.removeContents(d, f.dir, name, path)
	if err != nil {
		return fmt.Errorf("a directory is in the way that can't be removed: %w", err)
	}
	if !empty {
		return errors.New("a directory is in the way that holds something an exclude or protect pattern keeps")
	}
	d.check = false
	_, err = t.removeContents(d, f.dir, name, path)
	return err
}

func (t *Target) mustBeEmpty(dir *fsroot.Dir, name string) error {
	return t.refuseFull(dir, name, "with --delete it would be replaced")
}

// refuseFull refuses a directory that holds something; hint says what helps.
func (t *Target) refuseFull(dir *fsroot.Dir, name, hint string) error {
	child, err := dir.OpenChild(name)
	if err != nil {
		return fmt.Errorf("a directory is in the way: %w", err)
	}
	defer child.Close()
	names, err := child.Names()
	if err != nil {
		return fmt.Errorf("a directory is in the way: %w", err)
	}
	if names.Len() > 0 {
		return errors.New("a directory that is not empty is in the way; " + hint)
	}
	return nil
}

// checkDeletes decides whether deletions take place at all.
func (t *Target) checkDeletes() {
	opt := t.header.Options
	why := ""
	switch {
	case t.going == 0:
		return
	case opt&protocol.OptMaxDelete != 0 && t.going > t.header.MaxDelete:
		why = fmt.Sprintf("would delete %d names, the limit is %d (--max-delete): nothing is deleted", t.going, t.header.MaxDelete)
	case opt&protocol.OptForceEmpty == 0 && t.present == 0 && (t.dotEmpty || t.emptied()):
		why = "the source is empty, or nothing in it can be put in place here, and the whole module would be emptied: nothing is deleted; --force-empty does it"
	default:
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.noDelete = true
	if t.dry {
		t.deletes.close()
		t.deletes = pageLog{}
		t.counts.Deleted = 0
	}
	t.addProblem(protocol.Problem{Text: why})
}

// emptied reports whether the deletions leave nothing at the root.
func (t *Target) emptied() bool {
	d, err := t.m.Root.OpenDir(".")
	if err != nil {
		return true
	}
	defer d.Close()
	names, err := d.Names()
	if err != nil {
		return true
	}
	left := names.Len() - t.goingRoot
	for i := range names.Len() {
		if names.Name(i) == t.m.stageRel {
			left--
		}
	}
	return left <= 0
}
