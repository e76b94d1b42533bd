package push

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"makuo/protocol"
)

// decisionContent is what the file of a decision holds: a file without it, or
// with a part of it, is no decision.
func decisionContent(id protocol.PushID) string {
	return fmt.Sprintf("%s %016x\n", id, xxhash.Sum64String(id.String()))
}

func (s *Store) decision(id protocol.PushID) string {
	return filepath.Join(s.dir, "decisions", id.String())
}

// readDecisions takes the complete decisions and removes all else.
func (s *Store) readDecisions() error {
	dir := filepath.Join(s.dir, "decisions")
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range list { // sorted by name, so by time
		id, err := protocol.ParsePushID(e.Name())
		if err == nil {
			var b []byte
			if b, err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
				return err // it may be one: to take it for none could undo a commit
			}
			if string(b) == decisionContent(id) {
				s.Decided(id)
				continue
			}
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// Decide puts the decision to commit a push of ours on disk. It touches only
// the disk and may be called from any goroutine; Decided notes it. After an
// error no decision is on disk.
func (s *Store) Decide(id protocol.PushID) error {
	path := s.decision(id)
	err := WriteFile(path, decisionContent(id))
	if err != nil {
		// The rename may have been done, and only its sync have failed.
		if e := os.Remove(path); !errors.Is(e, os.ErrNotExist) {
			err = errors.Join(err, e, syncDir(filepath.Dir(path)))
		}
	}
	return err
}

// Decided notes a decision that Decide wrote, and forgets the oldest.
func (s *Store) Decided(id protocol.PushID) {
	if s.decisions[id] {
		return
	}
	s.decisions[id] = true
	s.decided = append(s.decided, id)
	for len(s.decided) > keepDecisions {
		os.Remove(s.decision(s.decided[0])) // one that stays is removed later
		delete(s.decisions, s.decided[0])
		s.decided = slices.Delete(s.decided, 0, 1)
	}
}

// trimCommitted shortens the file of commits when it is twice as long as it
// needs to be. It is called for each new line.
func (s *Store) trimCommitted() error {
	if s.lines++; s.lines <= 2*keepCommitted {
		return nil
	}
	path := filepath.Join(s.dir, "committed")
	var lines []string
	if err := readLines(path, func(l string) { lines = append(lines, l) }); err != nil {
		return err
	}
	for len(lines) > keepCommitted {
		if f := strings.Fields(lines[0]); len(f) > 0 {
			if id, err := protocol.ParsePushID(f[0]); err == nil {
				delete(s.committed, id)
			}
		}
		lines = lines[1:]
	}
	s.lines = len(lines)
	return WriteFile(path, strings.Join(append(lines, ""), "\n"))
}
