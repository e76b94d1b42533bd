package tree

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"makuo/internal/fsroot"
	"makuo/protocol"
)

// fewFiles is up to how many staged entries are synced one by one; more are
// left to one syncfs, which also waits for what others have written.
const fewFiles = 16

var errDryRun = errors.New("a dry run stages nothing")

// Stage ends the transfer: every wanted file must be complete now, or have been
// given up by the origin; with anything missing the member is not staged. When
// it returns, everything that Commit needs is on disk, and
// digest, that of the manifest, with it.
func (t *Target) Stage(digest uint64) (protocol.Counts, error) {
	switch {
	case t.dry:
		return t.Counts(), errDryRun
	case t.staged:
		return t.Counts(), nil
	case t.stage == nil:
		t.staged = true
		return t.Counts(), nil
	}
	if err := t.allArrived(); err != nil {
		return t.Counts(), t.noteFull(err)
	}
	if err := t.stage.plan.flush(); err != nil {
		return t.Counts(), t.noteFull(memberError{err})
	}
	count := 0
	first := newPlanReader(t.stage.plan.f)
	err := t.eachStep(func(s *step) error {
		if isStaged(s) {
			count++
		}
		if s.op == opLink {
			return t.stageLink(first, s)
		}
		return nil
	})
	if err == nil {
		at := fsroot.FileClock() // the files are all there
		err = t.eachStep(func(s *step) error { return t.stageDirectory(s, at) })
	}
	if err == nil {
		err = t.syncStaged(count)
	}
	if err == nil {
		err = t.recordStaged(digest)
	}
	t.staged = err == nil
	return t.Counts(), t.noteFull(err)
}

// eachStep calls f with each step after the header, in the plan's order; f does
// not keep it.
func (t *Target) eachStep(f func(s *step) error) error {
	r := newPlanReader(t.stage.plan.f)
	var s step // one for all: it would be allocated for each
	for {
		var err error
		if s, err = r.next(); err == io.EOF {
			return nil
		}
		if err != nil {
			return memberError{err}
		}
		if s.op == opHeader {
			continue
		}
		t.work.Add(1)
		if err := f(&s); err != nil {
			return err
		}
	}
}

// allArrived refuses to stage with holes: content that was wanted, and that the
// origin neither sent nor gave up, makes the whole member fail. What it has is
// kept for the next push.
func (t *Target) allArrived() error {
	r := newPlanReader(t.stage.plan.f)
	lacking, first := 0, ""
	err := t.wants.unsettled(func(w want) error {
		if lacking++; lacking > 1 {
			return nil
		}
		s, err := r.at(w.off)
		if err != nil {
			return memberError{err}
		}
		first = s.path
		return nil
	})
	if err != nil || lacking == 0 {
		return err
	}
	return memberError{fmt.Errorf("content of %s (files lacking: %d) did not arrive: nothing was changed here; push again", first, lacking)}
}

// stageLink makes a hard link in the stage to the file that its first name will
// be: the staged one, which first reads from the plan, or the one that stays.
func (t *Target) stageLink(first *planReader, s *step) error {
	e, err := s.manifestEntry()
	if err != nil {
		return memberError{err}
	}
	if err := t.linkStaged(first, s, e.Link); err != nil {
		return t.failEntry(s, err)
	}
	return nil
}

func (t *Target) linkStaged(r *planReader, s *step, first string) error {
	failed := fmt.Errorf("is a hard link to %q, which failed", first)
	d, name, err := t.stage.place(s)
	if err != nil {
		return err
	}
	defer d.Close()
	var from *fsroot.Dir
	var old string
	switch g := t.links.get(first); g.kind() {
	case linkKept:
		if from, old, err = t.linkKeptFrom(g, first); err != nil {
			return err
		}
	case linkStaged:
		step, err := r.at(g.offset())
		if err != nil {
			return memberError{fmt.Errorf("plan at %d: %w", g.offset(), err)}
		}
		if step.path != first {
			return failed
		}
		if from, old, err = t.stage.place(&step); err != nil {
			return err
		}
	default:
		return failed
	}
	defer from.Close()
	if linkHook != nil {
		linkHook()
	}
	err = d.Link(from, old, name)
	if isBorder(err) {
		return fmt.Errorf("is a hard link to %q, which %w", first, errBorder)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return failed
	}
	if g := t.links.get(first); err == nil && g.kind() == linkKept {
		return g.linked(d, name, first)
	}
	return err
}

// linkHook, if set, is called just before a link is made. For tests.
var linkHook func()

// linkKeptFrom opens the directory of a first name that stays.
func (t *Target) linkKeptFrom(g linkGroup, first string) (*fsroot.Dir, string, error) {
	dir, old := splitPath(first)
	from, err := t.m.Root.OpenDir(dir)
	if err != nil {
		return nil, "", err
	}
	if st, err := from.Lstat(old); err != nil || !g.keeps(&st) {
		from.Close()
		return nil, "", fmt.Errorf("is a hard link to %q, which was changed here during the push", first)
	}
	return from, old, nil
}

// linked checks, once the link is made, that it is one to the file that was
// judged: its name may have led to another one by then.
func (g linkGroup) linked(d *fsroot.Dir, name, first string) error {
	st, err := d.Lstat(name)
	if err == nil && g.keeps(&st) {
		return nil
	}
	return join(fmt.Errorf("is a hard link to %q, which was changed here during the push", first), d.Remove(name))
}

// failEntry makes err a Problem of an entry that was counted as changed.
func (t *Target) failEntry(s *step, err error) error {
	if err = t.fail(s.path, err); err == nil {
		t.counted(func(c *protocol.Counts) { c.Changed-- })
	}
	return err
}

// stageDirectory gives a new directory its attributes, after everything in it.
// The top of a new tree stays writable for its owner until it is renamed: who
// is not root could not move it otherwise.
// From then on at is known to be a time at which none of its files had
// attributes, if so it is.
func (t *Target) stageDirectory(s *step, at int64) error {
	if s.op != opDirAttr || !s.has(stepInTree) {
		return nil
	}
	e, err := s.manifestEntry()
	if err != nil {
		return memberError{err}
	}
	d, name, err := t.stage.place(s)
	if err != nil {
		return t.fail(s.path, err)
	}
	defer d.Close()
	nd := node{d, name}
	if err := t.ownNew(s, e, nd.chown); err != nil {
		return t.fail(s.path, err)
	}
	st, err := nd.stat()
	if err != nil {
		return t.fail(s.path, err)
	}
	mode := e.Mode
	if s.has(stepTop) && !t.root {
		mode |= 0o700
	}
	if s.has(stepPlain) {
		t.m.plain.note(plainCompare, s.path, st.Ino, at)
	}
	return t.fail(s.path, t.apply(nd, e, &st, mode))
}

// syncStaged brings the staged entries to the disk.
func (t *Target) syncStaged(count int) error {
	if count <= fewFiles {
		if err := t.eachStep(t.syncOne); err == nil {
			return t.stage.dir.Sync()
		}
		// Whatever stopped that, an unreadable mode for one, does not stop syncfs.
	}
	t.work.sync(t.stage.root.Dev())
	defer t.work.synced()
	return t.stage.root.SyncFS()
}

// isStaged reports whether s has something of its own in the stage: for a new
// directory that is the step of its attributes.
func isStaged(s *step) bool {
	return s.op >= opFile && s.op <= opLink || s.op == opDirAttr && s.has(stepInTree)
}

func (t *Target) syncOne(s *step) error {
	if !isStaged(s) {
		return nil
	}
	d, name, err := t.stage.place(s)
	if err != nil {
		return err
	}
	defer d.Close()
	if s.op == opDirAttr {
		child, err := d.OpenChild(name)
		if err != nil {
			return err
		}
		defer child.Close()
		return child.Sync()
	}
	if s.op == opFile {
		f, err := d.OpenRead(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // failed
		}
		if err != nil {
			return err
		}
		defer f.Close()
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return d.Sync()
}

// recordStaged closes the plan: from here on it can be committed.
func (t *Target) recordStaged(digest uint64) error {
	t.mu.Lock()
	if t.holdAll {
		t.noDelete = true
	}
	steps := make([]step, 0, len(t.held)+1)
	for dir := range t.held {
		steps = append(steps, step{op: opHold, path: dir})
	}
	end := planStaged{digest: digest, noDelete: t.noDelete, counts: t.counts}
	t.mu.Unlock()
	steps = append(steps, step{op: opStaged, rest: end.append(nil)})
	for i := range steps {
		if _, err := t.stage.plan.add(&steps[i]); err != nil {
			return err
		}
	}
	if err := t.stage.plan.flush(); err != nil {
		return err
	}
	if err := t.stage.makeReady(); err != nil {
		return err
	}
	if err := t.stage.plan.f.Sync(); err != nil {
		return err
	}
	if err := t.stage.dir.Sync(); err != nil {
		return err
	}
	return t.stage.syncArea()
}

// makeReady makes what becomes the mark. It is on disk with the names of the
// directory; it is empty.
func (s *pushStage) makeReady() error {
	f, err := s.dir.Create(readyName, 0o600)
	if err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	}
	return f.Close()
}

// syncArea brings the name of the push's directory to the disk.
func (s *pushStage) syncArea() error {
	d, err := s.root.OpenDir(".")
	if err != nil {
		return err
	}
	defer d.Close()
	for _, d := range [...]*fsroot.Dir{d, s.m.area.parent} {
		if err := d.Sync(); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	return nil
}

// Discard ends a push that is not committed: nothing of it stays. With keep
// its complete files are kept for the next push that wants the same, unless it
// was space that it failed for.
func (t *Target) Discard(keep bool) error {
	t.ending.Lock()
	defer t.ending.Unlock()
	if t.marked {
		return errors.New("a push whose commit has begun can't be discarded")
	}
	t.m.unfinished.remove(t)
	keep = keep && !t.full.Load()
	var err error
	if t.stage != nil {
		if keep {
			err = t.stage.keep()
		} else {
			_, err = t.stage.remove()
		}
		err = join(err, t.stage.close())
		t.stage = nil
	}
	t.closeFrames()
	err = join(err, t.closeLeftovers(!keep))
	if keep {
		err = join(err, t.m.trimLeftovers(time.Now()))
	}
	return err
}

// keep turns the directory of a push into a leftover.
func (s *pushStage) keep() error {
	if err := s.plan.flush(); err != nil {
		return err
	}
	area, err := s.root.OpenDir(".")
	if err != nil {
		return err
	}
	defer area.Close()
	name := s.path
	s.root.Invalidate(s.path)
	if _, err := throwAway(area, keptPrefix+name); err != nil {
		return err
	}
	return area.Rename(name, area, keptPrefix+name)
}

// Close frees what the push holds in memory and open files. What is staged and
// neither committed nor discarded stays on disk for Recover.
func (t *Target) Close() {
	t.ending.Lock()
	defer t.ending.Unlock()
	if t.closed {
		return
	}
	t.m.unfinished.remove(t)
	t.closed = true
	t.closeFrames()
	for _, pf := range t.parts {
		pf.closeFile()
	}
	if t.stage != nil {
		t.stage.close() // nothing is lost: the directory is not empty and stays
		t.stage = nil
	}
	t.closeLeftovers(false)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.problems.close()
	t.deletes.close()
}

func (t *Target) closeFrames() {
	for _, f := range t.frames {
		if f.dir != nil {
			f.dir.Close()
		}
	}
	t.frames = nil
}
