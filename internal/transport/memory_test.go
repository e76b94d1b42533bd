package transport

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"makuo/internal/transport/leak"
	"makuo/protocol"
)

func TestMemoryRouterDecides(t *testing.T) {
	leak.Check(t)
	var hops []Hop
	hub := NewMemory(MemoryConfig{Router: func(_ *rand.Rand, h Hop) Fate {
		body := string(h.Data[protocol.PrefixLen : len(h.Data)-protocol.CheckLen])
		h.Data = nil
		hops = append(hops, h)
		switch body {
		case "lost":
			return Fate{Drop: true}
		case "twice":
			return Fate{Copies: 1}
		case "damaged":
			return Fate{Corrupt: true}
		case "late":
			return Fate{Delay: time.Millisecond}
		}
		return Fate{}
	}})
	a, b := hub.Host(testCluster, 1), hub.Host(testCluster, 2)
	defer a.Close()
	defer b.Close()
	for _, s := range []string{"late", "lost", "twice", "damaged", "last"} {
		say(t, a, 1, netip.AddrPort{}, s)
	}
	var got []string
	for _, p := range hear(t, b, 4) {
		got = append(got, p.body)
	}
	if want := []string{"twice", "twice", "last", "late"}; !slices.Equal(got, want) {
		// A very slow machine may let the late one arrive first; all must be there.
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("heard %v", got)
		}
	}
	if s := b.Stats(); s.BadCheck != 1 {
		t.Errorf("counted %+v", s)
	}
	if want := (Hop{From: a.Local(), To: b.Local(), Multicast: true}); len(hops) != 5 || hops[0].From != want.From || hops[0].To != want.To || !hops[0].Multicast {
		t.Errorf("the router saw %+v", hops)
	}
}

func TestMemoryIsSeeded(t *testing.T) {
	leak.Check(t)
	run := func(seed uint64) []string {
		hub := NewMemory(MemoryConfig{Router: Chaos(0.3, 0.2, 0.2, 0), Seed: seed})
		a, b := hub.Host(testCluster, 1), hub.Host(testCluster, 2)
		defer a.Close()
		defer b.Close()
		for i := range 200 {
			say(t, a, 1, netip.AddrPort{}, string(rune('0'+i%64)))
		}
		left := len(b.(*memoryHost).inbox)
		var got []string
		for left > 0 {
			in := takeInbound(b.(*memoryHost).pool)
			b.(*memoryHost).take(in)
			left -= maxBatch
			for _, p := range in.Packets {
				got = append(got, string(p.Body()))
			}
			in.Release()
		}
		if s := b.Stats(); s.BadCheck == 0 || s.Packets == 0 || s.Packets > 200 {
			t.Errorf("counted %+v", s)
		}
		return got
	}
	if a, b := run(1), run(1); !slices.Equal(a, b) {
		t.Error("two runs with one seed differ")
	}
	if a, b := run(1), run(2); slices.Equal(a, b) {
		t.Error("another seed gives the same run")
	}
}

func TestMemoryChaosDelays(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	router := Chaos(0, 0, 0, time.Second)
	var sum time.Duration
	for range 1000 {
		f := router(r, Hop{})
		if f.Delay < 0 || f.Delay > time.Second || f.Drop || f.Corrupt || f.Copies != 0 {
			t.Fatalf("%+v", f)
		}
		sum += f.Delay
	}
	if mean := sum / 1000; mean < 450*time.Millisecond || mean > 550*time.Millisecond {
		t.Errorf("mean delay of %v", mean)
	}
}

func TestMemoryMTU(t *testing.T) {
	leak.Check(t)
	hub := NewMemory(MemoryConfig{MTU: 600})
	a := hub.Host(testCluster, 1)
	defer a.Close()
	if a.Payload() != 572 {
		t.Errorf("payload of %d", a.Payload())
	}
	tr := NewTrain(netip.AddrPort{}, Control)
	defer tr.Release()
	tr.Append(func(dst []byte) []byte { return append(prefix(1).Append(dst), make([]byte, 600)...) })
	var part *SendError
	if err := a.Send(tr); !errors.As(err, &part) || part.Failed != 1 {
		t.Errorf("Send: %v", err)
	}
}

func TestMemoryInboxOverflows(t *testing.T) {
	leak.Check(t)
	hub := NewMemory(MemoryConfig{})
	a, b := hub.Host(testCluster, 1), hub.Host(testCluster, 2)
	defer a.Close()
	defer b.Close()
	for range memoryInbox + 10 {
		say(t, a, 1, netip.AddrPort{}, "x")
	}
	if s := b.Stats(); s.Overflow != 10 {
		t.Errorf("counted %+v", s)
	}
	hear(t, b, memoryInbox)
}
