package transfer

import (
	"fmt"
	"testing"
	"time"
)

// settle runs an endless stream and returns the mean and lowest rate of
// sending, in bytes a second, after it has warmed up.
func settle(t *testing.T, cfg simConfig, seed uint64, warm, run time.Duration) (sent, low float64) {
	t.Helper()
	cfg.blocks, cfg.discard = 1<<30, true
	m := newSim(t, cfg, seed)
	m.s.cfg.Release = nil
	m.state()
	m.pump()
	bytes := func() uint64 { st := m.s.Stats(); return st.SentBytes + st.RepairedBytes }
	m.until(m.t0.Add(warm))
	from := bytes()
	low = float64(m.s.Rate())
	m.every = func(time.Time) { low = min(low, float64(m.s.Rate())) }
	m.until(m.now.Add(run))
	return float64(bytes()-from) / run.Seconds(), low
}

func TestRateSettlesNearTheCapacity(t *testing.T) {
	for _, c := range []struct {
		port    float64 // Mbit/s
		loss    float64
		members int
		link    float64 // of the sender, 0: none
		cap     float64
	}{
		{port: 4}, {port: 5}, {port: 20}, {port: 20, loss: 0.05, members: 4}, {port: 20, loss: 0.2},
		{port: 100}, {port: 100, members: 4}, {port: 100, loss: 0.01, members: 4}, {port: 100, loss: 0.05}, {port: 100, loss: 0.2, members: 3},
		{port: 100, link: 1000}, {port: 1000, link: 300}, {port: 100, members: 30, loss: 0.02},
		{port: 100, cap: 50}, {port: 1000}, {port: 1000, loss: 0.05, members: 2},
	} {
		c.members = max(1, c.members)
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			t.Parallel()
			if c.port >= 1000 && testing.Short() {
				t.Skip("short: gigabit ports are left out")
			}
			const mbit = 1e6 / 8
			warm, run := 4*time.Second, 4*time.Second
			if c.port < 5 {
				warm *= 2 // its queue alone is a second long
			}
			if c.port >= 1000 {
				warm, run = 2*time.Second, time.Second
			}
			cfg := simConfig{members: c.members, port: c.port * mbit, queue: 512 << 10, loss: c.loss, link: c.link * mbit,
				rate: RateConfig{Cap: int64(c.cap * mbit)}}
			sent, low := settle(t, cfg, 7, warm, run)
			// The losses come before the port: it takes what they leave.
			want := c.port / (1 - c.loss)
			for _, limit := range []float64{c.link, c.cap} {
				if limit > 0 {
					want = min(want, limit)
				}
			}
			t.Logf("sent %.1f, lowest %.1f, possible %.1f Mbit/s", sent/mbit, low/mbit, want)
			if got := sent / mbit; got < 0.88*want || got > 1.1*want {
				t.Errorf("sent at %.1f of %.1f Mbit/s", got, want)
			}
		})
	}
}

// A push finds a free link by itself, soon, and without flooding it.
func TestColdStart(t *testing.T) {
	const mbit = 1e6 / 8
	for _, c := range []struct {
		port, link, loss float64
		within           time.Duration // 0: half a second
	}{
		{port: 100}, {port: 1000}, {port: 100, link: 100}, {port: 1000, link: 1000}, {port: 300, link: 1000}, {port: 100, link: 1000},
		{port: 100, loss: 0.01}, {port: 1000, link: 1000, loss: 0.01}, {port: 1000, loss: 0.05, within: 750 * time.Millisecond}, // one doubt to be settled first
	} {
		if c.within == 0 {
			c.within = 500 * time.Millisecond
		}
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			t.Parallel()
			cfg := simConfig{members: 4, port: c.port * mbit, link: c.link * mbit, loss: c.loss, queue: 512 << 10, blocks: 1 << 30, discard: true}
			m := newSim(t, cfg, 3)
			m.s.cfg.Release = nil
			want := c.port
			if c.link > 0 {
				want = min(c.port, c.link)
			}
			var reached time.Duration
			m.every = func(now time.Time) {
				if float64(m.s.Rate()) >= 0.9*want*mbit && reached == 0 {
					reached = now.Sub(m.t0)
				}
			}
			m.state()
			m.pump()
			if m.until(m.t0.Add(2 * time.Second)); c.port < 1000 || c.link == 0 {
				m.until(m.t0.Add(4 * time.Second))
			}
			st := m.s.Stats()
			lost := float64(m.drops) / float64(cfg.members) / float64(st.Sent+st.Repaired)
			t.Logf("90 %% of %g Mbit/s after %v; %.2f %% lost at the ports, rate now %.0f", want, reached, 100*lost, float64(m.s.Rate())/mbit)
			if reached == 0 || reached > c.within {
				t.Errorf("90 %% of %g Mbit/s only after %v", want, reached)
			}
			most := 0.02
			if c.link > c.port {
				most = 0.025 // found by losing: the link itself says nothing
			}
			if lost > most {
				t.Errorf("%.1f %% of the packets were lost by haste", 100*lost)
			}
		})
	}
}
