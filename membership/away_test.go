package membership

import (
	"testing"
	"time"
)

// TestAwayIsExpectedBack: who left is known until it is back in a new session,
// is forgotten, or a week has passed; also by the next run of this daemon.
func TestAwayIsExpectedBack(t *testing.T) {
	left := func(t *testing.T) *step {
		s := newStep(t)
		s.hear(web1)
		s.hear(web2)
		s.leave(web1)
		s.want("joined web1/1", "joined web2/2", "left web1/1")
		s.table("web1/1 away", "web2/2 alive")
		return s
	}
	s := left(t)
	again := web1
	again.session, again.port = 11, web1.port+5
	s.hear(again)
	s.want("restarted web1/11")
	s.table("web1/11 alive", "web2/2 alive")

	s = left(t)
	if !s.tab.Changed() || s.tab.Forget(s.now, "web2") || !s.tab.Forget(s.now, "web1") {
		t.Error("the one that is away is the one to forget")
	}
	s.table("web2/2 alive")

	s = left(t)
	at := s.now
	s.pass(7*24*time.Hour-time.Minute, web2)
	s.table("web1/1 away", "web2/2 alive")
	next := New(Config{Self: s.tab.cfg.Self}, s.now, s.tab.Saved())
	if m := next.ByName("web1"); len(m) != 1 || m[0].State != Away || !m[0].Since.Equal(at) {
		t.Errorf("after a restart: %+v", m)
	}
	next.Poll(s.now.Add(loadedTime))
	if m := next.ByName("web1"); len(m) != 1 || m[0].State != Away {
		t.Errorf("a while after a restart: %+v", m)
	}
	s.pass(2*time.Minute, web2)
	s.table("web2/2 alive")
}

// TestLeaveBehindItsSuccessor: the leave of a daemon that was started again may
// arrive after the first beacon of its next run.
func TestLeaveBehindItsSuccessor(t *testing.T) {
	s := newStep(t)
	s.hear(web1)
	again := web1
	again.session, again.port = 11, web1.port+5
	s.hear(again)
	s.leave(web1)
	s.table("web1/11 alive")
}
