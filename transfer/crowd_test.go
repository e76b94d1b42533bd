package transfer

import (
	"fmt"
	"math"
	"testing"
	"time"
)

// rival is a TCP stream with CUBIC (RFC 9438) through the port of member 0,
// from another host, with as much to send as it may.
type rival struct {
	m        *sim
	window   float64 // packets
	ceiling  float64 // window at the last loss
	epoch    time.Time
	recovery time.Time // until then losses are those of the same event
	flying   int
	got      int // bytes delivered
	stopped  bool
}

const (
	rivalPacket = 1500
	rivalTrip   = 200 * time.Microsecond
)

func (r *rival) send() {
	p := r.m.recv[0]
	for !r.stopped && float64(r.flying) < r.window {
		now := r.m.now
		free := p.free
		if free.Before(now) {
			free = now
		}
		r.flying++
		if free.Sub(now).Seconds()*r.m.cfg.port > float64(r.m.cfg.queue) {
			// Found by what is acknowledged after it.
			r.m.at(free.Add(rivalTrip), func() { r.flying--; r.lost(); r.send() })
			continue
		}
		p.free = free.Add(time.Duration(rivalPacket / r.m.cfg.port * 1e9))
		r.m.at(p.free.Add(rivalTrip), func() { r.flying--; r.acked(); r.send() })
	}
}

func (r *rival) lost() {
	if r.m.now.Before(r.recovery) {
		return
	}
	r.ceiling, r.window = r.window, max(2, r.window*0.7)
	r.epoch = r.m.now
	r.recovery = r.m.now.Add(rivalTrip + r.m.recv[0].free.Sub(r.m.now))
}

func (r *rival) acked() {
	r.got += rivalPacket
	if r.ceiling == 0 {
		r.window++ // slow start
		return
	}
	t := r.m.now.Sub(r.epoch).Seconds()
	target := r.ceiling + 0.4*math.Pow(t-math.Cbrt(r.ceiling*0.3/0.4), 3)
	// Where round trips are short it grows as fast as Reno: section 4.3.
	r.window += max(0.53/r.window, min(0.5, (target-r.window)/r.window))
}

func TestATCPStreamGetsItsShare(t *testing.T) {
	const mbit = 1e6 / 8
	for _, c := range []struct {
		port, link float64
		members    int
		first      bool // the TCP stream was there before
		queue      int  // KiB; 150 at 300 Mbit/s is as long as 500 at 1 Gbit/s
	}{
		{port: 100, link: 100, members: 4, queue: 512}, {port: 100, link: 100, members: 4, first: true, queue: 512},
		{port: 100, link: 1000, members: 1, queue: 512},
		{port: 300, link: 300, members: 4, queue: 150}, {port: 300, link: 300, members: 4, first: true, queue: 150},
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			t.Parallel()
			if c.port > 100 && testing.Short() {
				t.Skip("short: fast ports are left out")
			}
			cfg := simConfig{members: c.members, port: c.port * mbit, link: c.link * mbit, queue: c.queue << 10, blocks: 1 << 30, discard: true}
			m := newSim(t, cfg, 3)
			m.s.cfg.Release = nil
			r := &rival{m: m, window: 10}
			if c.first {
				r.send()
				m.until(m.t0.Add(2 * time.Second))
			}
			m.state()
			m.pump()
			if !c.first {
				m.until(m.now.Add(2 * time.Second))
				r.send()
			}
			m.until(m.now.Add(5 * time.Second))
			st := m.s.Stats()
			ours, theirs := st.SentBytes+st.RepairedBytes, r.got
			const span = 5
			m.until(m.now.Add(span * time.Second))
			st = m.s.Stats()
			a := float64(st.SentBytes+st.RepairedBytes-ours) / span / mbit / c.port
			b := float64(r.got-theirs) / span / mbit / c.port
			t.Logf("makuo %.2f, TCP %.2f of the port", a, b)
			if a < 0.3 || b < 0.3 {
				t.Errorf("makuo got %.2f, TCP %.2f of the port", a, b)
			}
			r.stopped = true
			m.until(m.now.Add(4 * time.Second))
			if got := float64(m.s.Rate()) / mbit; got < 0.85*c.port {
				t.Errorf("four seconds after the TCP stream has ended the rate is %.0f Mbit/s", got)
			}
		})
	}
}
