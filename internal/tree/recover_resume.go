package tree

import (
	"errors"
	"io/fs"
	"strings"

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
	if err != nil || !st.IsRegular() || uint64(st.Size) != e.Size || !sameTime(e, &st) {
		return false, err
	}
	if e.HasSum {
		if sum, err := sumOf(from, old); err != nil || sum != e.Sum {
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
			errs = append(errs, l.stage.remove())
		}
		errs = append(errs, l.stage.close())
	}
	t.resume = nil
	return errors.Join(errs...)
}

// trimLeftovers removes the oldest leftovers, and what was given up in the
// middle of being removed.
func (m *Module) trimLeftovers() error {
	root, path, err := m.stageRoot()
	if err != nil {
		return err
	}
	if root != m.Root {
		defer root.Close()
	}
	area, err := root.OpenDir(path)
	if err != nil {
		return absentOK(err)
	}
	defer area.Close()
	names, err := area.Names()
	if err != nil {
		return err
	}
	var kept []string
	for i := range names.Len() {
		name := names.Name(i)
		if !strings.HasPrefix(name, keptPrefix) {
			continue
		}
		if hasPlan(area, name) {
			kept = append(kept, name) // sorted: the id begins with the time
		} else if err := area.RemoveTree(name); err != nil {
			return err
		}
	}
	for len(kept) > maxLeftovers {
		if err := area.RemoveTree(kept[0]); err != nil {
			return err
		}
		kept = kept[1:]
	}
	return nil
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
