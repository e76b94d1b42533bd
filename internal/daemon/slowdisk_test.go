package daemon

import (
	"context"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"makuo/internal/control"
	"makuo/internal/transport/leak"
	"makuo/protocol"
)

// TestSlowStateDirectory has a write to the state directory of one daemon hang
// until the test lets it go: the daemon goes on speaking and taking part, and
// only what needs to be written waits: the decision of a push of its own.
func TestSlowStateDirectory(t *testing.T) {
	leak.Check(t)
	c := newCluster(t)
	l := c.machines("a", "b", "c")
	a, b := l[0], l[1]
	a.site("t", 12)
	b.site("u", 12)
	gate := make(chan struct{})
	a.n.journal.Do(func() error { <-gate; return nil }, nil)
	a.n.post(func(time.Time) { a.n.saveMembers() })

	var beacons atomic.Int32
	from := a.addr()
	c.lose(func(src, _ netip.Addr, p protocol.Prefix, _ []byte) bool {
		if src == from && p.Type == protocol.TypeBeacon {
			beacons.Add(1)
		}
		return true
	})
	var decided atomic.Bool
	end := a.begin(context.Background(), paths("t"), func(e control.Event) {
		if _, ok := e.(*control.Decided); ok {
			decided.Store(true)
		}
	})
	c.until("the members are staged", staged(l[1:]))
	other := paths("u")
	other.Targets = []string{"c"}
	b.push(other, nil).exits(t, control.ExitOK)
	before := beacons.Load()
	c.until("a's beacons go out", func() bool { return beacons.Load() >= before+4 })
	if decided.Load() {
		t.Error("decided before that was on disk")
	}
	for _, m := range l[1:] {
		if m.content("t") != "" {
			t.Errorf("%s has committed a push that is not decided", m.name)
		}
		for _, s := range m.status().Members {
			if s.State != control.StateAlive {
				t.Errorf("%s takes %s for %s", m.name, s.Name, s.State)
			}
		}
	}
	close(gate)
	o := <-end
	o.exits(t, control.ExitOK)
	for name, how := range o.members() {
		if how != control.OutcomeDone {
			t.Errorf("%s is %s", name, how)
		}
	}
	same(t, "t", l...)
}
