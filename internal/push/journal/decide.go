package journal

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"makuo/protocol"
)

// A decision is one line that is added to the file "decided" and synced. What a
// crash leaves:
//
//	before the line      no decision: the push was aborted
//	a part of the line   no decision: its checksum is missing or wrong
//	the line, not synced either; nobody was told anything
//	the line             decided
//
// After an error of the disk the line may be there. The file is then written anew
// without it: only when that has worked is the push aborted for certain. Until
// then the push is in doubt, and nobody who asks gets an answer.

// readDecisions takes the complete decisions. If lines in the middle are
// damaged, no push until now is known not to have been decided.
func (s *Store) readDecisions(now time.Time) error {
	log, damaged, err := OpenLog(filepath.Join(s.dir, "decided"))
	if err != nil {
		return err // it may hold a decision: to take it for none could undo a commit
	}
	s.decisions = log
	for _, l := range log.Lines() {
		if n, ok := strings.CutPrefix(l, "since "); ok {
			if t, err := strconv.ParseInt(n, 10, 64); err == nil {
				s.since = max(s.since, t)
			}
		} else if id, err := protocol.ParsePushID(l); err == nil {
			s.decided.add(id, l)
		}
	}
	if damaged {
		s.since = max(s.since, now.UnixNano())
	}
	if s.trimDecisions(now) || log.torn {
		return log.Replace(s.decisionLines())
	}
	return nil
}

func (s *Store) decisionLines() []string {
	if s.since == 0 {
		return s.decided.lines()
	}
	return append([]string{fmt.Sprintf("since %d", s.since)}, s.decided.lines()...)
}

// trimDecisions forgets decisions that nobody asks for any more and reports
// whether the file is to be written anew.
func (s *Store) trimDecisions(now time.Time) bool {
	newest := s.decided.trim(now)
	s.since = max(s.since, newest)
	return newest > 0
}

// Decide puts the decision to commit a push of ours on disk; then is called when
// that is done. After an error that is not ErrDoubt no decision is on disk.
func (s *Store) Decide(id protocol.PushID, now time.Time, then func(now time.Time, err error)) {
	s.doubt[id] = true
	line := id.String()
	s.j.Do(func() error {
		err := s.decisions.Append(line, true)
		if errors.Is(err, ErrDoubt) && s.decisions.Replace(s.decisions.Lines()) == nil {
			return &takenBack{err}
		}
		return err
	}, func(now time.Time, err error) {
		if !errors.Is(err, ErrDoubt) {
			delete(s.doubt, id)
		}
		if err == nil {
			s.decided.add(id, line)
		}
		then(now, err)
	})
	if s.trimDecisions(now) {
		s.rewrite()
	}
}

// takenBack is an error that leaves no doubt any more.
type takenBack struct{ err error }

func (e *takenBack) Error() string {
	return strings.TrimSuffix(e.err.Error(), "; "+ErrDoubt.Error())
}

// rewrite shortens the file. What is decided and not yet noted in memory stays:
// the lines to drop are named, not those to keep.
func (s *Store) rewrite() {
	since := s.since
	s.j.Do(func() error {
		lines := []string{fmt.Sprintf("since %d", since)}
		for _, l := range s.decisions.Lines() {
			if id, err := protocol.ParsePushID(l); err == nil && id.Start > since {
				lines = append(lines, l)
			}
		}
		return s.decisions.Replace(lines)
	}, nil)
}

// settle tries again to take back what is in doubt.
func (s *Store) settle() {
	if s.settling {
		return
	}
	s.settling = true
	var ids []protocol.PushID
	for id := range s.doubt {
		ids = append(ids, id)
	}
	s.j.Do(func() error {
		if !s.decisions.torn {
			return nil
		}
		return s.decisions.Replace(s.decisions.Lines())
	}, func(_ time.Time, err error) {
		s.settling = false
		for _, id := range ids {
			if err == nil {
				delete(s.doubt, id)
			}
		}
	})
}
