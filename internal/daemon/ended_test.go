package daemon

import (
	"strings"
	"testing"

	"makuo/internal/control"
	"makuo/internal/transport/leak"
)

// TestFailedHere: a member's own status says how its last push ended there, also
// after a restart.
func TestFailedHere(t *testing.T) {
	leak.Check(t)
	c := newCluster(t)
	l := c.machines("a", "b")
	own := func() control.LastPush {
		for _, s := range l[1].status().Members {
			if s.Self && s.LastPush != nil {
				return *s.LastPush
			}
		}
		return control.LastPush{}
	}
	l[1].site("t", 5) // all of which is to go
	l[0].site("t/sub", 1)
	none := 0
	req := paths("t")
	req.Delete, req.MaxDelete = true, &none
	l[0].push(req, nil).exits(t, control.ExitPartial)
	l[1].clean()
	p := own()
	if p.Outcome != control.OutcomeFailed || !strings.Contains(string(p.Message), "in error") && !strings.Contains(string(p.Message), "delete") || p.Origin != "a" {
		t.Errorf("after a push with errors: %+v", p)
	}
	l[1].stop()
	l[1].start()
	if again := own(); again.Push != p.Push || again.Outcome != p.Outcome || again.Message != p.Message {
		t.Errorf("after a restart: %+v", again)
	}
	c.settle(l...)
	req.MaxDelete = nil
	l[0].push(req, nil).exits(t, control.ExitOK)
	l[1].clean()
	if p := own(); p.Outcome != control.OutcomeDone || p.Message != "" {
		t.Errorf("after one without: %+v", p)
	}
}
