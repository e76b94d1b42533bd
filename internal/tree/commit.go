package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"time"

	"makuo/internal/fsroot"
	"makuo/protocol"
)

// committer makes a staged plan live. It reads the plan once for each pass:
//
//  1. new names (a new directory with everything in it by one rename),
//  2. replaced files, changed types and attributes,
//  3. symbolic links that replace something, and hard links,
//  4. deletions,
//  5. attributes and times of directories.
//
// Before the first pass setuid and setgid are set on what is staged. Every step
// can be done again: a staged name that is not there any more was renamed, so
// after a crash all passes simply run once more.
//
// Where the file system cannot exchange two names, the name of a thing that
// changes between directory and something else is absent for a moment.
type committer struct {
	t       *Target
	pass    commitPass
	needed  [passes]bool
	kept    map[uint32]bool // replaced directories that stayed
	missed  map[string]uint64
	order   []string // of missed, as they came
	goneOf  uint32   // the last entry with which a directory's contents go
	goneAt  int64    // where they begin in the plan
	stuck   string   // the last path that could not be deleted
	touched map[string]bool
	checked *fsroot.Dir    // the last live directory whose identity was checked
	left    map[int64]bool // steps whose path a newer push has decided, by where they begin in the plan
	work    int
	beyond  map[inode]besides // files with several names that were copied across a border
	inPlace bool              // attributes of files were changed, which no directory's sync covers
}

type commitPass int

const (
	passNew commitPass = iota
	passReplace
	passLinks
	passDelete
	passDirs
	passes
)

// passOf returns the pass that does a step, -1 if none does.
func passOf(s *step) commitPass {
	switch s.op {
	case opTree, opFile, opNode:
		switch {
		case s.has(stepInTree):
			return -1
		case !s.has(stepExists):
			return passNew
		case s.op == opNode && s.has(stepSymlink):
			return passLinks
		}
		return passReplace
	case opLink:
		if s.has(stepInTree) {
			return -1
		}
		return passLinks
	case opAttr:
		return passReplace
	case opDelete, opGone:
		return passDelete
	case opDirAttr:
		if !s.has(stepInTree) || s.has(stepTop) {
			return passDirs
		}
	}
	return -1
}

// commitHook, if set, is called before each change that a commit makes on disk;
// an error stops there, as a crash would. For tests.
var commitHook func(what, path string) error

func (c *committer) change(what, path string) error {
	c.work++
	if commitHook != nil {
		if err := commitHook(what, path); err != nil {
			return memberError{err}
		}
	}
	return nil
}

// Commit makes what is staged live. took is how long the renames and deletions
// themselves lasted. An error means that the member stopped half-way. Then
// Commit may be called again, as often as it takes; so does the next Begin on
// overlapping paths, and Recover at the next start. After a commit that ended
// well it does nothing.
func (t *Target) Commit() (protocol.Counts, time.Duration, error) {
	t.ending.Lock()
	defer t.ending.Unlock()
	if t.closed {
		return t.Counts(), 0, errors.New("commit of a push that is closed")
	}
	if !t.staged {
		return t.Counts(), 0, errors.New("commit of a push that is not staged")
	}
	t.closeFrames()
	if t.stage == nil {
		return t.Counts(), 0, t.closeLeftovers(true)
	}
	if !t.marked {
		if err := t.m.CheckBase(); err != nil {
			return t.Counts(), 0, err
		}
	}
	c := &committer{t: t, kept: make(map[uint32]bool), missed: make(map[string]uint64), touched: make(map[string]bool)}
	if err := c.mark(); err != nil {
		return t.Counts(), 0, err
	}
	start := time.Now()
	err := c.run()
	took := time.Since(start)
	if err == nil {
		err = c.sync()
	}
	if err == nil {
		err = c.cleanUp()
	}
	return t.Counts(), took, err
}

// mark makes the decision durable.
func (c *committer) mark() error {
	c.t.m.unfinished.add(c.t)
	if err := c.change("mark", ""); err != nil {
		return err
	}
	stage := c.t.stage.dir
	err := stage.Rename(readyName, stage, markName)
	if errors.Is(err, fs.ErrNotExist) {
		_, err = stage.Lstat(markName) // by an earlier attempt
	}
	if err != nil {
		return err
	}
	if err := c.t.stage.dir.Sync(); err != nil {
		return err
	}
	c.t.marked = true
	return nil
}

func (c *committer) run() error {
	c.t.m.Root.Invalidate(".")
	defer c.t.m.Root.Invalidate(".")
	// A directory that an earlier attempt made live may not be taken for staged.
	c.t.stage.root.Invalidate(".")
	c.t.restartCommit()
	if err := c.yieldAll(); err != nil {
		return err
	}
	if err := c.t.eachStep(c.prepare); err != nil {
		return err
	}
	for c.pass = 0; c.pass < passes; c.pass++ {
		if !c.needed[c.pass] {
			continue
		}
		if err := c.t.eachStep(c.do); err != nil {
			return err
		}
		if c.pass == passDelete {
			c.reportMissed()
		}
	}
	return nil
}

// prepare sets the late modes and finds the passes that have work.
func (c *committer) prepare(s *step) error {
	if c.left[s.at] {
		return nil
	}
	if p := passOf(s); p >= 0 {
		c.needed[p] = true
	}
	if !s.has(stepLate) || s.op != opFile {
		return nil
	}
	e, err := s.manifestEntry()
	if err != nil {
		return memberError{err}
	}
	d, name, err := c.t.stage.place(s)
	if err != nil {
		return c.t.fail(s.path, absentOK(err))
	}
	defer d.Close()
	if err := c.change("chmod", s.path); err != nil {
		return err
	}
	st, err := d.Lstat(name)
	if err == nil {
		mode, _ := c.t.hold.mode(e, &st)
		err = d.Chmod(name, mode)
	}
	return c.t.fail(s.path, absentOK(err))
}

// do does a step if it belongs to this pass.
func (c *committer) do(s *step) error {
	if s.op == opGone && (c.goneAt == 0 || c.goneOf != s.entry) {
		c.goneOf, c.goneAt = s.entry, s.at
	}
	if passOf(s) != c.pass {
		return nil
	}
	if c.left[s.at] {
		c.dropLeft(s)
		return nil
	}
	switch c.pass {
	case passDelete:
		if s.op == opGone {
			c.gone(s)
			return nil
		}
		return c.delete(s)
	case passDirs:
		return c.t.fail(s.path, c.dirAttr(s))
	}
	err := c.place(s)
	if err == nil {
		return nil
	}
	if s.has(stepWasDir) {
		c.kept[s.entry] = true
	}
	if err := c.t.failEntry(s, err); err != nil {
		return err
	}
	if s.op == opTree {
		return c.uncount(s.entry)
	}
	return nil
}

// gone logs a name that went with a directory, once.
func (c *committer) gone(s *step) {
	if c.t.noDelete || c.kept[s.entry] || s.at < c.t.goneTo {
		return
	}
	c.t.goneTo = s.at + 1
	c.t.logDeleted(s.path)
}

// uncount takes what lies in a new directory that failed from the total.
func (c *committer) uncount(top uint32) error {
	var n uint64
	err := c.t.eachStep(func(s *step) error {
		if s.has(stepInTree) && s.top == top && !s.has(stepTop) {
			n++
		}
		return nil
	})
	c.t.counted(func(k *protocol.Counts) { k.Changed -= min(k.Changed, n) })
	return err
}

// place does a step that makes or changes one name.
func (c *committer) place(s *step) error {
	if s.op == opAttr {
		return c.attr(s)
	}
	dir, name := splitPath(s.path)
	d, err := c.liveDir(dir, &s.dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if s.has(stepWasDir) || s.op == opTree && s.has(stepExists) {
		return c.exchange(s, d, name)
	}
	return c.rename(s, d, name)
}

// liveDir opens a directory of the module in which names change. It must be the
// one that was judged.
func (c *committer) liveDir(path string, judged *ident) (*fsroot.Dir, error) {
	d, err := c.t.m.Root.Dir(path)
	if err == nil && d != c.checked {
		st, serr := d.LstatSelf()
		if serr == nil && !judged.same(&st, c.t.otherBoot) {
			serr = fmt.Errorf("the directory %q %w", path, errSwapped)
		}
		if serr != nil {
			d.Close()
			return nil, serr
		}
		if judged.known() {
			c.checked = d
		}
	}
	if err == nil && len(c.touched) <= fewFiles {
		c.touched[path] = true
	}
	return d, err
}

func (c *committer) rename(s *step, d *fsroot.Dir, name string) error {
	if err := c.change("rename", s.path); err != nil {
		return err
	}
	staged := stagedName(s.entry)
	err := border(s.path)
	if err == nil {
		err = c.writable(d, func() error { return c.t.stage.dir.Rename(staged, d, name) })
	}
	if isBorder(err) {
		err = c.beside(s, d, name, false)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// Renamed already, or failed and reported, unless it is the target's
	// directory that is gone.
	if _, serr := c.t.stage.dir.Lstat(staged); serr == nil {
		return err
	}
	return nil
}

// exchangeOff makes tests take the way of file systems that can't exchange.
var exchangeOff atomic.Bool

// swap exchanges; an old directory that its owner may not write is made
// writable, since it moves and goes.
func (c *committer) swap(stage *fsroot.Dir, staged string, d *fsroot.Dir, name string, oldIsDir bool) error {
	if exchangeOff.Load() {
		return fsroot.ErrUnsupported
	}
	err := stage.Exchange(staged, d, name)
	if !oldIsDir || c.t.root || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	st, serr := d.Lstat(name)
	if serr != nil || d.Chmod(name, st.Perm()|0o700) != nil {
		return err
	}
	return stage.Exchange(staged, d, name)
}

// writable runs f, and if it is refused because d is read-only for its own
// owner, once more with d made writable for that time.
func (c *committer) writable(d *fsroot.Dir, f func() error) error {
	err := f()
	if c.t.root || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	st, serr := d.LstatSelf()
	if serr != nil || st.Perm()&0o300 == 0o300 || d.ChmodSelf(st.Perm()|0o300) != nil {
		return err
	}
	err = f()
	if cerr := d.ChmodSelf(st.Perm()); err == nil {
		err = cerr
	}
	return err
}

// sync brings the new names to the disk.
func (c *committer) sync() error {
	if err := c.change("sync", ""); err != nil {
		return err
	}
	if c.work > fewFiles || len(c.touched) > fewFiles || c.inPlace {
		return c.t.m.Root.SyncFS()
	}
	for path := range c.touched {
		d, err := c.t.m.Root.OpenDir(path)
		if err != nil {
			continue // deleted since, or never there
		}
		err = d.Sync()
		d.Close()
		if err != nil {
			return c.t.m.Root.SyncFS()
		}
	}
	return nil
}

// cleanUp removes plan and stage: the push is over.
func (c *committer) cleanUp() error {
	if err := c.change("clean up", ""); err != nil {
		return err
	}
	s := c.t.stage
	left, err := s.remove()
	if err != nil {
		return err
	}
	if left != nil {
		c.t.warn("rubbish", "", fmt.Sprintf("the push is committed; something that it replaced can't be removed from %s, which is tried again with each push: %s", c.t.m.stageDir, left))
	}
	c.t.stage = nil
	c.t.m.unfinished.remove(c.t)
	return join(s.close(), c.t.closeLeftovers(true))
}
