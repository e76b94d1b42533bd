package journal

import (
	"encoding/json"
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
// decisions it took as an origin, and how pushes ended here as a member. What
// it knows is in memory and belongs to one owner; what it writes goes through
// the journal.
//
//	sessions   one session a line, hexadecimal; the last is the newest
//	decided    one line for each push this host decided to commit: its id; a
//	           line "since N" says that of pushes that began until then, in Unix
//	           nanoseconds, no more is known than what the other lines say
//	committed  "ID module unixnano" a line, for each push committed here as a
//	           member, from before the first rename
//	last.json  how the last pushes ended here, by module
//
// A decision is on disk, synced, before the first order to commit is sent. No
// line for a push of one of our sessions means that it was never decided.
type Store struct {
	dir      string
	j        *Journal
	sessions map[protocol.Session]bool
	last     map[string]*Last

	decided   idSet
	decisions *Log // belongs to the journal
	since     int64
	doubt     map[protocol.PushID]bool // written with an error: perhaps decided
	settling  bool

	committed idSet
	commits   *Log // belongs to the journal
}

// Last is how the last pushes of a module ended at this member.
type Last struct {
	Committed LastPush `json:"committed"` // the newest that was committed here
	Ended     LastPush `json:"ended"`     // the newest of any end
}

// LastPush is a push that ended at this member.
type LastPush struct {
	ID     protocol.PushID `json:"-"`
	Push   string          `json:"push"` // ID as text
	Origin string          `json:"origin,omitempty"`
	At     time.Time       `json:"at"`
	Errors uint64          `json:"errors,omitempty"` // paths that could not be done
	Failed string          `json:"failed,omitempty"` // why it failed as a whole

	// Unchanged says that it ended well and had nothing to change.
	Unchanged bool `json:"unchanged,omitempty"`
}

// Limits of what is kept. A member asks for a decision as long as it has the
// push staged: until ten minutes after it has heard the cluster again.
const (
	keepFor      = 28 * 24 * time.Hour
	keepMost     = 50_000
	keepSessions = 200
)

// OpenStore reads the store in dir, which is made if it is absent, and notes
// the session of this run. It works on the disk itself; later work is j's.
func OpenStore(dir string, self protocol.Session, now time.Time, j *Journal) (*Store, error) {
	s := &Store{dir: dir, j: j, sessions: make(map[protocol.Session]bool), last: make(map[string]*Last), doubt: make(map[protocol.PushID]bool)}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	if err := errors.Join(s.readSessions(self), s.readDecisions(now), s.readCommitted(now), s.readLast()); err != nil {
		return nil, fmt.Errorf("state directory %s: %w", dir, err)
	}
	return s, nil
}

func (s *Store) readSessions(self protocol.Session) error {
	path := filepath.Join(s.dir, "sessions")
	var lines []string
	err := readLines(path, func(l string) {
		if _, err := strconv.ParseUint(l, 16, 64); err == nil {
			lines = append(lines, l)
		}
	})
	if err != nil {
		return err
	}
	lines = append(lines, strconv.FormatUint(uint64(self), 16))
	lines = lines[max(0, len(lines)-keepSessions):]
	for _, l := range lines {
		n, _ := strconv.ParseUint(l, 16, 64)
		s.sessions[protocol.Session(n)] = true
	}
	return WriteFile(path, strings.Join(lines, "\n")+"\n")
}

func (s *Store) readCommitted(now time.Time) (err error) {
	if s.commits, _, err = OpenLog(filepath.Join(s.dir, "committed")); err != nil {
		return err
	}
	for _, l := range s.commits.Lines() {
		f := strings.Fields(l)
		if len(f) != 3 {
			continue
		}
		id, err := protocol.ParsePushID(f[0])
		at, err2 := strconv.ParseInt(f[2], 10, 64)
		if err != nil || err2 != nil {
			continue
		}
		s.committed.add(id, l)
		p := LastPush{ID: id, Push: id.String(), At: time.Unix(0, at)}
		s.last[f[1]] = &Last{p, p}
	}
	if s.committed.trim(now) > 0 {
		err = s.commits.Replace(s.committed.lines())
	}
	return err
}

// readLast takes over how pushes ended. A damaged file costs only that.
func (s *Store) readLast() error {
	b, err := os.ReadFile(filepath.Join(s.dir, "last.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	saved := make(map[string]*Last)
	if json.Unmarshal(b, &saved) != nil {
		return nil
	}
	for module, l := range saved {
		if l == nil || l.Committed.parse() != nil || l.Ended.parse() != nil {
			continue
		}
		// A crash may have cut off the one that was committed after that.
		if have := s.last[module]; have == nil || !have.Committed.At.After(l.Ended.At) {
			s.last[module] = l
		}
	}
	return nil
}

func (p *LastPush) parse() (err error) {
	if p.Push != "" {
		p.ID, err = protocol.ParsePushID(p.Push)
	}
	return err
}

// Ordered notes, before the work begins, that a push is to be committed here as
// a member: other members' questions are answered so from now on. then is called
// when it is in the file. A line lost in a crash costs nothing but an answer.
// What was noted before is not noted again.
func (s *Store) Ordered(id protocol.PushID, module string, at time.Time, then func(now time.Time, err error)) {
	line := fmt.Sprintf("%s %s %d", id, module, at.UnixNano())
	if !s.committed.add(id, line) {
		s.j.Do(func() error { return nil }, then)
		return
	}
	s.j.Do(func() error { return s.commits.Append(line, false) }, then)
	if s.committed.trim(at) > 0 {
		lines := s.committed.lines()
		s.j.Do(func() error { return s.commits.Replace(lines) }, nil)
	}
}

// Ended notes how a push of a module ended here as a member; then is called with
// an error when that could not be written.
func (s *Store) Ended(module string, p LastPush, then func(now time.Time, err error)) {
	p.Push = p.ID.String()
	l := &Last{Ended: p}
	if p.Failed == "" && !p.Unchanged {
		l.Committed = p
	} else if old := s.last[module]; old != nil {
		l.Committed = old.Committed
	}
	s.last[module] = l
	b, err := json.Marshal(s.last)
	s.j.Do(func() error {
		if err != nil {
			return err
		}
		return WriteFile(filepath.Join(s.dir, "last.json"), string(b))
	}, then)
}

// Last returns how the last pushes of a module ended here.
func (s *Store) Last(module string) Last {
	if l := s.last[module]; l != nil {
		return *l
	}
	return Last{}
}

// Outcome returns how a push ended as far as this host knows, and whether the
// host is its origin. A push of ours that is running is not known here.
func (s *Store) Outcome(id protocol.PushID) (protocol.Outcome, bool) {
	own := s.sessions[id.Origin]
	switch {
	case s.decided.has(id):
		return protocol.OutcomeCommitted, own
	case s.doubt[id]:
		s.settle()
		return protocol.OutcomeUnknown, own
	case own && id.Start <= s.since:
		return protocol.OutcomeUnknown, true
	case own:
		return protocol.OutcomeAborted, true
	case s.committed.has(id):
		return protocol.OutcomeCommitted, false
	}
	return protocol.OutcomeUnknown, false
}
