package membership

import (
	"testing"
	"time"

	"makuo/protocol"
)

var web3 = peer{session: 3, name: "web3", ip: "10.0.0.3", port: 4001, started: 1000}

// words returns the members that a table says were forgotten.
func (s *step) words(t *testing.T) (list []protocol.Forget) {
	for _, o := range s.sent(protocol.TypeForget) {
		f, err := protocol.ParseForget(o.Body)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, f)
	}
	return list
}

// TestForgottenByAll: who forgets says so to all, and again to who appears, also
// after a restart; a member that is heard after that is there again.
func TestForgottenByAll(t *testing.T) {
	one, other := newStep(t), newStep(t)
	for _, s := range []*step{one, other} {
		s.hear(web1)
		s.hear(web2)
		s.leave(web1)
	}
	one.poll()
	if !one.tab.Forget(one.now, "web1") || one.tab.Forget(one.now, "web1") || one.tab.Forget(one.now, "web2") {
		t.Fatal("web1 is to be forgotten, once, and web2 is there")
	}
	one.pass(6*time.Second, web2)
	said := one.words(t)
	if len(said) != len(forgetGaps)+1 || len(said[0].Members) != 1 || said[0].Members[0].Session != web1.session {
		t.Fatalf("said: %+v", said)
	}
	other.pass(time.Second, web2)
	other.tab.HandleForget(other.now, said[0])
	other.table("web2/2 alive")

	// A third was not there: it is told when it appears, by one of the others.
	third := newStep(t, Saved{Session: web1.session, Name: "web1", Addr: web1.from(), Away: true, Since: one.start, LastHeard: one.start})
	third.table("web1/1 away")
	again := New(Config{Self: other.tab.cfg.Self}, other.now, other.tab.Saved())
	again.HandleBeacon(other.now, web3.from(), web3.prefix(protocol.TypeBeacon), web3.beacon())
	var f protocol.Forget
	for at := other.now; at.Before(other.now.Add(10 * time.Second)); at = at.Add(100 * time.Millisecond) {
		out, _, _ := again.Poll(at)
		for _, o := range out {
			if o.Type == protocol.TypeForget {
				f, _ = protocol.ParseForget(o.Body)
			}
		}
	}
	if len(f.Members) != 1 {
		t.Fatal("who appears is not told")
	}
	third.now = third.now.Add(3 * time.Second)
	third.tab.HandleForget(third.now, f)
	third.table()

	// It comes back in the same session, and is no longer forgotten.
	other.pass(graveTime+2*forgetSkew, web2, web1)
	other.table("web1/1 alive", "web2/2 alive")
	other.tab.HandleForget(other.now, said[0])
	other.pass(10*time.Minute, web2)
	other.tab.HandleForget(other.now, said[0])
	other.table("web1/1 missing", "web2/2 alive")
}
