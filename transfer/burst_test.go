package transfer

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// Losses in bursts, whose share of the packets a stream can bear, cost next to
// no rate: they come and go at any rate.
func TestBurstsCostNoRate(t *testing.T) {
	const mbit = 1e6 / 8
	type gap = func(r *simMember, at time.Time) bool
	packets := func(lost, of int) gap {
		return func(r *simMember, _ time.Time) bool { return (r.came+r.id*of/4)%of < lost }
	}
	outage := func(d, every time.Duration) gap {
		return func(r *simMember, at time.Time) bool {
			return (time.Duration(at.UnixNano())+time.Duration(r.id)*every/4)%every < d
		}
	}
	const ms = time.Millisecond
	for _, c := range []struct {
		name  string
		port  float64
		burst int // of a random burst
		loss  float64
		gap   gap
		slow  bool // the port, not the sender's link
	}{
		{name: "30 of 600", port: 100, gap: packets(30, 600)},
		{name: "50 of 1000", port: 100, gap: packets(50, 1000)},
		{name: "100 of 1000", port: 100, gap: packets(100, 1000)},
		{name: "100 of 2000", port: 100, gap: packets(100, 2000)},
		{name: "200 of 10000", port: 100, gap: packets(200, 10000)},
		{name: "500 of 5000", port: 100, gap: packets(500, 5000)},
		{name: "10 ms of 100", port: 100, gap: outage(10*ms, 100*ms)},
		{name: "20 ms of 200", port: 100, gap: outage(20*ms, 200*ms)},
		{name: "60 ms of 600", port: 100, gap: outage(60*ms, 600*ms)},
		{name: "300 ms of 2000", port: 100, gap: outage(300*ms, 2000*ms)},
		{name: "random 20", port: 100, burst: 20, loss: 0.05},
		{name: "random 100", port: 100, burst: 100, loss: 0.05},
		{name: "random 300", port: 100, burst: 300, loss: 0.05},
		{name: "100 of 2000", port: 1000, gap: packets(100, 2000)},
		{name: "500 of 10000", port: 1000, gap: packets(500, 10000)},
		{name: "20 ms of 200", port: 1000, gap: outage(20*ms, 200*ms)},
		{name: "random 100", port: 1000, burst: 100, loss: 0.05},
		{name: "50 of 1000", port: 100, gap: packets(50, 1000), slow: true},
		{name: "20 ms of 200", port: 100, gap: outage(20*ms, 200*ms), slow: true},
	} {
		t.Run(fmt.Sprintf("%s at %g, slow port %t", c.name, c.port, c.slow), func(t *testing.T) {
			t.Parallel()
			if c.port >= 1000 && testing.Short() {
				t.Skip("short: gigabit ports are left out")
			}
			cfg := simConfig{members: 4, port: c.port * mbit, link: c.port * mbit, queue: 512 << 10, loss: c.loss, burst: c.burst, gap: c.gap}
			if c.slow {
				cfg.link = 0
			}
			run := 4 * time.Second
			if c.port >= 1000 {
				run = time.Second
			}
			sent, low := settle(t, cfg, 7, time.Second, run)
			t.Logf("sent %.1f, lowest %.1f Mbit/s", sent/mbit, low/mbit)
			if got := sent / mbit / c.port; got < 0.85 || c.slow && got > 1.2 {
				t.Errorf("sent %.2f of what the port takes", got)
			}
		})
	}
}

// A member that loses more than a fifth of all packets in bursts, like behind a
// meter that lets all through for half a second and then nothing, is not
// excused for good. Few packets in a row are no burst at any rate, and what is
// spread is none.
func TestBurstsAreExcusedUpToAFifth(t *testing.T) {
	const rate, perMs = 1e8 / 8, 8 // bytes a second, packets
	for _, c := range []struct {
		outage  time.Duration // of each second
		excused bool
	}{{100 * time.Millisecond, true}, {500 * time.Millisecond, false}} {
		var b bursts
		last := false
		for range 10 {
			for at := c.outage; at <= time.Second; at += 25 * time.Millisecond {
				took, gap := 25*time.Millisecond, uint32(0)
				if at == c.outage { // the first word after it
					took += c.outage
					gap = uint32(c.outage/time.Millisecond) * perMs
				}
				excused := b.excuse(uint32(took/time.Millisecond)*perMs, gap, gap, took, rate)
				if gap > 0 {
					last = excused == gap
				}
			}
		}
		if last != c.excused {
			t.Errorf("%v a second: excused %t, %.2f lost in bursts", c.outage, last, b.share)
		}
	}
	for _, c := range []struct {
		packets, lost, gap, want uint32
		rate                     float64
	}{
		{12, 2, 2, 0, 5e6 / 8},           // a slow port drops one here and there
		{200, 20, 15, 0, rate},           // less than two trains
		{200, 20, 20, 20, rate},          // a burst
		{200, 60, 20, 0, rate},           // most is lost elsewhere
		{2000, 40, 40, 0, 1e9 / 8},       // less than two trains at this rate
		{2000, 50, 1 << 31, 50, 1e9 / 8}, // no more than was lost
	} {
		var b bursts
		if got := b.excuse(c.packets, c.lost, c.gap, 25*time.Millisecond, c.rate); got != c.want {
			t.Errorf("%+v: %d are excused", c, got)
		}
	}
}

// A receiver says the longest run that it missed since it said so last, with
// what State says was sent behind the newest packet.
func TestGapIsTheLongestRun(t *testing.T) {
	now := time.Unix(1000, 0)
	r := NewReceiver(ReceiverConfig{Stream: 1, Room: 1 << 20, Roster: 1}, now)
	for _, seq := range []uint32{10, 11, 20, 15, 24, 26} { // 15 comes late
		r.received(now, seq)
	}
	if got := r.longestGap(); got != 8 {
		t.Errorf("%d in a row after 12 to 19", got)
	}
	if got := r.longestGap(); got != 0 {
		t.Errorf("%d in a row, told already", got)
	}
	r.state.gotState, r.state.packets = true, 32
	if got := r.longestGap(); got != 5 {
		t.Errorf("%d in a row after 27 to 31", got)
	}
}

// A rate that is not used does not grow: where content comes slower than it,
// nobody knows what the path would bear.
func TestUnusedRateDoesNotGrow(t *testing.T) {
	const mbit = 1e6 / 8
	m := newSim(t, simConfig{members: 2, blocks: 1, discard: true, blockLen: func(int, *rand.Rand) int { return 128 << 10 }}, 5)
	m.s.cfg.Release = nil
	m.state()
	m.pump()
	for range 300 { // 128 KiB every 10 ms: 105 Mbit/s
		m.total++
		m.pump()
		m.until(m.now.Add(10 * time.Millisecond))
	}
	if got := float64(m.s.Rate()) / mbit; got > 300 {
		t.Errorf("the rate is %.0f Mbit/s, used are 105", got)
	}
}
