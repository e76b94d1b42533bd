package transfer

import (
	"math/rand/v2"
	"testing"
	"time"

	"makuo/protocol"
)

func TestPacerKeepsRateAndTrains(t *testing.T) {
	for _, rate := range []int64{125_000, 12_500_000, 125_000_000, 1_250_000_000} {
		rng := rand.New(rand.NewPCG(1, uint64(rate)))
		start := time.Unix(1000, 0)
		now := start
		p := NewPacer(rate, now)
		const size = 1500
		longest := max(1, int(trainBytes(rate)/size))
		sent := 0
		for now.Sub(start) < 2*time.Second {
			train := 0
			for p.Ready(now) {
				p.Charge(now, size)
				train++
			}
			if sent += train; train > longest {
				t.Fatalf("rate %d: a train of %d packets, %d are allowed", rate, train, longest)
			}
			// Late by less than the credit: nothing of the rate is lost.
			now = p.Due().Add(time.Duration(rng.Int64N(int64(100 * time.Microsecond))))
		}
		for late := range 50 { // however late: no more than a train
			train := 0
			at := p.Due().Add(time.Duration(late) * 40 * time.Microsecond)
			for ; p.Ready(at); train++ {
				p.Charge(at, size)
			}
			if train > longest {
				t.Fatalf("rate %d: %d packets at once, %d us late", rate, train, late*40)
			}
		}
		got := float64(sent*size) / now.Sub(start).Seconds()
		if low := float64(rate) * 0.9; longest > 1 && got < low || got > float64(rate)*1.01+size {
			t.Errorf("rate %d: %.0f bytes a second", rate, got)
		}
	}
}

func TestTrainsAreShort(t *testing.T) {
	for _, c := range []struct{ mbit, bytes int64 }{{1, 125}, {10, 1250}, {98, 12250}, {100, 12 << 10}, {390, 12 << 10}, {1000, 31250}, {10000, 312500}} {
		if got := trainBytes(c.mbit * 1e6 / 8); got != c.bytes {
			t.Errorf("%d bytes in a row at %d Mbit/s, want %d", got, c.mbit, c.bytes)
		}
	}
}

func TestControlIsChargedToTheSameRate(t *testing.T) {
	now := time.Unix(1000, 0)
	s := benchSender(1, 2, now)
	s.pacer.SetRate(1e6)
	s.ChargeControl(now, 1000-ipUDP)
	if at := s.Poll(now); at.Sub(now) != time.Millisecond {
		t.Errorf("due after %v", at.Sub(now))
	}
	if _, ok := s.Next(now); ok {
		t.Error("a packet before its time")
	}
}

func TestSlotsAgainstModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	var s slots
	model := map[uint32]bool{}
	base := uint32(1<<32 - 5000) // the slots wrap, and so do the ids
	for range 30000 {
		id := base + rng.Uint32N(MaxAhead)
		switch rng.IntN(3) {
		case 0:
			s.add(id)
			model[id] = true
		case 1:
			s.remove(id)
			delete(model, id)
		default:
			next := base + rng.Uint32N(40)
			for ; base != next; base++ {
				s.remove(base)
				delete(model, base)
			}
		}
		want, found := uint32(0), false
		for id := range model {
			if !found || id-base < want-base {
				want, found = id, true
			}
		}
		if got, ok := s.first(base); ok != found || got != want || s.empty() == found {
			t.Fatalf("first from %d: %d %v, want %d %v", base, got, ok, want, found)
		}
	}
}

func TestSymbolSetOnTheWire(t *testing.T) {
	for n := 0; n <= 128; n++ {
		s := below(n)
		for i := range 128 {
			if s.has(i) != (i < n) {
				t.Fatalf("below(%d) has(%d) is %v", n, i, s.has(i))
			}
		}
		b := s.appendMissing(nil)
		if len(b) != (n+7)/8 || parseMissing(b) != s {
			t.Fatalf("below(%d) is %x on the wire", n, b)
		}
	}
}

func TestSequenceNumbersWrap(t *testing.T) {
	m := newSim(t, simConfig{members: 2, blocks: 60, loss: 0.05, jitter: time.Millisecond}, 1)
	m.s.seq = 1<<32 - 2500
	m.s.rate.first = m.s.seq
	m.run()
	m.check()
	if st := m.s.Stats(); m.s.seq > 1<<31 || st.Absurd > 4 || st.Repaired > 2*st.Sent {
		t.Errorf("at %d: %+v", m.s.seq, st)
	}
}

func TestRoundTripRisesAtOnceAndFallsSlowly(t *testing.T) {
	now := time.Unix(1000, 0)
	var g grtt
	g.init(now)
	if g.add(now, 80*time.Microsecond); g.value() != 80*time.Microsecond {
		t.Fatalf("first sample: %v", g.value())
	}
	if g.add(now, 3*time.Millisecond); g.value() != 3*time.Millisecond {
		t.Fatalf("larger sample: %v", g.value())
	}
	if g.add(now, 0); g.value() != 3*time.Millisecond {
		t.Fatalf("smaller sample: %v", g.value())
	}
	for round := range 100 {
		now = now.Add(50 * time.Millisecond)
		before := g.value()
		if g.add(now, 100*time.Microsecond); g.value() < before*9/10 {
			t.Fatalf("round %d: %v after %v", round, g.value(), before)
		}
	}
	if g.value() != 100*time.Microsecond {
		t.Errorf("in the end %v", g.value())
	}
}

func TestRoundTripIsMeasuredWithoutTheHold(t *testing.T) {
	now := time.Unix(1000, 0)
	s := benchSender(1, 1, now)
	sent := s.Clock(now.Add(time.Second))
	now = now.Add(time.Second + 20*time.Millisecond + 300*time.Microsecond)
	s.HandleFeedback(now, 0, &protocol.Feedback{Stream: 1, Echo: sent, Held: 20 * time.Millisecond})
	if s.RTT() != 300*time.Microsecond {
		t.Errorf("round trip %v", s.RTT())
	}
	s.HandleFeedback(now, 0, &protocol.Feedback{Stream: 1, Echo: sent, Held: time.Hour})
	s.HandleFeedback(now, 0, &protocol.Feedback{Stream: 1, Echo: sent + 1<<40})
	if s.RTT() != 300*time.Microsecond {
		t.Errorf("after impossible values %v", s.RTT())
	}
}

func TestStateIsAnsweredAtALimitedRate(t *testing.T) {
	for _, c := range []struct {
		roster, low, high int // answers in 10 s of a State each 10 ms
	}{{1, 200, 400}, {10, 150, 400}, {100, 25, 37}, {1000, 25, 37}} {
		now := time.Unix(1000, 0)
		r := NewReceiver(ReceiverConfig{Stream: 1, Roster: c.roster, Seed: 4}, now)
		n := 0
		for i := range 10000 {
			now = now.Add(time.Millisecond)
			if i%10 == 0 {
				r.HandleState(now, &protocol.State{Stream: 1, Seq: uint32(i), RTT: time.Millisecond})
			}
			if fb, _ := r.Poll(now); fb != nil {
				n++
			}
		}
		if n < c.low || n > c.high {
			t.Errorf("roster of %d: %d answers in 10 s, want %d to %d", c.roster, n, c.low, c.high)
		}
	}
}

func TestTheEndIsToldWithinARoundTrip(t *testing.T) {
	now := time.Unix(1000, 0)
	r := NewReceiver(ReceiverConfig{Stream: 1, Roster: 4}, now)
	r.HandleState(now, &protocol.State{Stream: 1, Seq: 1, RTT: time.Millisecond, Blocks: 1})
	now = now.Add(100 * time.Microsecond)
	c, ok := r.HandleData(now, &protocol.Data{Stream: 1, Kind: protocol.BlockHeader, Length: 3, Symbol: []byte("abc")})
	if !ok {
		t.Fatal("not complete")
	}
	r.Consumed(c.ID)
	fb, at := r.Poll(now)
	for fb == nil && !at.IsZero() {
		now = at
		fb, at = r.Poll(now)
	}
	if took := now.Sub(time.Unix(1000, 0)); fb == nil || fb.Consumed != 1 || took > 1100*time.Microsecond {
		t.Errorf("%+v after %v", fb, took)
	}
	if fb, at = r.Poll(now.Add(time.Hour)); fb != nil {
		t.Errorf("said again: %+v, %v", fb, at)
	}
}
