package tree

import (
	"errors"
	"fmt"
	"io/fs"

	"makuo/internal/fsroot"
	"makuo/protocol"
)

// errAppeared: a directory that makes room was not as empty as it was planned.
var errAppeared = errors.New("a directory is in the way in which something appeared during the push; push again")

// mayGo checks that the directory name in d, which lies or lay at the path of s,
// holds nothing but what the plan lets go with it: without --delete nothing at
// all. What came since, whatever pattern covers it, is never in the plan.
func (c *committer) mayGo(s *step, d *fsroot.Dir, name string) error {
	st, err := d.Lstat(name)
	if err != nil {
		return err
	}
	if !s.was.same(&st, c.t.otherBoot) {
		return errSwapped
	}
	if c.t.noDelete || c.t.header.Options&protocol.OptDelete == 0 {
		if err := c.t.mustBeEmpty(d, name); err != nil {
			return fmt.Errorf("is not replaced, since nothing is deleted: %w", err)
		}
		return nil
	}
	p := planned{entry: s.entry, otherBoot: c.t.otherBoot}
	if c.goneAt > 0 && c.goneOf == s.entry {
		p.r = newPlanReader(c.t.stage.plan.f)
		p.r.off = c.goneAt
	}
	return p.holds(d, name, s.path)
}

// planned reads the names that go with one directory, in the order in which
// removeContents met them.
type planned struct {
	r     *planReader // nil: none
	entry uint32

	otherBoot bool
}

// holds walks the directory name in d in the same order: every name in it must
// be among those that are planned. Those that are not there any more are
// passed over.
func (p *planned) holds(d *fsroot.Dir, name, path string) error {
	child, err := d.OpenChild(name)
	if err != nil {
		return fmt.Errorf("a directory is in the way: %w", err)
	}
	defer child.Close()
	names, err := child.Names()
	if err != nil {
		return fmt.Errorf("a directory is in the way: %w", err)
	}
	for i := range names.Len() {
		name := names.Name(i)
		st, err := child.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("a directory is in the way: %w", err)
		}
		if st.IsDir() {
			if err := p.holds(child, name, joinPath(path, name)); err != nil {
				return err
			}
		}
		if err := p.find(joinPath(path, name), &st); err != nil {
			return err
		}
	}
	return nil
}

func (p *planned) find(path string, st *fsroot.Stat) error {
	for p.r != nil {
		s, err := p.r.next()
		if err != nil {
			return memberError{err}
		}
		if s.op != opGone || s.entry != p.entry {
			break
		}
		if s.path == path && s.was.same(st, p.otherBoot) {
			return nil
		}
	}
	return fmt.Errorf("%w (%q)", errAppeared, path)
}

// exchange swaps a directory and something else, so that the name is never
// absent. Afterwards the old one lies in the stage under the new one's name:
// its type tells a step that was done from one that was not. A directory is
// looked through before it moves, and again in the stage, where its name leads
// nobody any more: if something came between, it moves back.
func (c *committer) exchange(s *step, d *fsroot.Dir, name string) error {
	stage, staged := c.t.stage.dir, stagedName(s.entry)
	newDir := s.op == opTree
	st, err := stage.Lstat(staged)
	switch {
	case err != nil:
		return absentOK(err)
	case st.IsDir() != newDir:
		return c.exchanged(s, d, name, st.IsDir())
	}
	live, err := d.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return c.moveIn(s, d, name)
	case err != nil:
		return err
	case live.IsDir() == newDir:
		return c.rename(s, d, name)
	case live.Mount:
		return fsroot.ErrMount
	case live.IsDir():
		if err := c.mayGo(s, d, name); err != nil {
			return err
		}
	}
	if err := c.change("exchange", s.path); err != nil {
		return err
	}
	err = border(s.path)
	if err == nil {
		err = c.writable(d, func() error { return c.swap(stage, staged, d, name, live.IsDir()) })
	}
	if err == nil {
		return c.exchanged(s, d, name, live.IsDir())
	}
	if errors.Is(err, fsroot.ErrUnsupported) {
		err = c.writable(d, func() error { return d.Rename(name, stage, oldName(s.entry)) })
		if err == nil {
			return c.moveIn(s, d, name)
		}
	}
	switch {
	case !isBorder(err):
		return err
	case live.IsDir():
		return fmt.Errorf("%w, so the directory here can't make room for something else at once; remove it here and push again", errBorder)
	}
	return c.beside(s, d, name, true)
}

// exchanged checks the old directory after the exchange, or again after a
// crash, and takes the exchange back if more is in it than may go.
func (c *committer) exchanged(s *step, d *fsroot.Dir, name string, oldIsDir bool) error {
	if !oldIsDir {
		return nil
	}
	stage, staged := c.t.stage.dir, stagedName(s.entry)
	if hook := exchangeHook; hook != nil {
		hook()
	}
	c.t.m.Root.Invalidate(s.path)
	err := c.mayGo(s, stage, staged)
	if err == nil {
		return nil
	}
	if berr := c.writable(d, func() error { return stage.Exchange(staged, d, name) }); berr != nil {
		return memberError{fmt.Errorf("%s: %w; moving the directory back: %w", s.path, err, berr)}
	}
	return err
}

// exchangeHook, if set, is called when an old directory has left its name and
// was not checked again. For tests.
var exchangeHook func()

// moveIn renames the new one to a free name, on file systems that can't
// exchange. An old directory waits in the stage.
func (c *committer) moveIn(s *step, d *fsroot.Dir, name string) error {
	stage, old := c.t.stage.dir, oldName(s.entry)
	st, err := stage.Lstat(old)
	if err != nil || !st.IsDir() {
		if absentOK(err) != nil {
			return err
		}
		return c.rename(s, d, name)
	}
	if hook := exchangeHook; hook != nil {
		hook()
	}
	c.t.m.Root.Invalidate(s.path)
	if err := c.mayGo(s, stage, old); err != nil {
		if berr := c.writable(d, func() error { return stage.Rename(old, d, name) }); berr != nil {
			return memberError{fmt.Errorf("%s: %w; moving the directory back: %w", s.path, err, berr)}
		}
		return err
	}
	return c.rename(s, d, name)
}
