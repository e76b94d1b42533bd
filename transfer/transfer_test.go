package transfer

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"makuo/protocol"
)

// mixed makes blocks of all lengths, the limits included.
func mixed(i int, rng *rand.Rand) int {
	switch rng.IntN(6) {
	case 0:
		return 1 + rng.IntN(20)
	case 1:
		return 1424 * (1 + rng.IntN(3))
	case 2:
		return protocol.MaxBlock
	}
	return 1 + rng.IntN(128<<10)
}

func TestEveryBlockArrivesOnce(t *testing.T) {
	ms := time.Millisecond
	for name, cfg := range map[string]simConfig{
		"clean":          {members: 1, blocks: 100},
		"clean 8":        {members: 8, blocks: 100},
		"loss 1 %":       {members: 4, blocks: 100, loss: 0.01},
		"loss 10 %":      {members: 4, blocks: 100, loss: 0.1},
		"loss 30 %":      {members: 3, blocks: 60, loss: 0.3, back: 0.3},
		"bursts":         {members: 3, blocks: 100, loss: 0.05, burst: 40},
		"reorder":        {members: 3, blocks: 100, jitter: 2 * ms},
		"all":            {members: 5, blocks: 100, loss: 0.1, jitter: 3 * ms, duplicate: 0.1, back: 0.2, delay: 2 * ms},
		"feedback lost":  {members: 2, blocks: 100, loss: 0.02, back: 0.8},
		"tiny room":      {members: 3, blocks: 60, loss: 0.3, room: 1000},
		"tiny window":    {members: 3, blocks: 60, loss: 0.3, window: 1000},
		"tiny both":      {members: 3, blocks: 60, loss: 0.3, room: 200 << 10, window: 300 << 10, back: 0.3, jitter: ms},
		"slow upper":     {members: 3, blocks: 60, loss: 0.05, room: 400 << 10, consume: 20 * ms},
		"failing blocks": {members: 3, blocks: 60, loss: 0.05, room: 400 << 10, fail: 0.3, consume: ms},
		"40 members":     {members: 40, blocks: 40, loss: 0.02},
		"far away":       {members: 3, blocks: 100, loss: 0.02, delay: 50 * ms},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(3) {
				if cfg.blockLen = mixed; seed == 0 {
					cfg.blockLen = nil
				}
				m := newSim(t, cfg, seed)
				m.run()
				m.check()
				st := m.s.Stats()
				t.Logf("%s, seed %d: %v, sent %d, repaired %d, feedback %d, naks %d, stale %d, rate %d Mbit/s", name, seed, m.now.Sub(m.t0).Round(ms),
					st.Sent, st.Repaired, st.Feedback, st.Naks, st.StaleSymbols, m.s.Rate()*8/1e6)
				if st.Absurd != 0 {
					t.Errorf("%d absurd messages", st.Absurd)
				}
			}
		})
	}
}

// What is sent beyond the data is near what cannot be helped: to one member
// what it lost, to several the most that any of them lost of each block.
func TestRepairIsBounded(t *testing.T) {
	const k, blocks = 93, 200
	for _, loss := range []float64{0, 0.001, 0.01, 0.05, 0.2} {
		for _, members := range []int{1, 4, 16} {
			t.Run(fmt.Sprintf("%g of %d", loss, members), func(t *testing.T) {
				m := newSim(t, simConfig{members: members, blocks: blocks, loss: loss, jitter: 30 * time.Microsecond, delay: 500 * time.Microsecond,
					link: 1e9 / 8}, 5) // on a faster one the jitter would be longer than three packets
				m.run()
				m.check()
				st := m.s.Stats()
				// The packets of a block until the last member has k of them.
				want := 0.0
				for n, lacking := k, 1.0; lacking > 1e-9; n++ {
					lacking = 0
					if loss > 0 {
						lacking = 1 - math.Pow(1-binomialTail(n, n-k, loss), float64(members))
					}
					want += lacking / k
				}
				got := float64(st.Repaired) / float64(st.Sent)
				t.Logf("repaired %.4f, needed %.4f, parity %d, proactive %d, naks %d, stale %d, feedback %d in %v", got, want,
					st.Parity, st.Proactive, st.Naks, st.StaleSymbols, st.Feedback, m.now.Sub(m.t0))
				if got > want*1.12+0.002 {
					t.Errorf("repaired %.4f of what was sent, %.4f is needed", got, want)
				}
				if st.StaleSymbols > st.Repaired/2+20 {
					t.Errorf("%d symbols were asked for too early, %d repaired", st.StaleSymbols, st.Repaired)
				}
				if members == 4 && (loss == 0.01 && got > 0.03 || loss == 0.05 && got > 0.09) {
					t.Errorf("four members at %g were sent %.4f more than the data", loss, got)
				}
				if members == 1 && loss < 0.01 && st.Parity > st.Repaired/2 {
					t.Errorf("parity for a single member: %+v", st)
				}
			})
		}
	}
}

func TestDeadMembersHoldNothingBack(t *testing.T) {
	m := newSim(t, simConfig{members: 4, blocks: 300, loss: 0.02, window: 2 << 20, rate: RateConfig{Cap: 2e8 / 8}}, 1)
	m.at(m.t0.Add(300*time.Millisecond), func() { m.recv[1].dead = true })
	m.at(m.t0.Add(500*time.Millisecond), func() { m.recv[3].dead = true })
	var stuck uint32
	m.at(m.t0.Add(2*time.Second), func() { stuck = m.s.Blocks(); m.s.Drop(1); m.s.Drop(1); m.pump() })
	m.at(m.t0.Add(3*time.Second), func() { m.s.Drop(3); m.pump() })
	m.run()
	m.check()
	if stuck >= 300 {
		t.Fatalf("a dead member did not hold the window: %d blocks sent", stuck)
	}
	if m.s.Add(1) {
		t.Error("a member came back whose blocks are dead")
	}
}

func TestDroppedMemberComesBack(t *testing.T) {
	lossOf := func(member int) float64 { return []float64{0.02, 0.02, 0}[member] }
	m := newSim(t, simConfig{members: 3, blocks: 200, lossOf: lossOf, rate: RateConfig{Cap: 1e8 / 8}}, 2)
	m.at(m.t0.Add(200*time.Millisecond), func() { m.s.Drop(2) })
	back := false
	m.every = func(time.Time) {
		if !back && m.now.Sub(m.t0) > 220*time.Millisecond {
			back = m.s.Add(2)
		}
	}
	m.run()
	if !back {
		t.Fatal("it was not taken back though it had missed nothing")
	}
	m.check()
}

func TestUnwantedBlocksAreConsumed(t *testing.T) {
	cares := func(member int) func(protocol.BlockKind, uint32, uint32) bool {
		return func(_ protocol.BlockKind, first, _ uint32) bool { return int(first)%3 == member }
	}
	m := newSim(t, simConfig{members: 3, blocks: 150, loss: 0.05, cares: cares, window: 1 << 20, room: 300 << 10}, 3)
	m.run()
	for _, r := range m.recv {
		if len(r.got) != 50 || r.done != 50 || !r.r.Complete(150) {
			t.Errorf("member %d got %d blocks in %d deliveries", r.id, len(r.got), r.done)
		}
	}
}
