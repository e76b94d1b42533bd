package transfer

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"makuo/protocol"
)

const benchBlock = 92*1424 - 8

// benchSender returns a sender with many blocks offered and a rate that does
// not hold it back.
func benchSender(members, blocks int, now time.Time) *Sender {
	s := NewSender(SenderConfig{Stream: 1, Members: members, SymbolSize: 1424, Window: 1 << 40, Rate: RateConfig{Start: 1 << 40}}, now)
	encoded := make([]byte, benchBlock)
	for i := range blocks {
		kind := protocol.BlockData
		if i == 0 {
			kind = protocol.BlockHeader
		}
		if _, err := s.Offer(now, Block{Kind: kind, Count: 1, Encoded: encoded}); err != nil {
			panic(err)
		}
	}
	return s
}

func TestHotPathsDoNotAllocate(t *testing.T) {
	now := time.Unix(1000, 0)
	s := benchSender(2, 1000, now)
	r := NewReceiver(ReceiverConfig{Stream: 1, Roster: 4}, now)
	pass := func(lose int) {
		for i := 0; i < 92 || !s.repairs.empty(); i++ {
			now = now.Add(10 * time.Microsecond)
			d, ok := s.Next(now)
			if !ok {
				t.Fatal("nothing to send")
			}
			if i == lose {
				continue
			}
			if c, ok := r.HandleData(now, &d); ok {
				r.Consumed(c.ID)
				r.Recycle(c.Encoded)
			}
			if fb, _ := r.Poll(now); fb != nil {
				s.HandleFeedback(now, 0, fb)
				s.HandleFeedback(now, 1, fb)
			}
		}
	}
	for range 100 {
		pass(-1)
	}
	for name, lose := range map[string]int{"clean": -1, "with losses": 7} {
		s.overlap = 0 // parity
		if n := testing.AllocsPerRun(100, func() { pass(lose) }); n > 0 {
			t.Errorf("%s: %v allocations for 92 packets", name, n)
		}
	}
	if r.Stats().Naks == 0 || s.Stats().Parity == 0 || r.Stats().Rebuilt == 0 {
		t.Errorf("the losses were not repaired with parity: nothing was measured: %+v, %+v", s.Stats(), r.Stats())
	}
}

// BenchmarkStream sends blocks to four members that lose packets
// independently, and tells what sender and receiver spend on a GB.
func BenchmarkStream(b *testing.B) {
	for _, loss := range []float64{0, 0.01, 0.05} {
		b.Run(fmt.Sprintf("loss %g", loss), func(b *testing.B) {
			now := time.Unix(1000, 0)
			rng := rand.New(rand.NewPCG(1, 1))
			encoded := noise(benchBlock, 1)
			s := NewSender(SenderConfig{Stream: 1, Members: 4, SymbolSize: 1424, Window: 1 << 40, Rate: RateConfig{Start: 1 << 40, Floor: 1 << 40}}, now)
			var members [4]*Receiver
			for i := range members {
				members[i] = NewReceiver(ReceiverConfig{Stream: 1, Roster: 4, Seed: uint64(i)}, now)
			}
			var sending, receiving time.Duration
			b.ReportAllocs()
			b.SetBytes(benchBlock)
			for b.Loop() {
				kind := protocol.BlockData
				if s.Offered() == 0 {
					kind = protocol.BlockHeader
				}
				from := time.Now()
				s.Offer(now, Block{Kind: kind, Count: 1, Encoded: encoded})
				for {
					now = now.Add(10 * time.Microsecond)
					d, ok := s.Next(now)
					if sending += time.Since(from); !ok {
						break
					}
					for i, r := range members {
						if rng.Float64() < loss {
							continue
						}
						from = time.Now()
						if c, ok := r.HandleData(now, &d); ok {
							r.Consumed(c.ID)
							r.Recycle(c.Encoded)
						}
						fb, _ := r.Poll(now)
						receiving += time.Since(from)
						if fb != nil {
							from = time.Now()
							s.HandleFeedback(now, i, fb)
							sending += time.Since(from)
						}
					}
					from = time.Now()
				}
			}
			gb := float64(b.N) * benchBlock / 1e9
			b.ReportMetric(sending.Seconds()/gb, "sender-s/GB")
			b.ReportMetric(receiving.Seconds()/gb/4, "receiver-s/GB")
			b.ReportMetric(float64(s.Stats().Repaired)/float64(max(1, s.Stats().Sent)), "repaired")
		})
	}
}

func BenchmarkNext(b *testing.B) {
	now := time.Unix(1000, 0)
	b.ReportAllocs()
	s := benchSender(1, 4000, now)
	for b.Loop() {
		now = now.Add(10 * time.Microsecond)
		if _, ok := s.Next(now); !ok {
			b.StopTimer()
			s = benchSender(1, 4000, now)
			b.StartTimer()
		}
	}
}

func BenchmarkHandleData(b *testing.B) {
	now := time.Unix(1000, 0)
	r := NewReceiver(ReceiverConfig{Stream: 1, Roster: 4}, now)
	d := protocol.Data{Stream: 1, Kind: protocol.BlockHeader, Length: benchBlock, Count: 1}
	symbol := make([]byte, 1424)
	k := symbols(benchBlock, 1424)
	b.ReportAllocs()
	b.SetBytes(1424)
	for b.Loop() {
		now = now.Add(10 * time.Microsecond)
		d.Symbol = symbol[:min(1424, benchBlock-int(d.Index)*1424)]
		if c, ok := r.HandleData(now, &d); ok {
			r.Consumed(c.ID)
			r.Recycle(c.Encoded)
		}
		r.Poll(now)
		d.Seq++
		if d.Index++; int(d.Index) == k {
			d.Index, d.Block, d.Kind = 0, d.Block+1, protocol.BlockData
		}
	}
}

func BenchmarkHandleFeedback(b *testing.B) {
	for _, naks := range []int{0, 80} {
		b.Run(fmt.Sprintf("1000 members, %d naks", naks), func(b *testing.B) {
			now := time.Unix(1000, 0)
			s := benchSender(1000, 160, now)
			for range 160 * 92 {
				now = now.Add(10 * time.Microsecond)
				s.Next(now)
			}
			fb := protocol.Feedback{Stream: 1, Room: 24 << 20, Highest: s.Packets(), Received: s.Packets()}
			for i := range naks {
				fb.Naks = append(fb.Naks, protocol.Nak{Block: uint32(i), Need: 3, Missing: []byte{1, 0, 4, 0, 0, 0, 0, 0, 0, 0, 1}})
			}
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				now = now.Add(time.Microsecond)
				fb.Clock++
				s.HandleFeedback(now, i%1000, &fb)
				s.Room()
				i++
			}
		})
	}
}

func BenchmarkCodec(b *testing.B) {
	for name, content := range map[string][]byte{"prose": prose(128 << 10), "noise": noise(128<<10, 1)} {
		kind, enc, err := EncodeBlock(protocol.BlockData, content, nil)
		if err != nil {
			b.Fatal(err)
		}
		b.Run("encode "+name, func(b *testing.B) {
			dst := make([]byte, 0, protocol.MaxBlock)
			b.ReportAllocs()
			b.SetBytes(int64(len(content)))
			for b.Loop() {
				EncodeBlock(protocol.BlockData, content, dst)
			}
		})
		b.Run("decode "+name, func(b *testing.B) {
			dst := make([]byte, 0, protocol.MaxContent)
			b.ReportAllocs()
			b.SetBytes(int64(len(content)))
			for b.Loop() {
				DecodeBlock(kind, enc, dst)
			}
		})
	}
}
