package transfer

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

var scaleTo = flag.Int("scale", 1000, "largest number of members that TestScale simulates: 5000 takes about a minute and 4 GB")

// A thousand members with losses of their own neither drown the origin nor
// slow each other down: 20 MB at 100 Mbit/s with 1 % lost, also when a tenth of
// them dies on the way. The symbols of the simulation are small to save time;
// the rate is scaled, so that packets go out as fast as full ones.
func TestScale(t *testing.T) {
	blocks := 153 // of 92 symbols: 20 MB
	if testing.Short() {
		blocks = 30
	}
	t.Log("members  dying     time   repair  proactive  feedback  largest 100 ms")
	for _, members := range []int{100, 1000, 5000} {
		for _, dying := range []int{0, members / 10} {
			if members > *scaleTo {
				t.Logf("%7d  %5d  left out: run with -scale=%d", members, dying, members)
				continue
			}
			t.Run(fmt.Sprintf("%d members, %d die", members, dying), func(t *testing.T) { scale(t, members, dying, blocks) })
		}
	}
}

func scale(t *testing.T, members, dying, blocks int) {
	const symbol, full = 24, 1500
	const rate = int64(12.5e6) * (symbol + packetOverhead) / full
	m := newSim(t, simConfig{members: members, blocks: blocks, lossOf: func(int) float64 { return 0.01 }, discard: true, symbol: symbol,
		blockLen: func(int, *rand.Rand) int { return 92*symbol - 3 }, rate: RateConfig{Start: rate, Cap: rate}}, 4)
	m.s.cfg.Release = nil
	for i := range dying {
		r := m.recv[i*10]
		at := m.t0.Add(time.Duration(float64(i) / float64(dying) * float64(time.Second)))
		m.at(at, func() { r.dead = true })
		m.at(at.Add(300*time.Millisecond), func() { m.s.Drop(r.id); m.pump() })
	}
	m.run()
	m.check()
	took, st := m.now.Sub(m.t0), m.s.Stats()
	peak := 0
	for i, j := 0, 0; j < len(m.heard); j++ {
		for m.heard[j].Sub(m.heard[i]) > 100*time.Millisecond {
			i++
		}
		peak = max(peak, j-i+1)
	}
	t.Logf("%7d  %5d  %7v  %.4f  %9d  %8d  %6d", members, dying, took.Round(time.Millisecond), float64(st.Repaired)/float64(st.Sent), st.Proactive, st.Feedback, peak)
	if peak > 5000 {
		t.Errorf("%d messages in 100 ms", peak)
	}
	for _, r := range m.recv {
		if limit := 6 + int(3*took.Seconds()) + 1; members >= 1000 && r.fb > limit {
			t.Fatalf("member %d sent %d messages in %v, %d are allowed", r.id, r.fb, took, limit)
		}
	}
	if members == 1000 && float64(st.SentBytes+st.RepairedBytes) > 1.07*float64(st.SentBytes) && !testing.Short() {
		t.Errorf("%d bytes were sent beside %d of data", st.RepairedBytes, st.SentBytes)
	}
	if wire := time.Duration(float64(blocks*92) * 1.07 * full * 8 / 100e6 * 1e9); members == 1000 && took > wire+300*time.Millisecond && !(testing.Short() && dying > 0) {
		t.Errorf("took %v, the packets take %v", took, wire)
	}
}

// Losses cost the whole of a push no more than two round trips beside the
// packets of the repairs.
func TestTailCostsTwoRoundTrips(t *testing.T) {
	const delay, rate = 5 * time.Millisecond, 100e6 / 8
	for _, loss := range []float64{0, 0.01, 0.05} {
		var sum, most time.Duration
		const runs = 20
		for seed := range uint64(runs) {
			m := newSim(t, simConfig{members: 4, blocks: 40, lossOf: func(int) float64 { return loss }, discard: true, delay: delay,
				rate: RateConfig{Start: rate, Floor: rate, Cap: rate}}, seed)
			m.s.cfg.Release = nil
			m.run()
			st := m.s.Stats()
			wire := time.Duration(float64(st.SentBytes+st.RepairedBytes) / rate * 1e9)
			over := m.now.Sub(m.t0) - wire
			sum, most = sum+over, max(most, over)
		}
		mean := sum / runs
		t.Logf("loss %g: %.1f round trips more than the packets take, %.1f at most", loss, float64(mean)/float64(2*delay), float64(most)/float64(2*delay))
		// One is for the last word of the members.
		if mean > 3*2*delay {
			t.Errorf("loss %g: %v more than the packets take", loss, mean)
		}
	}
}
