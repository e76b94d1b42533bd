package transfer

import (
	"fmt"
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
		least float64
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
	} {
		t.Run(fmt.Sprintf("%s at %g", c.name, c.port), func(t *testing.T) {
			t.Parallel()
			if c.port >= 1000 && testing.Short() {
				t.Skip("short: gigabit ports are left out")
			}
			cfg := simConfig{members: 4, port: c.port * mbit, link: c.port * mbit, queue: 512 << 10, loss: c.loss, burst: c.burst, gap: c.gap}
			run := 4 * time.Second
			if c.port >= 1000 {
				run = time.Second
			}
			sent, low := settle(t, cfg, 7, time.Second, run)
			t.Logf("sent %.1f, lowest %.1f Mbit/s", sent/mbit, low/mbit)
			if least := max(c.least, 0.85); sent < least*c.port*mbit {
				t.Errorf("sent %.2f of what the port takes, want %g", sent/mbit/c.port, least)
			}
		})
	}
}

// A member that loses more than a fifth of all packets in bursts, like behind a
// meter that lets all through for half a second and then nothing, is not
// excused for good. Few packets in a row are no burst at any rate.
func TestBurstsAreExcusedUpToAFifth(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, c := range []struct {
		outage  time.Duration // of each second
		excused bool
	}{{100 * time.Millisecond, true}, {500 * time.Millisecond, false}} {
		var rate rateControl
		rate.init(RateConfig{Start: 1e8 / 8}, 1, now)
		m := &rate.members[0]
		const perMs = 8 // packets
		last := false
		for range 10 {
			for at := c.outage; at <= time.Second; at += 25 * time.Millisecond {
				took, gap := 25*time.Millisecond, uint32(0)
				if at == c.outage { // the first word after it
					took += c.outage
					gap = uint32(c.outage/time.Millisecond) * perMs
				}
				packets := uint32(took/time.Millisecond) * perMs
				here := m.newest
				here.highest += packets
				here.received += packets - gap
				here.clock += uint64(took / time.Microsecond)
				excused := rate.excuse(m, here, gap)
				if m.newest = here; gap > 0 {
					last = excused == gap
				}
			}
		}
		if last != c.excused {
			t.Errorf("%v a second: excused %t, %.2f lost in bursts", c.outage, last, m.bursts)
		}
	}
	var slow rateControl
	slow.init(RateConfig{Start: 5e6 / 8}, 1, now)
	here := mark{highest: 12, received: 10, clock: 25_000}
	if got := slow.excuse(&slow.members[0], here, 2); got != 0 {
		t.Errorf("%d packets are a burst at 5 Mbit/s", got)
	}
}
