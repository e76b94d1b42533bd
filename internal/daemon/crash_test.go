package daemon

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"makuo/internal/control"
	"makuo/internal/transport/leak"
	"makuo/membership"
	"makuo/protocol"
)

// Daemons that stop and crash in the middle of a push. Each test holds the push
// at a known place by losing one kind of message.

func staged(l []*machine) func() bool {
	return func() bool {
		return !slices.ContainsFunc(l, func(m *machine) bool { return m.stage(control.RoleMember) != "staged" })
	}
}

// held starts a push of dir from the first machine that stops when all members
// are staged and the origin does not know it.
func held(l []*machine, dir string) <-chan *outcome {
	l[0].site(dir, 12)
	l[0].c.lose(withoutStaged)
	req := paths(control.Text(dir))
	req.TimeoutSeconds = 2
	end := l[0].begin(context.Background(), req, nil)
	l[0].c.until("all members are staged", staged(l[1:]))
	return end
}

// decided starts a push of dir whose order to commit does not reach the given
// machines, and returns when it is decided.
func decided(l []*machine, dir string, without ...*machine) <-chan *outcome {
	l[0].site(dir, 12)
	l[0].c.lose(withoutOrder(without...))
	req := paths(control.Text(dir))
	req.TimeoutSeconds = 30
	at := make(chan struct{})
	end := l[0].begin(context.Background(), req, func(e control.Event) {
		if _, ok := e.(*control.Decided); ok {
			close(at)
		}
	})
	<-at
	return end
}

func TestMemberStops(t *testing.T) {
	leak.Check(t)
	c := newCluster(t)
	l := c.machines("a", "b", "c")
	end := held(l, "t")
	l[1].stop()
	if l[1].content("t") != "" {
		t.Error("b was changed")
	}
	c.lose(nil)
	o := <-end
	o.exits(t, control.ExitPartial)
	if m := o.members(); m["c"] != control.OutcomeDone || m["b"] != control.OutcomeFailed && m["b"] != control.OutcomeLost {
		t.Error(m)
	}
	same(t, "t", l[0], l[2])
	l[1].start()
	c.settle(l...)
	l[0].push(paths("t"), nil).exits(t, control.ExitOK)
	same(t, "t", l...)
}

// TestMemberCrashes has a staged member crash and come back while the push is
// under way: it is lost for that push, learns how it ended, and does the same.
func TestMemberCrashes(t *testing.T) {
	leak.Check(t)
	c := newCluster(t)
	l := c.machines("a", "b", "c")
	end := held(l, "t")
	l[1].crash()
	l[1].start()
	c.lose(nil)
	o := <-end
	o.exits(t, control.ExitPartial)
	if m := o.members(); m["b"] != control.OutcomeLost || m["c"] != control.OutcomeDone {
		t.Error(m)
	}
	l[1].clean()
	same(t, "t", l...)
}

// TestOriginStops stops the origin's daemon in the middle: its client is told,
// and the members forget the push.
func TestOriginStops(t *testing.T) {
	leak.Check(t)
	c := newCluster(t)
	l := c.machines("a", "b", "c")
	l[0].site("t", 12)
	c.lose(withoutStaged)
	client, err := control.NewClient(l[0].socket)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var last control.Event
	end := make(chan error, 1)
	go func() {
		req := paths("t")
		end <- client.Push(context.Background(), &req, func(line control.Line) { last = line.Event })
	}()
	c.until("all members are staged", staged(l[1:]))
	l[0].stop()
	if err := <-end; err != nil {
		t.Errorf("the client: %v", err)
	}
	if s, ok := last.(*control.Summary); !ok || s.Exit != control.ExitAborted || !strings.Contains(string(s.Reason), "shutting down") {
		t.Errorf("the last event is %T %+v", last, last)
	}
	c.lose(nil)
	for _, m := range l[1:] {
		m.clean()
		if m.content("t") != "" {
			t.Errorf("%s was changed", m.name)
		}
	}
}

// TestOriginCrashesBefore has the origin crash when all members are staged and
// nothing is decided, and come back: the members discard.
func TestOriginCrashesBefore(t *testing.T) {
	leak.Check(t)
	c := newCluster(t)
	l := c.machines("a", "b", "c")
	end := held(l, "t")
	l[0].crash()
	if o := <-end; o.err == nil {
		t.Errorf("the client was told of an end:\n%s", o)
	}
	c.lose(nil)
	c.until("the members are in doubt", func() bool {
		return l[1].stage(control.RoleMember) == "undecided" && l[2].stage(control.RoleMember) == "undecided"
	})
	l[0].start()
	for _, m := range l[1:] {
		m.clean()
		if m.content("t") != "" {
			t.Errorf("%s was changed", m.name)
		}
	}
	c.settle(l...)
	l[0].push(paths("t"), nil).exits(t, control.ExitOK)
	same(t, "t", l...)
}

// TestOriginCrashesAfter has the origin crash with its decision on disk and no
// order sent, and come back: the members commit.
func TestOriginCrashesAfter(t *testing.T) {
	leak.Check(t)
	c := newCluster(t)
	l := c.machines("a", "b", "c")
	end := decided(l, "t", l[1:]...)
	l[0].crash()
	<-end
	if l[1].content("t")+l[2].content("t") != "" {
		t.Fatal("somebody has committed already: the test tests nothing")
	}
	l[0].start()
	c.lose(nil)
	for _, m := range l[1:] {
		m.clean()
	}
	same(t, "t", l...)
}

// TestUndecidedLearnsFromPeer leaves one member staged, without an origin: it
// stops in the regular way, starts again, and learns the decision from another
// member.
func TestUndecidedLearnsFromPeer(t *testing.T) {
	for _, how := range []struct {
		name string
		end  func(*machine)
	}{{"crashed", (*machine).crash}, {"stopped", (*machine).stop}} {
		t.Run(how.name, func(t *testing.T) {
			leak.Check(t)
			c := newCluster(t)
			l := c.machines("a", "b", "c")
			b := l[1]
			cut := b.addr()
			order := withoutOrder(b)
			end := decided(l, "t", b)
			c.lose(func(from, to netip.Addr, p protocol.Prefix, body []byte) bool {
				// Answers do not reach b either, until it has started again.
				return order(from, to, p, body) && (to != cut || p.Type != protocol.TypeAnswer)
			})
			c.until("c has committed", func() bool { return l[2].content("t") != "" && len(l[2].status().Pushes) <= 1 })
			l[0].crash()
			<-end
			c.until("b is in doubt", func() bool { return b.stage(control.RoleMember) == "undecided" })
			how.end(b)
			if b.content("t") != "" {
				t.Fatal("b has committed already: the test tests nothing")
			}
			b.start()
			c.until("c is there for b", func() bool { return b.knows("c", membership.Alive) })
			b.clean()
			same(t, "t", l...)
		})
	}
}

// TestSpecialMembers has members that take no pushes, send none, or share a
// name.
func TestSpecialMembers(t *testing.T) {
	leak.Check(t)
	c := newCluster(t)
	a := c.machine("a", nil)
	deaf := c.machine("deaf", func(c *Config) { c.NoReceive = true })
	mute := c.machine("mute", func(c *Config) { c.NoSend = true })
	twin1, twin2 := c.machine("twin", nil), c.machine("twin", nil)
	c.settle(a, deaf, mute, twin1, twin2)
	a.writeAll("t/x")
	o := a.push(paths("t"), nil)
	if s := o.exits(t, control.ExitOK); s.Done != 3 {
		t.Errorf("%d done", s.Done)
	}
	same(t, "t", a, mute, twin1, twin2)
	if deaf.content("t") != "" {
		t.Error("deaf was changed")
	}
	want := "the name twin is in use by more than one member"
	if !strings.Contains(o.String(), want) || o.members()["twin@"+twin1.n.conn.Local().String()] != control.OutcomeDone {
		t.Errorf("twins are not told apart:\n%s", o)
	}
	if o := mute.push(paths("t"), nil); o.err == nil || !strings.Contains(o.err.Error(), "--no-send") {
		t.Errorf("mute has sent: %v", o.err)
	}

	a.write("t/x", []byte("another"))
	req := paths("t")
	req.Targets = []string{"deaf", "mute"}
	if m := a.push(req, nil); m.exits(t, control.ExitPartial) != nil && m.members()["deaf"] != control.OutcomeRefused {
		t.Error(m.members())
	}
	same(t, "t", a, mute)
	a.write("t/x", []byte("a third one"))
	req.AllOrNone = true
	a.push(req, nil).exits(t, control.ExitAborted)
	if strings.Contains(mute.content("t"), a.content("t")) {
		t.Error("mute was changed by a push that was to be for all or none")
	}
	mute.clean()
	mute.crash()
	c.until("mute is missing", func() bool { return a.knows("mute", membership.Missing) })
	o = a.push(paths("t"), nil)
	o.exits(t, control.ExitPartial)
	if o.members()["mute"] != control.OutcomeMissing {
		t.Error(o.members())
	}
	req = paths("t")
	req.IgnoreMissing = true
	a.push(req, nil).exits(t, control.ExitOK)
}
