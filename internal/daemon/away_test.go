package daemon

import (
	"context"
	"strings"
	"testing"

	"makuo/internal/control"
	"makuo/internal/transport/leak"
)

// TestStoppedMemberIsAway: a member that was stopped is named by each push, and
// the push does not succeed without it.
func TestStoppedMemberIsAway(t *testing.T) {
	leak.Check(t)
	c := newCluster(t)
	l := c.machines("a", "b", "c")
	l[0].site("t", 3)
	l[2].stop()
	state := func() string {
		for _, s := range l[0].status().Members {
			if s.Name == "c" {
				return s.State + ", " + s.How
			}
		}
		return ""
	}
	c.until("c is away", func() bool { return state() == control.StateAway+", "+stoppedText })
	o := l[0].push(paths("t"), nil)
	if s := o.exits(t, control.ExitPartial); s.Away != 1 || s.Missing != 0 || o.members()["c"] != control.OutcomeAway || !strings.Contains(s.Line(), "1 away") {
		t.Errorf("%v, %s", o.members(), s.Line())
	}
	req := paths("t")
	req.IgnoreMissing = true
	l[0].push(req, nil).exits(t, control.ExitOK)
	l[2].start()
	c.settle(l...)
	l[0].push(paths("t"), nil).exits(t, control.ExitOK)
}

// TestJoinedDuringThePush: a member that came too late for a push is named.
func TestJoinedDuringThePush(t *testing.T) {
	leak.Check(t)
	c := newCluster(t)
	l := c.machines("a", "b")
	l[0].site("t", 3)
	c.lose(withoutStaged)
	end := l[0].begin(context.Background(), paths("t"), nil)
	c.until("b is staged", staged(l[1:]))
	d := c.machine("d", nil)
	c.settle(l[0], l[1], d)
	c.lose(nil)
	o := <-end
	if s := o.exits(t, control.ExitPartial); s.Missing != 1 || o.members()["d"] != control.OutcomeMissing || o.members()["b"] != control.OutcomeDone {
		t.Errorf("%v, %s", o.members(), s.Line())
	}
	l[0].push(paths("t"), nil).exits(t, control.ExitOK)
}

// TestForgottenByAll: one member is told to forget; all do, also one that was not
// there.
func TestForgottenByAll(t *testing.T) {
	leak.Check(t)
	c := newCluster(t)
	l := c.machines("a", "b", "c", "d")
	state := func(m *machine, name string) string {
		for _, s := range m.status().Members {
			if s.Name == name {
				return s.State
			}
		}
		return ""
	}
	l[3].stop()
	for _, m := range l[:3] {
		c.until("d is away", func() bool { return state(m, "d") == control.StateAway })
	}
	l[2].stop()
	c.until("c is away", func() bool { return state(l[0], "c") == control.StateAway })
	if err := (&backend{l[0].n}).Forget(context.Background(), "d"); err != nil {
		t.Fatal(err)
	}
	c.until("b has forgotten d", func() bool { return state(l[1], "d") == "" })
	if state(l[1], "c") != control.StateAway {
		t.Error("c is forgotten, too")
	}
	l[2].start()
	c.until("c has forgotten d", func() bool { return state(l[2], "d") == "" && state(l[2], "a") == control.StateAlive })
}
