package membership

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"makuo/protocol"
)

func TestRestartSameAddress(t *testing.T) {
	s := newStep(t)
	s.hear(web1)
	s.pass(time.Second)
	s.want("joined web1/1")
	s.hear(web1same)
	if e := s.events[0]; e.Old.Session != 1 {
		t.Errorf("restarted from session %d", e.Old.Session)
	}
	s.want("restarted web1/12")
	s.hear(web1) // was on its way
	s.want()
	s.table("web1/12 alive")
}

// A session never seen before that started earlier than the one at its
// address is a left-over, unless the one known is silent.
func TestRestartStraggler(t *testing.T) {
	s := newStep(t)
	s.hear(web1same)
	s.want("joined web1/12")
	s.hear(web1)
	s.want()
	s.pass(1600 * time.Millisecond)
	s.hear(web1)
	s.want("restarted web1/1")
}

// Killed and started again on another port: never shown as duplicate.
func TestRestartOtherPort(t *testing.T) {
	s := newStep(t)
	s.hear(web1)
	s.pass(time.Second)
	s.hear(web1again)
	s.pass(100 * time.Millisecond)
	s.hear(web1) // its last beacon, late
	s.want("joined web1/1", "joined web1/11")
	s.table("web1/1 alive superseded", "web1/11 alive")
	s.sent(protocol.TypeAsk)
	s.pass(1950*time.Millisecond, web1again)
	s.want("restarted web1/11")
	s.table("web1/11 alive")
	if out := s.sent(protocol.TypeAsk); len(out) < 2 || out[0].To != netip.MustParseAddrPort("10.0.0.1:4001") {
		t.Errorf("asked %v for a sign of life", out)
	}
}

func TestRestartWhileMissing(t *testing.T) {
	for _, p := range []peer{web1again, web1same, web1else} {
		s := newStep(t)
		s.hear(web1)
		s.pass(10 * time.Second)
		s.want("joined web1/1", "missing web1/1")
		s.hear(p)
		s.want(fmt.Sprintf("restarted web1/%d", p.session))
		s.table(fmt.Sprintf("web1/%d alive", p.session))
	}
}

func TestMoved(t *testing.T) {
	s := newStep(t)
	s.hear(web1)
	s.pass(500 * time.Millisecond)
	s.hear(web1else)
	s.pass(5200*time.Millisecond, web1else)
	s.want("joined web1/1", "joined web1/13", "restarted web1/13")
	p := web1else
	p.ip = "10.0.0.10"
	s.hear(p)
	s.want("moved web1/13")
	if m, ok := s.tab.Lookup(13); !ok || m.Addr != netip.MustParseAddrPort("10.0.0.10:4001") {
		t.Errorf("address %v", m.Addr)
	}
}

func TestDuplicateName(t *testing.T) {
	for _, other := range []peer{web1again, web1else} {
		s := newStep(t)
		s.hear(web1)
		s.pass(300 * time.Millisecond)
		s.hear(other)
		s.pass(2500*time.Millisecond, web1, other)
		s.want("joined web1/1", fmt.Sprintf("joined web1/%d", other.session), "duplicate name web1/1", fmt.Sprintf("duplicate name web1/%d", other.session))
		s.table("web1/1 alive duplicate", fmt.Sprintf("web1/%d alive duplicate", other.session))
		// Proven to be two: one that is killed is missing, not replaced.
		s.pass(7*time.Second, other)
		s.table("web1/1 missing", fmt.Sprintf("web1/%d alive", other.session))
		s.pass(time.Minute, other)
		s.hear(web1)
		s.table("web1/1 alive", fmt.Sprintf("web1/%d alive superseded", other.session))
		s.pass(2*time.Second, web1, other)
		s.table("web1/1 alive duplicate", fmt.Sprintf("web1/%d alive duplicate", other.session))
		s.leave(web1)
		s.table("web1/1 away", fmt.Sprintf("web1/%d alive", other.session))
	}
}

// One of two with the same name starts again on another port: it takes the
// place of its earlier run, not of the other.
func TestDuplicateRestart(t *testing.T) {
	s := newStep(t)
	s.hear(web1)
	s.hear(web1else)
	s.pass(3*time.Second, web1, web1else)
	s.table("web1/1 alive duplicate", "web1/13 alive duplicate")
	s.hear(web1again)
	s.pass(3*time.Second, web1again, web1else)
	s.table("web1/11 alive duplicate", "web1/13 alive duplicate")
}

func TestOwnName(t *testing.T) {
	s := newStep(t)
	p := web1
	p.name = "self"
	s.hear(p)
	if s.tab.Self().DuplicateName {
		t.Error("duplicate after one packet, which may be of the run before")
	}
	s.pass(2*time.Second, p)
	s.want("joined self/1", "duplicate name self/1")
	if !s.tab.Self().DuplicateName {
		t.Error("not shown as duplicate")
	}
	s.leave(p)
	if s.tab.Self().DuplicateName {
		t.Error("still shown as duplicate")
	}
	q := web2
	q.name = "self"
	s.hear(q) // one packet of this daemon's earlier run
	s.pass(7 * time.Second)
	s.table()
	p.session = selfSession
	s.hear(p)
	s.table()
}

// Both of two with the same name are missing: one that comes back with a new
// session takes the place of the one at its host.
func TestMissingHeir(t *testing.T) {
	s := newStep(t)
	s.hear(web1)
	s.hear(web1else)
	s.pass(3*time.Second, web1, web1else)
	s.pass(2*time.Second, web1else)
	s.pass(10 * time.Second)
	s.table("web1/1 missing", "web1/13 missing")
	s.hear(web1again)
	s.table("web1/11 alive", "web1/13 missing")
}
