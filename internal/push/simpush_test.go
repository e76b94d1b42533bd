package push

import (
	"fmt"
	"testing"
	"time"

	"makuo/internal/transport/simnet"
	"makuo/protocol"
)

var smallTree = simTree{batches: 9, entries: 64, blocks: 6, blockSize: 100_000}

func TestPushUnderLoss(t *testing.T) {
	for _, c := range []struct {
		members int
		loss    float64
	}{{1, 0}, {4, 0}, {4, 0.01}, {8, 0.05}, {8, 0.3}, {50, 0.02}} {
		t.Run(fmt.Sprintf("%d members %v", c.members, c.loss), func(t *testing.T) {
			link := simnet.Link{Down: 125e6, DownQueue: 512 << 10, Loss: c.loss, Duplicate: c.loss / 2, Corrupt: c.loss / 10,
				Reorder: c.loss, ReorderBy: 300 * time.Microsecond}
			s := newSim(t, c.members, link, smallTree, nil)
			s.run(2 * time.Minute)
			s.allDone()
			if s.o.problems != 2*c.members {
				t.Errorf("%d problems were fetched, %d members have 2 each", s.o.problems, c.members)
			}
			s.settle(10 * time.Second)
			for i, m := range s.members {
				if m.outcome != "done" {
					t.Errorf("member %d ended as %q", i, m.outcome)
				}
				if c := m.locks.Conflicts(protocol.PushID{}, "default", []string{"htdocs"}); len(c) > 0 {
					t.Errorf("member %d still holds the lock", i)
				}
			}
		})
	}
}

// TestLowRate: at 0.1 Mbit/s with 60 members the state messages leave room for the
// data, and the push ends.
func TestLowRate(t *testing.T) {
	const rate = 12_500 // bytes a second
	s := newSim(t, 60, simnet.Link{Down: 125e6, DownQueue: 512 << 10}, simTree{batches: 2, entries: 64, blocks: 2, blockSize: 60_000},
		func(c *OriginConfig) { c.Sender.SetCap(rate) })
	s.run(2 * time.Minute)
	s.allDone()
	took := s.net.Now().Sub(s.o.m.started)
	if share := float64(s.o.control) / took.Seconds() / rate; share > 0.3 {
		t.Errorf("state messages took %.2f of the rate in %v", share, took)
	}
}

func TestThousandMembers(t *testing.T) {
	if testing.Short() {
		t.Skip("a thousand members take some seconds")
	}
	link := simnet.Link{Down: 125e6, DownQueue: 1 << 20, Loss: 0.01}
	s := newSim(t, 1000, link, simTree{batches: 3, entries: 64, blocks: 4, blockSize: 60_000}, nil)
	s.run(5 * time.Minute)
	s.allDone()
	most := 0
	for _, m := range s.members {
		most = max(most, m.sent)
	}
	took := s.o.host.Stats()
	t.Logf("origin sent %d packets; the busiest member %d; took %v", took.Sent, most, s.net.Now().Sub(s.o.m.started))
}

func TestMemberDiesAnywhere(t *testing.T) {
	for _, after := range []time.Duration{0, 5, 20, 40, 60, 90, 130, 180, 250} {
		s := newSim(t, 5, simnet.Link{Down: 12.5e6, DownQueue: 256 << 10, Loss: 0.01}, smallTree, nil)
		s.net.At(s.net.Now().Add(after*time.Millisecond), s.members[2].die)
		s.run(2 * time.Minute)
		if s.o.result.Abort != "" {
			t.Fatalf("after %v: aborted: %s", after*time.Millisecond, s.o.result.Abort)
		}
		for i, m := range s.o.result.Members {
			want := MemberDone
			if i == 2 && m.Outcome == MemberLost {
				continue
			}
			if m.Outcome != want {
				t.Errorf("after %v: member %d is %v (%s)", after*time.Millisecond, i, m.Outcome, m.Text)
			}
		}
	}
}

// TestOriginDiesAnywhere stops the origin at many moments: whatever the
// members do then, they do the decision, once it can be known.
func TestOriginDiesAnywhere(t *testing.T) {
	for ms := 0; ms < 700; ms += 23 {
		s := newSim(t, 4, simnet.Link{Down: 12.5e6, DownQueue: 256 << 10, Loss: 0.05}, smallTree, nil)
		s.net.At(s.net.Now().Add(time.Duration(ms)*time.Millisecond), s.o.die)
		s.settle(2 * time.Minute)
		committed := 0
		for _, m := range s.members {
			if m.committed {
				committed++
			}
		}
		if committed > 0 && !s.o.decided {
			t.Fatalf("after %d ms: %d members committed what was never decided", ms, committed)
		}
		if committed > 0 && committed < 4 {
			t.Errorf("after %d ms: %d of 4 members committed and the others did not learn of it", ms, committed)
		}
		s.settle(11 * time.Minute)
		for i, m := range s.members {
			if m.m != nil && !m.m.Over() {
				t.Errorf("after %d ms: member %d is still %v", ms, i, m.m.state)
			}
			if m.committed && m.discarded && m.outcome != "done" {
				t.Errorf("after %d ms: member %d committed and ended as %q", ms, i, m.outcome)
			}
		}
	}
}

func TestOriginDiesBeforeItsDecision(t *testing.T) {
	s := newSim(t, 3, simnet.Link{Down: 125e6}, smallTree, nil)
	s.o.noDecide = true
	s.settle(15 * time.Minute)
	for i, m := range s.members {
		if m.committed || !m.discarded || !m.m.Over() {
			t.Errorf("member %d: committed %v, discarded %v, state %v", i, m.committed, m.discarded, m.m.state)
		}
	}
}

func TestMissedOrderToCommit(t *testing.T) {
	s := newSim(t, 3, simnet.Link{Down: 125e6}, smallTree, func(c *OriginConfig) { c.Timeout = 2 * time.Second })
	lonely := s.members[1]
	s.net.SetFilter(func(from, to *simnet.Host, _ bool, data []byte) bool {
		return !(s.o.decided && !(s.o.result != nil) && (to == lonely.host || from == lonely.host))
	})
	s.run(time.Minute)
	if r := s.o.result.Members[1]; r.Outcome != MemberLost || !r.Maybe {
		t.Fatalf("the cut off member is %v, maybe %v", r.Outcome, r.Maybe)
	}
	s.settle(time.Minute)
	for i, m := range s.members {
		if !m.committed {
			t.Errorf("member %d did not commit what was decided: %v", i, m.m.state)
		}
	}
}

func TestMemberFailsToStage(t *testing.T) {
	s := newSim(t, 3, simnet.Link{Down: 125e6, Loss: 0.02}, smallTree, nil)
	s.members[0].failStage = true
	s.run(time.Minute)
	for i, m := range s.o.result.Members {
		if want := map[bool]MemberState{true: MemberFailed, false: MemberDone}[i == 0]; m.Outcome != want {
			t.Errorf("member %d is %v, want %v", i, m.Outcome, want)
		}
	}
	if s.members[0].committed || !s.members[0].discarded {
		t.Error("the failed member did not discard")
	}
}

func TestAllOrNone(t *testing.T) {
	s := newSim(t, 3, simnet.Link{Down: 125e6, Loss: 0.02}, smallTree, func(c *OriginConfig) { c.AllOrNone = true })
	s.members[0].failStage = true
	s.run(time.Minute)
	if s.o.result.Abort == "" {
		t.Fatal("committed although a member had failed")
	}
	s.settle(time.Minute)
	for i, m := range s.members {
		if m.committed {
			t.Errorf("member %d committed", i)
		}
	}
}

func TestAbortAnywhere(t *testing.T) {
	for ms := 0; ms < 500; ms += 31 {
		s := newSim(t, 4, simnet.Link{Down: 12.5e6, DownQueue: 256 << 10, Loss: 0.02}, smallTree, nil)
		aborted := false
		s.net.At(s.net.Now().Add(time.Duration(ms)*time.Millisecond), func() {
			aborted = s.o.m.Abort(s.net.Now(), "cancelled")
			s.o.poll(s.net.Now())
		})
		s.run(time.Minute)
		s.settle(time.Minute)
		for i, m := range s.members {
			if m.committed == aborted {
				t.Errorf("after %d ms: aborted %v, member %d committed %v", ms, aborted, i, m.committed)
			}
		}
	}
}
