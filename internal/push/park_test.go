package push

import (
	"math/rand/v2"
	"testing"
	"time"

	"makuo/internal/transport/simnet"
	"makuo/protocol"
	"makuo/transfer"
)

var parkLink = simnet.Link{Down: 125e6, DownQueue: 512 << 10}

// parkTree is a push of some seconds at 1 Gbit/s; a short one takes under one.
func parkTree() simTree {
	if testing.Short() {
		return simTree{batches: 60, entries: 64, blocks: 25, blockSize: 100_000} // 50 MB
	}
	return simTree{batches: 300, entries: 64, blocks: 40, blockSize: 100_000} // 400 MB
}

// parkSim is a push to four members with parking; tune makes something of the
// last one.
func parkSim(t *testing.T, tree simTree, tune func(s *sim, slow *simMember)) *sim {
	s := newSim(t, 4, parkLink, tree, func(c *OriginConfig) { c.Park = true })
	if tune != nil {
		tune(s, s.members[3])
	}
	return s
}

// timed runs a push and returns what it took.
func (s *sim) timed() time.Duration {
	s.t.Helper()
	began := s.net.Now()
	s.run(5 * time.Minute)
	return s.net.Now().Sub(began)
}

// stays checks that the origin kept no more than its window, whoever was
// parked.
func (s *sim) stays() {
	s.t.Helper()
	if most := transfer.DefaultWindow + protocol.MaxBlock; s.o.mostHeld > most {
		s.t.Errorf("the origin held %d bytes, the window is %d", s.o.mostHeld, most)
	}
}

// TestParking holds the time of the others beside that of a push without the
// slow member: with one that is slow in a push of some seconds they take at
// most 1.2 times as long. A short push may take the time in addition in which
// the member is recognised, and so may one whose beginning a member does not
// answer.
func TestParking(t *testing.T) {
	three := newSim(t, 3, parkLink, parkTree(), func(c *OriginConfig) { c.Park = true })
	without := three.timed()
	three.allDone()
	for name, c := range map[string]struct {
		tune func(s *sim, slow *simMember)
		lost time.Duration // until it is recognised and the rate is up again
	}{
		"slow link": {func(s *sim, slow *simMember) {
			slow.host.SetLink(simnet.Link{Down: 1.25e6, DownQueue: 512 << 10})
		}, 2 * paceEpoch},
		"link becomes slow": {func(s *sim, slow *simMember) {
			s.net.At(s.net.Now().Add(400*time.Millisecond), func() {
				slow.host.SetLink(simnet.Link{Down: 1.25e6, DownQueue: 512 << 10})
			})
		}, 2 * paceEpoch},
		"disk stalls": {func(s *sim, slow *simMember) {
			s.net.At(s.net.Now().Add(200*time.Millisecond), func() { slow.slow = 20 * time.Second })
		}, 2 * holdFor},
		"stops for 10 s": {func(s *sim, slow *simMember) {
			s.net.At(s.net.Now().Add(200*time.Millisecond), func() { slow.sleep(10 * time.Second) })
		}, muteFor + holdFor},
		"cut off for 10 s": {func(s *sim, slow *simMember) {
			s.net.At(s.net.Now().Add(200*time.Millisecond), func() { slow.host.SetSide(1) })
			s.net.At(s.net.Now().Add(10*time.Second), func() { slow.host.SetSide(0) })
		}, muteFor + holdFor},
		"never answers": {func(s *sim, slow *simMember) { slow.host.SetSide(1) }, 2 * holdLock},
	} {
		t.Run(name, func(t *testing.T) {
			s := parkSim(t, parkTree(), c.tune)
			with := s.timed()
			limit := without + without/5
			if testing.Short() || name == "never answers" {
				limit += c.lost
			}
			t.Logf("%v with the slow member, %v without: %.2f times", with, without, with.Seconds()/without.Seconds())
			for i, m := range s.o.result.Members {
				if want := map[bool]MemberState{false: MemberDone, true: MemberParked}[i == 3]; m.Outcome != want {
					t.Errorf("member %d: %v (%s), want %v", i, m.Outcome, m.Text, want)
				}
			}
			if with > limit {
				t.Errorf("took %v, want at most %v", with, limit)
			}
			s.stays()
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
		link := parkLink
		link.Loss = loss
		s := newSim(t, 6, link, smallTree, func(c *OriginConfig) { c.Park = true })
		for i, m := range s.members {
			m.slow = time.Duration(1+7*i) * time.Millisecond
		}
		s.run(time.Minute)
		s.allDone()
	}
}

// TestStarvedMembers: a member whose process waits for the processor for some
// 100 ms at a time, and loses what its socket cannot hold meanwhile, is not
// slow; nor is one among others that are so too, as on a machine that all share.
func TestStarvedMembers(t *testing.T) {
	for name, c := range map[string]struct {
		members int // that starve
		longest time.Duration
	}{"one": {1, 150 * time.Millisecond}, "two": {2, 150 * time.Millisecond}, "all": {4, 150 * time.Millisecond}, "one, once": {1, 0}} {
		t.Run(name, func(t *testing.T) {
			s := parkSim(t, parkTree(), func(s *sim, slow *simMember) {
				if c.longest == 0 {
					s.net.At(s.net.Now().Add(300*time.Millisecond), func() { slow.sleep(250 * time.Millisecond) })
					return
				}
				r := rand.New(rand.NewPCG(s.rng.Uint64(), 3))
				for _, m := range s.members[4-c.members:] {
					s.starve(r, m, c.longest)
				}
			})
			t.Logf("took %v", s.timed())
			s.allDone()
			s.stays()
		})
	}
}

// starve lets a member sleep now and then, for two fifths of the time.
func (s *sim) starve(r *rand.Rand, m *simMember, longest time.Duration) {
	d := time.Duration(r.Int64N(int64(longest)))
	s.net.At(s.net.Now().Add(20*time.Millisecond+time.Duration(r.Int64N(2*int64(longest)))), func() {
		m.sleep(d)
		s.net.At(s.net.Now().Add(d), func() { s.starve(r, m, longest) })
	})
}

// TestLossesThatAreNoSlowness: losses of feedback alone, in bursts, and at one
// bad host, park no healthy member, and the others go on.
func TestLossesThatAreNoSlowness(t *testing.T) {
	free := parkSim(t, parkTree(), nil)
	without := free.timed()
	for name, c := range map[string]struct {
		tune  func(s *sim, bad *simMember)
		times float64 // longer than without at most, in a push of some seconds; 0: only nobody is to be parked
	}{
		"towards the origin": {func(s *sim, _ *simMember) {
			s.o.host.SetLink(simnet.Link{Up: 125e6, Loss: 0.3})
		}, 3},
		"towards the origin, from one": {func(s *sim, bad *simMember) {
			r := rand.New(rand.NewPCG(s.rng.Uint64(), 4))
			s.net.SetFilter(func(from, to *simnet.Host, _ bool, _ []byte) bool { return from != bad.host || r.Float64() >= 0.5 })
		}, 3},
		"in bursts": {func(s *sim, _ *simMember) {
			for _, m := range s.members {
				s.outages(rand.New(rand.NewPCG(s.rng.Uint64(), 5)), m, 2*time.Millisecond)
			}
		}, 3},
		"in long bursts": {func(s *sim, _ *simMember) {
			for _, m := range s.members {
				s.outages(rand.New(rand.NewPCG(s.rng.Uint64(), 6)), m, 20*time.Millisecond)
			}
		}, 0},
		"at one host": {func(_ *sim, bad *simMember) {
			link := parkLink
			link.Loss = 0.3
			bad.host.SetLink(link)
		}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			s := parkSim(t, parkTree(), c.tune)
			with := s.timed()
			t.Logf("%v, %v without: %.2f times", with, without, with.Seconds()/without.Seconds())
			if name == "at one host" && s.o.result.Members[3].Outcome == MemberParked {
				s.members = s.members[:3] // it holds the others back indeed
				s.o.result.Members = s.o.result.Members[:3]
			}
			s.allDone()
			s.stays()
			if !testing.Short() && c.times > 0 && with.Seconds() > c.times*without.Seconds() {
				t.Errorf("it takes over %.1f times as long", c.times)
			}
		})
	}
}

// outages lets nothing through to and from a member for up to longest, some
// times a second.
func (s *sim) outages(r *rand.Rand, m *simMember, longest time.Duration) {
	s.net.At(s.net.Now().Add(time.Duration(r.Int64N(int64(500*time.Millisecond)))), func() {
		m.host.SetSide(1)
		s.net.At(s.net.Now().Add(time.Duration(r.Int64N(int64(longest)))), func() {
			m.host.SetSide(0)
			s.outages(r, m, longest)
		})
	})
}
