package tree

import (
	"errors"
	"fmt"

	"makuo/internal/fsroot"
	"makuo/protocol"
)

// Scope says how far newer pushes have decided a path.
type Scope uint8

// Scopes.
const (
	ScopeNone  Scope = iota // not at all
	ScopeBelow              // something below it: it must stay a directory, if it is one
	ScopePath               // the path itself; what is below it is asked for by itself
)

// Newer tells what pushes that are newer than one have decided. by names one of
// them for people.
type Newer interface {
	Decided(path string) (scope Scope, by string)
}

// Order tells what is newer than a place in the order of the pushes; nil if
// nothing at or around the paths is. It may be called by any goroutine.
type Order interface {
	Newer(place protocol.PushID, paths []string) Newer
}

// SetOrder says where the module learns what newer pushes have decided. Call it
// before Recover and the first Begin; without it, nothing is.
func (m *Module) SetOrder(o Order) { m.order = o }

// askNewer asks what newer pushes have decided by now.
func (t *Target) askNewer() {
	if t.m.order == nil {
		return
	}
	place := t.header.Order
	if place.IsZero() {
		place = t.id
	}
	t.newer.is = t.m.order.Newer(place, t.header.Paths)
}

// newerWins is what newer pushes have decided, at one target.
type newerWins struct {
	is   Newer  // nil: there are none
	left uint64 // paths left alone that this push would have changed
	by   string // one of those pushes
}

// scope returns how far newer pushes have decided path.
func (n *newerWins) scope(path string) Scope {
	if n.is == nil {
		return ScopeNone
	}
	s, by := n.is.Decided(path)
	if s != ScopeNone {
		n.by = by
	}
	return s
}

// newerEntry is decide for a path that a newer push has decided: it stays, and
// what is below a directory is decided entry by entry.
func (t *Target) newerEntry(f *frame, e *protocol.Entry, name string, st *fsroot.Stat) {
	if e.Flags&protocol.EntryImplied == 0 && t.protectedDiffers(node{f.dir, name}, e, st) {
		t.newer.left++
	}
	t.links.fail(e)
	if e.Type != protocol.EntryDirectory {
		return
	}
	child := &frame{path: e.Path, name: name, inTree: f.inTree, top: f.top, keep: f.keep}
	if st == nil || !st.IsDir() {
		child.blocked = true // nothing of an older push can be below
	} else {
		child.take(t, 0, e)
		child.newer = true
	}
	t.frames = append(t.frames, child)
}

var errNewerBelow = errors.New("holds what a newer push has put there")

// reportNewer says in one line that newer pushes were stronger. Of a push that
// serves parked members nothing else can be expected; another one was to be
// the newest, and its user has to know.
func (t *Target) reportNewer() {
	if t.newer.left == 0 {
		return
	}
	paths := "1 path was left as the newer push %s made it"
	if t.newer.left > 1 {
		paths = fmt.Sprint(t.newer.left) + " paths were left as the newer push %s made them"
	}
	text := fmt.Sprintf(paths, t.newer.by)
	if !t.header.Order.IsZero() || t.marked {
		t.warn("newer", "", text)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.addProblem(protocol.Problem{Text: text + "; push again"})
}

// yields reports whether a step is left undone because a newer push has decided
// its path. What it has staged in a new directory is taken out of that.
func (c *committer) yields(s *step) (bool, error) {
	n := &c.t.newer
	if n.is == nil {
		return false, nil
	}
	scope := n.scope(s.path)
	switch {
	case scope == ScopeNone, s.op == opHold, s.op == opStaged, s.op == opGone:
		return false, nil
	case s.op == opDirAttr && scope == ScopeBelow:
		return false, nil
	case scope == ScopeBelow && !s.has(stepDir|stepWasDir) && !c.isDir(s.path):
		return false, nil // what is below it is gone, as the newer push wants it
	}
	return true, nil
}

func (c *committer) isDir(path string) bool {
	dir, name := splitPath(path)
	d, err := c.t.m.Root.Dir(dir)
	if err != nil {
		return false
	}
	defer d.Close()
	st, err := d.Lstat(name)
	return err == nil && st.IsDir()
}

// yieldAll looks, before anything is renamed, at what newer pushes have decided
// since this one was staged. Their paths are taken out of new directories, and
// the entries of a new directory that stays are errors of their own.
func (c *committer) yieldAll() error {
	t := c.t
	t.newer = newerWins{}
	t.askNewer()
	c.left = nil
	if t.newer.is == nil {
		return nil
	}
	c.left = make(map[int64]bool)
	tops := make(map[uint32]bool) // new directories that stay away
	err := t.eachStep(func(s *step) error {
		yes, err := c.yields(s)
		if err != nil || !yes {
			if err == nil && s.has(stepInTree) && s.op != opHold && s.op != opStaged && tops[s.top] && !s.has(stepTop) {
				return t.failEntry(s, errNewerBelow)
			}
			return err
		}
		c.left[s.at] = true
		if s.op == opDelete {
			t.newer.left++
			return nil
		}
		if s.op == opTree {
			tops[s.entry] = true
		}
		if s.op != opTree && s.has(stepTop) {
			return nil
		}
		t.newer.left++
		t.counted(func(k *protocol.Counts) { k.Changed -= min(k.Changed, 1) })
		if !s.has(stepInTree) || tops[s.top] {
			return nil
		}
		return c.takeOut(s)
	})
	if err == nil {
		t.reportNewer()
	}
	return err
}

// takeOut removes what s has staged in a new directory.
func (c *committer) takeOut(s *step) error {
	d, name, err := c.t.stage.place(s)
	if err != nil {
		return absentOK(err)
	}
	defer d.Close()
	if err := c.change("take out", s.path); err != nil {
		return err
	}
	return absentOK(d.RemoveTree(name))
}
