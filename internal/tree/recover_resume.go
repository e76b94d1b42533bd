package tree

import (
	"errors"
	"io/fs"
	"strings"
	"time"

	"makuo/internal/fsroot"
	"makuo/protocol"
)

// keptPrefix marks the directory of a push that was not committed and whose
// complete files the next push may use.
const keptPrefix = "keep-"

// maxLeftovers is how many of them are kept; the oldest go first.
const maxLeftovers = 4

// leftover is read along with the manifest: its plan is in the same order.
type leftover struct {
	stage *pushStage
	r     *planReader
	cur   step
	entry *protocol.Entry
	done  bool
}

// leftovers opens those that a push of these paths may use.
func (m *Module) leftovers(paths []string) ([]*leftover, error) {
	names, err := m.stageNames()
	if err != nil {
		return nil, err
	}
	var ls []*leftover
	for _, name := range names {
		if !strings.HasPrefix(name, keptPrefix) {
			continue
		}
		s, err := m.openPushStage(name, false)
		if err != nil {
			continue // not to be used, and removed in its turn
		}
		if l := newLeftover(s, paths); l != nil {
			ls = append(ls, l)
			continue
		}
		if err := s.close(); err != nil {
			return nil, err
		}
	}
	return ls, nil
}

// newLeftover returns nil if nothing in s can be used. What another run of the
// kernel wrote is trusted only if it was synced.
func newLeftover(s *pushStage, paths []string) *leftover {
	h, _, end, err := readPlan(s)
	if err != nil || (h.boot != bootID() && end == nil) {
		return nil
	}
	if !overlap(h.header.Paths, paths) {
		return nil
	}
	_, r, err := openPlan(s.plan.f)
	if err != nil {
		return nil
	}
	return &leftover{stage: s, r: r}
}

// advance goes to the first file at or after path.
func (l *leftover) advance(path string) {
	for !l.done && (l.entry == nil || protocol.ComparePaths(l.cur.path, path) < 0) {
		s, err := l.r.next()
		if err == nil && s.op != opFile {
			continue
		}
		if err == nil {
			l.cur = s
			l.entry, err = s.manifestEntry()
		}
		if err != nil { // io.EOF, or a plan that ends in the middle
			l.done = true
		}
	}
}

// reuse takes a complete file of an earlier push for s, if there is one with
// the same path, size and time.
func (t *Target) reuse(s *step, e *protocol.Entry) (bool, error) {
	for _, l := range t.resume {
		l.advance(e.Path)
		if l.done || l.cur.path != e.Path || l.entry.Size != e.Size || l.entry.Sec != e.Sec || l.entry.Nsec != e.Nsec {
			continue
		}
		if err := t.ensureStage(); err != nil {
			return false, err
		}
		if ok, err := t.adopt(l, s, e); ok || isFatal(err) {
			return ok, err
		}
	}
	return false, nil
}

// adopt moves the file and gives it e's attributes. If anything about it is not
// as it should be, it is sent again.
func (t *Target) adopt(l *leftover, s *step, e *protocol.Entry) (bool, error) {
	from, old, err := l.stage.place(&l.cur)
	if err != nil {
		return false, err
	}
	defer from.Close()
	st, err := from.Lstat(old)
	if err != nil || !st.IsRegular() || uint64(st.Size) != e.Size || !t.hold.sameTime(e, &st) {
		return false, err
	}
	if e.HasSum {
		if sum, err := sumOf(from, old, &t.work); err != nil || sum != e.Sum {
			return false, err
		}
	}
	if err := t.apply(node{from, old}, e, &st, stagedMode(e)); err != nil {
		return false, err
	}
	to, name, err := t.stage.place(s)
	if err != nil {
		return false, err
	}
	defer to.Close()
	return true, from.Rename(old, to, name)
}

// closeLeftovers ends the use of the leftovers. Those of a push that has ended
// well are superseded and go.
func (t *Target) closeLeftovers(remove bool) error {
	var errs []error
	for _, l := range t.resume {
		if remove {
			_, err := l.stage.remove()
			errs = append(errs, err)
		}
		errs = append(errs, l.stage.close())
	}
	t.resume = nil
	return join(errs...)
}

// maxLeftoverAge is how long a leftover waits for a push that can use it.
const maxLeftoverAge = 24 * time.Hour

// trimLeftovers removes leftovers that are too many or, at the time now, too
// old, and what was given up in the middle of being removed.
func (m *Module) trimLeftovers(now time.Time) error {
	return m.inArea(func(area *fsroot.Dir, kept []string) error {
		for i, name := range kept {
			if len(kept)-i <= maxLeftovers && now.Sub(leftoverTime(area, name)) < maxLeftoverAge {
				continue
			}
			if _, err := throwAway(area, name); err != nil {
				return err
			}
		}
		return nil
	})
}

// DropLeftovers removes what earlier pushes left for later ones if, at the time
// now, it is older than a day. Call it now and then; it may go on beside pushes.
func (m *Module) DropLeftovers(now time.Time) error {
	if names, err := m.stageNames(); err != nil || len(names) == 0 {
		return err
	}
	return m.trimLeftovers(now)
}

// dropOldest removes the oldest leftover, even one that a push reads along: it
// finds the files gone, and they are sent. dropped is false if there is none.
func (m *Module) dropOldest() (dropped bool, err error) {
	err = m.inArea(func(area *fsroot.Dir, kept []string) error {
		if len(kept) == 0 {
			return nil
		}
		dropped = true
		_, err := throwAway(area, kept[0])
		return err
	})
	return dropped && err == nil, err
}

// inArea calls f with the staging directory, if there is one, and the leftovers
// in it, oldest first. Half a leftover is removed before.
func (m *Module) inArea(f func(area *fsroot.Dir, kept []string) error) (err error) {
	root, err := m.existingStage()
	if err != nil {
		return absentOK(err)
	}
	defer func() { err = join(err, m.releaseStage()) }()
	area, err := root.OpenDir(".")
	if err != nil {
		return err
	}
	defer area.Close()
	names, err := area.Names()
	if err != nil {
		return err
	}
	var kept []string
	for i := range names.Len() {
		name := strings.Clone(names.Name(i))
		if strings.HasPrefix(name, rubbishPrefix) {
			_ = area.RemoveTree(name) // what still can't go was told of
		}
		if !strings.HasPrefix(name, keptPrefix) {
			continue
		}
		if hasPlan(area, name) {
			kept = append(kept, name) // sorted: the id begins with the time
		} else if _, err := throwAway(area, name); err != nil {
			return err
		}
	}
	return f(area, kept)
}

// leftoverTime returns when a leftover was made one, the zero time if that
// can't be told.
func leftoverTime(area *fsroot.Dir, name string) time.Time {
	d, err := area.OpenChild(name)
	if err != nil {
		return time.Time{}
	}
	defer d.Close()
	st, err := d.Lstat(planName)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(st.Sec, int64(st.Nsec))
}

func hasPlan(area *fsroot.Dir, name string) bool {
	d, err := area.OpenChild(name)
	if err != nil {
		return false
	}
	defer d.Close()
	_, err = d.Lstat(planName)
	return !errors.Is(err, fs.ErrNotExist)
}
