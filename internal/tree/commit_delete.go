package tree

import (
	"errors"
	"fmt"
	"io/fs"

	"makuo/protocol"
)

// delete removes one name. Nothing goes from a directory in which an entry had
// an error.
func (c *committer) delete(s *step) error {
	from := s.deletesFrom()
	switch {
	case c.t.noDelete:
		return nil
	case c.t.isHeld(from):
		if c.missed[from]++; c.missed[from] == 1 {
			c.order = append(c.order, from)
		}
		return nil
	case s.has(stepDir) && c.stuck != "" && protocol.Within(c.stuck, s.path):
		return nil // what stays below is reported
	}
	removed, err := c.unlink(s)
	if err != nil {
		if isFatal(err) {
			return err
		}
		c.stuck = s.path
		c.t.mu.Lock()
		c.t.addProblem(protocol.Problem{Path: s.path, Text: "is not deleted: " + reason(err)})
		c.t.mu.Unlock()
		return nil
	}
	if removed {
		c.t.logDeleted(s.path)
	}
	return nil
}

func (c *committer) unlink(s *step) (removed bool, err error) {
	dir, name := splitPath(s.path)
	d, err := c.liveDir(dir, &s.dir)
	if err != nil {
		return false, absentOK(err)
	}
	defer d.Close()
	if err := c.change("delete", s.path); err != nil {
		return false, err
	}
	st, err := d.Lstat(name)
	if err == nil && !s.was.same(&st, c.t.otherBoot) {
		err = errSwapped
	}
	if err != nil {
		return false, absentOK(err)
	}
	err = c.writable(d, func() error {
		if s.has(stepDir) {
			return d.Rmdir(name)
		}
		return d.Remove(name)
	})
	if s.has(stepDir) && err == nil {
		c.t.m.Root.Invalidate(s.path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func (t *Target) isHeld(dir string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.held[dir] || t.holdAll
}

// reportMissed says once for each directory what was not deleted from it.
func (c *committer) reportMissed() {
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	for _, dir := range c.order {
		c.t.addProblem(protocol.Problem{Path: dir, Text: fmt.Sprintf(
			"%d names are not deleted from it, because an entry in it had an error; push again when that is mended", c.missed[dir])})
	}
}
