package push

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"makuo/protocol"
)

// Store keeps on disk what must outlive the daemon: the sessions it had, the
// decisions it took as an origin, and the pushes it committed as a member.
//
//	sessions     one session a line, hexadecimal; the last is the newest
//	decisions/ID one file for each push this host decided to commit
//	committed    "ID module unixnano" a line, the last is the newest; a push
//	             that a crash cut short after that is committed by the next start
//
// A decision is on disk, synced, before the first order to commit is sent. No
// file for a push of one of our sessions means that it was never decided.
type Store struct {
	dir       string
	sessions  map[protocol.Session]bool
	decisions map[protocol.PushID]bool
	committed map[protocol.PushID]bool
	last      map[string]LastPush
	decided   []protocol.PushID // the keys of decisions, oldest first
	lines     int               // of the file committed
}

// LastPush is the last push committed to a module.
type LastPush struct {
	ID protocol.PushID
	At time.Time
}

const (
	keepDecisions = 2000
	keepCommitted = 2000
	keepSessions  = 200
)

// OpenStore reads the store in dir, which is made if it is absent, and notes
// the session of this run.
func OpenStore(dir string, self protocol.Session) (*Store, error) {
	s := &Store{dir: dir, sessions: make(map[protocol.Session]bool), decisions: make(map[protocol.PushID]bool),
		committed: make(map[protocol.PushID]bool), last: make(map[string]LastPush)}
	if err := os.MkdirAll(filepath.Join(dir, "decisions"), 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	if err := errors.Join(s.readSessions(self), s.readDecisions(), s.readCommitted()); err != nil {
		return nil, fmt.Errorf("state directory %s: %w", dir, err)
	}
	return s, nil
}

// readLines hands over the lines of a file; one that a crash cut off is none.
func readLines(path string, take func(string)) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	lines := strings.Split(string(b), "\n")
	for _, l := range lines[:len(lines)-1] {
		take(l)
	}
	return err
}

func (s *Store) readSessions(self protocol.Session) error {
	path := filepath.Join(s.dir, "sessions")
	var lines []string
	err := readLines(path, func(l string) {
		if n, err := strconv.ParseUint(l, 16, 64); err == nil {
			s.sessions[protocol.Session(n)] = true
			lines = append(lines, l)
		}
	})
	if err != nil {
		return err
	}
	s.sessions[self] = true
	lines = append(lines, strconv.FormatUint(uint64(self), 16))
	if len(lines) > keepSessions {
		lines = lines[len(lines)-keepSessions:]
	}
	return WriteFile(path, strings.Join(lines, "\n")+"\n")
}

// WriteFile replaces a file, mode 0600, so that a crash leaves the old or the
// new one.
func WriteFile(path, content string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (s *Store) readCommitted() error {
	path := filepath.Join(s.dir, "committed")
	var lines []string
	err := readLines(path, func(l string) {
		f := strings.Fields(l)
		if len(f) != 3 {
			return // a line cut off by a crash
		}
		id, err := protocol.ParsePushID(f[0])
		at, err2 := strconv.ParseInt(f[2], 10, 64)
		if err != nil || err2 != nil {
			return
		}
		s.committed[id] = true
		s.last[f[1]] = LastPush{id, time.Unix(0, at)}
		lines = append(lines, l)
	})
	if _, none := os.Lstat(path); err != nil || none != nil {
		return err
	}
	if len(lines) > keepCommitted {
		lines = lines[len(lines)-keepCommitted:]
	}
	s.lines = len(lines)
	return WriteFile(path, strings.Join(append(lines, ""), "\n"))
}

// Commit notes that a push of a module is committed here as a member: it is the
// module's last one.
func (s *Store) Commit(id protocol.PushID, module string, at time.Time) {
	s.last[module] = LastPush{id, at}
}

// Ordered notes, before the work begins, that a push is to be committed here as
// a member: other members' questions are answered so from now on. A line lost
// in a crash costs nothing but an answer. What was noted before is not noted
// again.
func (s *Store) Ordered(id protocol.PushID, module string, at time.Time) error {
	if s.committed[id] {
		return nil
	}
	s.committed[id] = true
	f, err := os.OpenFile(filepath.Join(s.dir, "committed"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%s %s %d\n", id, module, at.UnixNano())
	return errors.Join(err, f.Close(), s.trimCommitted())
}

// Last returns the last push committed to a module.
func (s *Store) Last(module string) LastPush { return s.last[module] }

// Outcome returns how a push ended as far as this host knows, and whether the
// host is its origin. A push of ours that is running is not known here.
func (s *Store) Outcome(id protocol.PushID) (protocol.Outcome, bool) {
	own := s.sessions[id.Origin]
	switch {
	case s.decisions[id]:
		return protocol.OutcomeCommitted, own
	case own:
		return protocol.OutcomeAborted, true
	case s.committed[id]:
		return protocol.OutcomeCommitted, false
	}
	return protocol.OutcomeUnknown, false
}
