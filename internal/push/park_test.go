package push

import (
	"testing"
	"time"

	"makuo/internal/transport/simnet"
)

// parkSim is a push to four members with parking; the last one is made slow
// by tune.
func parkSim(t *testing.T, tree simTree, tune func(s *sim, slow *simMember)) *sim {
	s := newSim(t, 4, simnet.Link{Down: 125e6, DownQueue: 512 << 10}, tree, func(c *OriginConfig) { c.Park = true })
	if tune != nil {
		tune(s, s.members[3])
	}
	return s
}

// TestParking holds the time of the others beside a push without the slow
// member.
func TestParking(t *testing.T) {
	big := simTree{batches: 60, entries: 64, blocks: 40, blockSize: 100_000} // 80 MB
	free := parkSim(t, big, nil)
	began := free.net.Now()
	free.run(time.Minute)
	free.allDone()
	took := free.net.Now().Sub(began)
	for name, tune := range map[string]func(s *sim, slow *simMember){
		"slow link": func(s *sim, slow *simMember) {
			slow.host.SetLink(simnet.Link{Down: 1.25e6, DownQueue: 512 << 10})
		},
		"disk stalls": func(s *sim, slow *simMember) {
			s.net.At(s.net.Now().Add(100*time.Millisecond), func() { slow.slow = 20 * time.Second })
		},
		"stops": func(s *sim, slow *simMember) {
			s.net.At(s.net.Now().Add(150*time.Millisecond), func() { slow.host.SetSide(1) })
			s.net.At(s.net.Now().Add(10*time.Second), func() { slow.host.SetSide(0) })
		},
		"never answers": func(s *sim, slow *simMember) { slow.host.SetSide(1) },
	} {
		t.Run(name, func(t *testing.T) {
			s := parkSim(t, big, tune)
			began := s.net.Now()
			s.run(5 * time.Minute)
			with := s.net.Now().Sub(began)
			t.Logf("%v with the slow member, %v without", with, took)
			for i, m := range s.o.result.Members {
				want := MemberDone
				if i == 3 {
					want = MemberParked
				}
				if m.Outcome != want {
					t.Errorf("member %d: %v (%s), want %v", i, m.Outcome, m.Text, want)
				}
			}
			limit := took + took/5 + holdLock
			if name == "slow link" {
				limit = 3*took + holdLock // the rate has to find its way up again
			}
			if with > limit {
				t.Errorf("took %v, want at most %v", with, limit)
			}
			s.settle(time.Minute)
			if slow := s.members[3]; slow.committed || slow.m != nil && slow.m.state < finished {
				t.Errorf("the parked member committed %v, state %v", slow.committed, slow.m.state)
			}
		})
	}
}

// TestNoNeedlessParking: loss and small differences are no reason.
func TestNoNeedlessParking(t *testing.T) {
	for _, loss := range []float64{0, 0.01, 0.05, 0.1} {
		s := newSim(t, 6, simnet.Link{Down: 125e6, DownQueue: 512 << 10, Loss: loss}, smallTree, func(c *OriginConfig) { c.Park = true })
		for i, m := range s.members {
			m.slow = time.Duration(1+7*i) * time.Millisecond
		}
		s.run(time.Minute)
		s.allDone()
	}
}
