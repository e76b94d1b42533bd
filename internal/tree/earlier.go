package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"

	"makuo/protocol"
)

// unfinished knows the pushes of this process whose commit has begun and has
// not ended: the tree is between two states on their paths.
type unfinished struct {
	finish  sync.Mutex // held while earlier commits are finished, one at a time
	mu      sync.Mutex
	targets map[protocol.PushID]*Target
}

func (u *unfinished) add(t *Target) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.targets == nil {
		u.targets = make(map[protocol.PushID]*Target)
	}
	u.targets[t.id] = t
}

func (u *unfinished) remove(t *Target) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.targets[t.id] == t {
		delete(u.targets, t.id)
	}
}

func (u *unfinished) list() []*Target {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.SortedFunc(maps.Values(u.targets), func(a, b *Target) int {
		if a.id.Less(b.id) {
			return -1
		}
		return 1
	})
}

// overlap reports whether a path of a lies within one of b, or the other way.
func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(a string) bool {
		return slices.ContainsFunc(b, func(b string) bool { return protocol.Within(a, b) || protocol.Within(b, a) })
	})
}

// finishEarlier carries out the commits on overlapping paths that stopped
// half-way, before a push compares with what they left. If it did not, the next
// start would roll them forward over what that push commits.
func (m *Module) finishEarlier(paths []string) error {
	m.unfinished.finish.Lock()
	defer m.unfinished.finish.Unlock()
	open := make(map[protocol.PushID]bool)
	for _, t := range m.unfinished.list() {
		open[t.id] = true
		if !overlap(t.header.Paths, paths) {
			continue
		}
		if _, _, err := t.Commit(); err != nil {
			return unfinishedError(t.id, err)
		}
	}
	names, err := m.stageNames()
	if err != nil {
		return err
	}
	for _, name := range names {
		id, err := protocol.ParsePushID(name)
		if err != nil || open[id] {
			continue
		}
		if err := m.finishOne(name, id, paths); err != nil {
			return unfinishedError(id, err)
		}
	}
	return nil
}

func unfinishedError(id protocol.PushID, err error) error {
	return fmt.Errorf("the commit of the earlier push %s stopped half-way here and still can't be finished: %w", id, err)
}

// finishOne finishes a push of which only the directory is left. A plan that is
// damaged can never be rolled forward, so it stands in nobody's way.
func (m *Module) finishOne(name string, id protocol.PushID, paths []string) error {
	s, err := m.openPushStage(name, false)
	if err != nil {
		return absentOK(err) // without a plan it is rubbish, or over by now
	}
	if !s.marked() {
		return s.close()
	}
	h, held, end, err := readPlan(s)
	switch {
	case errors.Is(err, errStep), err == nil && (end == nil || h.id != id):
		return s.close()
	case err != nil:
		return join(err, s.close())
	case !overlap(h.header.Paths, paths):
		return s.close()
	}
	return m.rollForward(s, h, held, end)
}

// rollForward commits a push again whose commit had begun. It closes s.
func (m *Module) rollForward(s *pushStage, h planHeader, held map[string]bool, end *planStaged) error {
	t, err := m.reopen(s, h, held, end)
	if err != nil {
		return join(err, s.close())
	}
	_, _, err = t.Commit()
	t.Close()
	return err
}

// marked reports whether the commit of the push has begun. What can't be
// looked up counts as begun: nothing of it may be dropped.
func (s *pushStage) marked() bool {
	_, err := s.dir.Lstat(markName)
	return !errors.Is(err, fs.ErrNotExist)
}

// commitStart is what the logs and totals of a push were before its commit: a
// commit that is repeated counts and reports from there.
type commitStart struct {
	counts   protocol.Counts
	problems int64
	warned   map[string]bool
}

// restartCommit notes the start of the first commit, and goes back to it in later
// ones. What was deleted stays deleted, and logged.
func (t *Target) restartCommit() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.began == nil {
		t.counts.Deleted = 0 // counted when it is done
		t.began = &commitStart{counts: t.counts, problems: t.problems.size, warned: maps.Clone(t.warned)}
		return
	}
	deleted := t.counts.Deleted
	t.counts = t.began.counts
	t.counts.Deleted = deleted
	t.problems.truncate(t.began.problems)
	t.warned = maps.Clone(t.began.warned)
}
