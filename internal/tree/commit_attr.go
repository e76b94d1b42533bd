package tree

import (
	"errors"
	"io/fs"

	"makuo/internal/fsroot"
	"makuo/protocol"
)

// attr changes the attributes of what is there, on a descriptor of just what was
// judged: a file that was swapped or written since gets none of them.
func (c *committer) attr(s *step) error {
	e, err := s.manifestEntry()
	if err != nil {
		return memberError{err}
	}
	dir, name := splitPath(s.path)
	d, err := c.liveDir(dir, &s.dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := c.change("attributes", s.path); err != nil {
		return err
	}
	self, err := d.OpenPath(name)
	if err != nil {
		return err
	}
	defer self.Close()
	nd := node{d: self}
	st, err := nd.stat()
	if err != nil {
		return err
	}
	if !s.was.untouched(&st, st.Nlink > 1 || e.Flags&protocol.EntryLinked != 0, c.t.otherBoot) {
		return c.alreadyDone(s, nd, e, &st)
	}
	c.inPlace = true
	return c.t.apply(nd, e, &st, e.Mode)
}

// alreadyDone passes a step that an earlier attempt of the same commit did:
// what that changed is as it should be.
func (c *committer) alreadyDone(s *step, nd node, e *protocol.Entry, st *fsroot.Stat) error {
	if !s.was.same(st, c.t.otherBoot) || s.was.size != st.Size {
		return errSwapped
	}
	if differs, err := c.t.differs(nd, e, st, nil); err != nil || differs {
		return errSwapped
	}
	return nil
}

// dirAttr gives a directory its attributes and time, after all else.
func (c *committer) dirAttr(s *step) error {
	e, err := s.manifestEntry()
	if err != nil {
		return memberError{err}
	}
	nd := node{}
	if nd.d, err = c.attrDir(s); err != nil {
		return err
	}
	if nd.d == nil {
		return nil
	}
	defer nd.d.Close()
	st, err := nd.stat()
	if err != nil {
		return err
	}
	if !s.was.same(&st, c.t.otherBoot) && !(s.has(stepTop) && c.noted(s, &st)) {
		return errSwapped
	}
	if err := c.change("attributes", s.path); err != nil {
		return err
	}
	if len(c.touched) <= fewFiles {
		c.touched[s.path] = true
	}
	if s.has(stepTouched) {
		if st.Sec == e.Sec && st.Nsec == e.Nsec {
			return nil
		}
		return nd.utimes(e.Sec, e.Nsec)
	}
	return c.t.apply(nd, e, &st, e.Mode)
}

// attrDir opens the directory of s; nil if it is not there: it failed before,
// and is reported.
func (c *committer) attrDir(s *step) (*fsroot.Dir, error) {
	if s.path == "." {
		return c.t.m.Root.OpenDir(".")
	}
	dir, name := splitPath(s.path)
	parent, err := c.t.m.Root.Dir(dir)
	if err != nil {
		return nil, absentOK(err)
	}
	defer parent.Close()
	d, err := parent.OpenChild(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case errors.Is(err, fsroot.ErrNotDir), errors.Is(err, fsroot.ErrSymlink):
		if s.has(stepInTree) {
			return nil, nil
		}
		return nil, errSwapped
	}
	return d, err
}
