//go:build linux

package lab

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Member is one line of a daemon's member table.
type Member struct {
	Name  string
	Addr  string
	State string // alive, missing, duplicate or foreign
	Self  bool
}

// Push is a push in progress as a daemon sees it.
type Push struct {
	Push    string
	Origin  string
	Role    string // origin or member
	Decided bool
}

// Status is what the lab reads of msync --status --json.
type Status struct {
	Members []Member
	Pushes  []Push
}

// TryStatus asks the host's daemon for its status.
func (h *Host) TryStatus() (Status, error) {
	h.lab.t.Helper()
	r := h.run(BaseDir, "--status", "--json")
	if r.Exit != 0 {
		return Status{}, fmt.Errorf("no status: %s", r)
	}
	return ParseStatus(r.Stdout)
}

// ParseStatus reads the output of msync --status --json: one object on a line.
func ParseStatus(out string) (Status, error) {
	for line := range strings.Lines(out) {
		var s Status
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			return s, fmt.Errorf("the status is not one object a line: %w\n%s", err, clip(out))
		}
		if s.Members != nil {
			return s, nil
		}
	}
	return Status{}, fmt.Errorf("the status has no members: %s", clip(out))
}

// State is the state of a member in the host's table, "" if it is not in it.
func (s Status) State(name string) string {
	for _, m := range s.Members {
		if m.Name == name {
			return m.State
		}
	}
	return ""
}

// present is the number of members that are there.
func (s Status) present() int {
	n := 0
	for _, m := range s.Members {
		if m.State == "alive" || m.State == "duplicate" {
			n++
		}
	}
	return n
}

// Settle waits until every running daemon knows all running daemons and shows
// no other as being there.
func (l *Lab) Settle() {
	l.t.Helper()
	var running []*Host
	for _, h := range l.hosts {
		if h.Running() {
			running = append(running, h)
		}
	}
	for _, h := range running {
		WaitFor(l.t, fmt.Sprintf("%s to know %d members", h.Name, len(running)), func() error {
			s, err := h.TryStatus()
			if err == nil && s.present() != len(running) {
				err = fmt.Errorf("it knows %v", s.Members)
			}
			return err
		})
	}
}

// AwaitState waits until the host's table shows a member in a state; "" stands
// for not being in the table.
func (h *Host) AwaitState(name, state string) {
	h.lab.t.Helper()
	WaitFor(h.lab.t, fmt.Sprintf("%s to see %s as %q", h.Name, name, state), func() error {
		s, err := h.TryStatus()
		if err == nil && s.State(name) != state {
			err = fmt.Errorf("its state is %q", s.State(name))
		}
		return err
	})
}

// AwaitIdle waits until the host's daemon has no push in progress.
func (h *Host) AwaitIdle() {
	h.lab.t.Helper()
	WaitFor(h.lab.t, h.Name+" to have no push in progress", func() error {
		s, err := h.TryStatus()
		if err == nil && len(s.Pushes) > 0 {
			err = fmt.Errorf("it has %v", s.Pushes)
		}
		return err
	})
}
