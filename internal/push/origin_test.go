package push

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"makuo/internal/transport/simnet"
	"makuo/protocol"
)

// beacons lets member i's daemon be heard every second, whatever becomes of
// the push there.
func (s *sim) beacons(i int) {
	s.o.m.Heard(s.net.Now(), s.members[i].session)
	s.net.At(s.net.Now().Add(time.Second), func() { s.beacons(i) })
}

// TestMuteMember: a member that runs and knows nothing of the push any more
// is lost, at whatever time it drops the push.
func TestMuteMember(t *testing.T) {
	for ms := 0; ms < 300; ms += 23 {
		s := newSim(t, 3, simnet.Link{Down: 12.5e6, DownQueue: 256 << 10}, smallTree, func(c *OriginConfig) { c.Timeout = 5 * time.Second })
		s.net.At(s.net.Now().Add(time.Duration(ms)*time.Millisecond), s.members[1].host.Stop)
		s.beacons(1)
		s.run(time.Minute)
		for i, m := range s.o.result.Members {
			if i == 1 && m.Outcome != MemberLost && !s.members[1].committed {
				t.Errorf("after %d ms: the mute member is %v", ms, m.Outcome)
			}
			if i != 1 && m.Outcome != MemberDone {
				t.Errorf("after %d ms: member %d is %v: %s", ms, i, m.Outcome, m.Text)
			}
		}
	}
}

// pageOut drops or changes what members answer to a Fetch.
func pageOut(s *sim, change func(*protocol.Page) *protocol.Page) {
	s.net.SetFilter(func(from, to *simnet.Host, _ bool, data []byte) bool {
		p, body, err := protocol.ParsePrefix(data)
		if err != nil || p.Type != protocol.TypePage || from != s.members[1].host {
			return true
		}
		pg, err := protocol.ParsePage(body)
		if err != nil {
			return true
		}
		if n := change(&pg); n != nil {
			s.net.At(s.net.Now(), func() {
				if !s.o.m.Over() {
					s.o.m.HandlePage(s.net.Now(), p.Session, n)
				}
			})
		}
		return false
	})
}

// TestLogCannotBeHad: whatever a member answers when its log is asked for, the
// push ends.
func TestLogCannotBeHad(t *testing.T) {
	good := simLog{}.bytes()
	for name, c := range map[string]struct {
		change func(*protocol.Page) *protocol.Page
		text   string
	}{
		"no answer": {func(*protocol.Page) *protocol.Page { return nil }, "did not answer"},
		"empty":     {func(p *protocol.Page) *protocol.Page { p.Bytes = nil; return p }, "cannot be"},
		"beyond":    {func(p *protocol.Page) *protocol.Page { p.Total = 3; return p }, "cannot be"},
		"malformed": {func(p *protocol.Page) *protocol.Page {
			p.Bytes = append([]byte{9}, p.Bytes[1:]...)
			return p
		}, "malformed"},
		"cut": {func(p *protocol.Page) *protocol.Page {
			p.Total, p.Bytes = uint64(len(good)-1), p.Bytes[:len(good)-1]
			return p
		}, "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSim(t, 3, simnet.Link{Down: 125e6}, smallTree, nil)
			s.beacons(1)
			pageOut(s, c.change)
			s.run(time.Minute)
			if all := strings.Join(s.o.texts, "\n"); !strings.Contains(all, "could not be had: ") || !strings.Contains(all, c.text) {
				t.Errorf("nobody was told that the log could not be had: %q", all)
			}
			if m := s.o.result.Members[1]; m.Outcome != MemberDone {
				t.Errorf("the member is %v: only its warnings are not known", m.Outcome)
			}
		})
	}
}

// TestEndlessLog: of a log that is longer than the limit, the first part is
// taken.
func TestEndlessLog(t *testing.T) {
	s := newSim(t, 1, simnet.Link{Down: 125e6}, smallTree, nil)
	m := s.o.m.members[0]
	record := bytes.Repeat((&protocol.DeletedPath{Path: "a"}).Append(nil), protocol.MaxPage/2)
	f := &fetch{kind: protocol.PageDeletes, offset: maxLog - uint64(len(record))}
	m.deletes = f
	why := s.o.m.logPage(m, f, &protocol.Page{Kind: protocol.PageDeletes, Offset: f.offset, Total: 1 << 40, Bytes: record})
	if !strings.Contains(why, fmt.Sprint(maxLog)) {
		t.Errorf("a log of 1 TiB is fetched on and on: %q", why)
	}
}

// TestPhaseStaysCommit: when the members that change something are lost, the
// others are not told that nothing was decided.
func TestPhaseStaysCommit(t *testing.T) {
	s := newSim(t, 2, simnet.Link{Down: 125e6}, smallTree, nil)
	o := s.o.m
	o.commitAt, o.state = s.net.Now(), originCollecting
	o.members[0].stage, o.members[1].stage = MemberLost, MemberDone
	if p := o.phase(); p != protocol.PhaseCommit {
		t.Errorf("the phase is %v", p)
	}
}

// TestBusyIsForgotten: when the push in the way has ended, nobody is said to be
// waited for, though a member has not answered yet.
func TestBusyIsForgotten(t *testing.T) {
	s := newSim(t, 2, simnet.Link{Down: 125e6}, smallTree, func(c *OriginConfig) { c.Timeout = time.Hour })
	other := protocol.PushID{Start: s.o.id.Start + 1, Origin: 9} // newer: it is to give way
	s.members[0].locks.Hold(other, "other", "default", []string{"htdocs"})
	s.members[1].host.SetSide(1)
	wait := func(limit time.Duration, done func() bool) {
		t.Helper()
		if !s.net.RunUntil(s.net.Now().Add(limit), done) {
			t.Fatalf("nothing came of it: stage %v, waiting for %q", s.o.m.Stage(), s.o.m.Waiting())
		}
	}
	s.settle(30 * time.Second)
	wait(time.Second, func() bool { return s.o.m.Waiting() == "other" })
	s.members[0].locks.Release(other)
	wait(time.Second, func() bool { return s.o.m.Stage() == StageLock })
	s.settle(2 * time.Minute) // --wait is one minute
	if a := s.o.m.Result().Abort; a != "" {
		t.Errorf("given up for a push that was over: %s", a)
	}
}

// TestWaitCountsFromBusy: the time that passed before another push came into
// the way is not counted.
func TestWaitCountsFromBusy(t *testing.T) {
	s := newSim(t, 2, simnet.Link{Down: 125e6}, smallTree, func(c *OriginConfig) { c.Timeout = time.Hour })
	other := protocol.PushID{Start: s.o.id.Start + 1, Origin: 9}
	s.members[0].host.SetSide(1)
	s.members[0].locks.Hold(other, "other", "default", []string{"htdocs"})
	s.settle(2 * time.Minute)
	s.members[0].host.SetSide(0)
	s.settle(30 * time.Second)
	if a := s.o.m.Result().Abort; a != "" || s.o.m.Waiting() != "other" {
		t.Fatalf("after 30 of 60 seconds: %q, waiting for %q", a, s.o.m.Waiting())
	}
	s.settle(40 * time.Second)
	if s.o.m.Result().Abort == "" {
		t.Error("the wait was not over after 70 of 60 seconds")
	}
}

// TestWhereAMemberIs: a member that still receives is told from one whose disk
// is at work.
func TestWhereAMemberIs(t *testing.T) {
	s := newSim(t, 1, simnet.Link{Down: 125e6}, smallTree, nil)
	s.o.m.state = originFlushing
	m := s.o.m.members[0]
	m.locked = true
	for flags, want := range map[uint8]string{0: "receiving", protocol.FlagSyncing: "staging"} {
		s.o.m.HandleFeedback(s.net.Now(), m.Session, &protocol.Feedback{Origin: 1, Stream: 7, Flags: flags})
		if got := m.whereabouts(s.o.m); got != want {
			t.Errorf("flags %d: %s, want %s", flags, got, want)
		}
	}
}

// TestStuckMemberIsSetAside: a member that stays busy with an older push does
// not keep the others from this one.
func TestStuckMemberIsSetAside(t *testing.T) {
	for _, park := range []bool{false, true} {
		s := newSim(t, 3, simnet.Link{Down: 125e6}, smallTree, func(c *OriginConfig) { c.Park = park })
		older := protocol.PushID{Start: s.o.id.Start - 1, Origin: 9}
		s.members[0].locks.Hold(older, "other", "default", []string{"htdocs"})
		began := s.net.Now()
		if !s.net.RunUntil(began.Add(10*time.Second), func() bool { return s.o.m.Decided() }) {
			t.Fatalf("parking %v: nobody gets the push: stage %v, waiting for %q", park, s.o.m.Stage(), s.o.m.Waiting())
		}
		s.settle(5 * time.Second)
		r := s.o.m.Result()
		want := map[bool]MemberState{false: MemberFailed, true: MemberParked}[park]
		if m := r.Members[0]; m.Outcome != want || !strings.Contains(m.Text, "busy with push") {
			t.Errorf("the member that is busy: %v, %q", m.Outcome, m.Text)
		}
		if r.Members[1].Outcome != MemberDone || r.Members[2].Outcome != MemberDone {
			t.Errorf("the others: %v, %v", r.Members[1].Outcome, r.Members[2].Outcome)
		}
	}
}
