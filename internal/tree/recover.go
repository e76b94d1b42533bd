package tree

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"makuo/internal/fsroot"
	"makuo/protocol"
)

// Pending is a push that was staged when the daemon ended, with no decision
// known here.
type Pending struct {
	ID     protocol.PushID
	Header *protocol.PushHeader
	Paths  []string // of the header
	Digest uint64
	Since  time.Time // when it was staged

	t *Target
}

// Commit makes the push live.
func (p *Pending) Commit() (protocol.Counts, time.Duration, error) { return p.t.Commit() }

// Discard drops the push; complete files are kept for the next one.
func (p *Pending) Discard() error { return p.t.Discard(true) }

// Target returns the push for its logs. Close it after Commit or Discard.
func (p *Pending) Target() *Target { return p.t }

// Recover puts in order what the last run of the daemon left. Commits that had
// begun are finished; pushes that were staged without a decision are returned;
// of all others the complete files are kept for the next push. Call it once,
// before the first Begin. The error tells of pushes that could not be finished;
// the rest is done all the same.
func (m *Module) Recover() ([]*Pending, error) {
	m.accounts.refresh()
	names, err := m.stageNames()
	if err != nil || len(names) == 0 {
		return nil, err
	}
	// Keeps the staging directory while its contents go.
	root, err := m.existingStage()
	if err != nil {
		return nil, err
	}
	area, err := root.OpenDir(".")
	if err != nil {
		return nil, join(err, m.releaseStage())
	}
	var pending []*Pending
	var errs []error
	for _, name := range names {
		id, err := protocol.ParsePushID(name)
		if err != nil {
			continue
		}
		p, err := m.recoverPush(area, name, id)
		if err != nil {
			errs = append(errs, fmt.Errorf("push %s: %w", name, err))
		}
		if p != nil {
			pending = append(pending, p)
		}
	}
	area.Close()
	errs = append(errs, m.trimLeftovers(time.Now()), m.releaseStage())
	return pending, join(errs...)
}

// stageNames lists the staging directory; none if it is not there. One that is
// empty goes.
func (m *Module) stageNames() ([]string, error) {
	root, err := m.existingStage()
	if err != nil {
		return nil, absentOK(err)
	}
	var list []string
	d, err := root.OpenDir(".")
	if err == nil {
		var names *fsroot.Names
		if names, err = d.Names(); err == nil {
			for i := range names.Len() {
				list = append(list, strings.Clone(names.Name(i)))
			}
		}
		d.Close()
	}
	return list, join(err, m.releaseStage())
}

// recoverPush decides about one push: roll forward, pending, or leftover.
func (m *Module) recoverPush(area *fsroot.Dir, name string, id protocol.PushID) (*Pending, error) {
	s, err := m.openPushStage(name, false)
	if errors.Is(err, fs.ErrNotExist) { // it has no plan: rubbish
		_, err := throwAway(area, name)
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	h, held, end, err := readPlan(s)
	if s.marked() && (err != nil || h.id != id || end == nil) {
		return nil, join(damagedError(path.Join(m.stageDir, name), err), s.close())
	}
	if err != nil || h.id != id {
		_, err := throwAway(area, name)
		return nil, join(s.close(), err)
	}
	if end == nil {
		return nil, join(s.keep(), s.close())
	}
	if s.marked() {
		return nil, m.rollForward(s, h, held, end)
	}
	t, err := m.reopen(s, h, held, end)
	if err != nil {
		return nil, join(err, s.close())
	}
	p := &Pending{ID: id, Header: h.header, Paths: h.header.Paths, Digest: end.digest, t: t}
	if st, err := s.dir.Lstat(planName); err == nil {
		p.Since = time.Unix(st.Sec, int64(st.Nsec))
	}
	return p, nil
}

// damagedError is about a push that was being committed and whose plan can't be
// read to its end. It is for a human to look at: nothing of it is removed.
func damagedError(dir string, err error) error {
	why := "it ends too early, or is that of another push"
	if err != nil {
		why = err.Error()
	}
	return fmt.Errorf("its commit had begun, and can't be finished because the plan is damaged (%s): push the same paths again, then remove %s", why, dir)
}

// readPlan reads a plan to its end; end is nil if it was not staged.
func readPlan(s *pushStage) (h planHeader, held map[string]bool, end *planStaged, err error) {
	h, r, err := openPlan(s.plan.f)
	if err != nil {
		return h, nil, nil, err
	}
	held = make(map[string]bool)
	for {
		st, err := r.next()
		switch {
		case err == io.EOF, errors.Is(err, errStep):
			return h, held, nil, nil // cut off in the middle
		case err != nil:
			return h, nil, nil, err
		case st.op == opHold:
			held[st.path] = true
		case st.op == opStaged:
			p, err := parsePlanStaged(st.rest)
			return h, held, &p, err
		}
	}
}

// reopen makes the target of a staged push again.
func (m *Module) reopen(s *pushStage, h planHeader, held map[string]bool, end *planStaged) (*Target, error) {
	t, err := m.begin(h.id, h.header)
	if err != nil {
		return nil, err
	}
	t.closeFrames()
	t.closeLeftovers(false)
	t.otherBoot = h.boot != bootID()
	t.stage, t.held, t.noDelete, t.counts, t.staged = s, held, end.noDelete, end.counts, true
	return t, nil
}
