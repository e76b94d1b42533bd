package transfer

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"makuo/protocol"
)

// BenchmarkRepairRound is the sender's book-keeping of one round in which each
// of many members has lost 1 % of 32 blocks, other packets than the others:
// their NAKs come in, and all that is asked for goes out. A round is also the
// unit of ns/op; ns/nak is what one block's line in a NAK costs, the repairs
// that it asks for included.
func BenchmarkRepairRound(b *testing.B) {
	for _, members := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("%d members", members), func(b *testing.B) { benchmarkRepairRound(b, members, 32) })
	}
}

func benchmarkRepairRound(b *testing.B, members, blocks int) {
	k := symbols(benchBlock, 1424)
	naks, total := lossReports(members, blocks, k)
	repaired := 0
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		now := time.Unix(1000, 0)
		s := benchSender(members, blocks, now)
		for range blocks * k {
			now = now.Add(10 * time.Microsecond)
			s.Next(now)
		}
		sent := s.Packets()
		b.StartTimer()
		for i := range naks {
			now = now.Add(time.Microsecond)
			fb := protocol.Feedback{Stream: 1, Clock: 1, Room: 24 << 20, Highest: sent, Received: sent, Naks: naks[i]}
			s.HandleFeedback(now, i, &fb)
		}
		for !s.repairs.empty() {
			now = now.Add(10 * time.Microsecond)
			if _, ok := s.Next(now); !ok {
				b.Fatal("repairs wait, and nothing is sent")
			}
			repaired++
		}
	}
	if repaired == 0 {
		b.Fatal("nothing was repaired: nothing was measured")
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*total), "ns/nak")
	b.ReportMetric(float64(repaired)/float64(b.N), "repairs/op")
}

// lossReports returns what each member asks for after losing 1 % of all
// packets, and how many blocks that are in all.
func lossReports(members, blocks, k int) (naks [][]protocol.Nak, total int) {
	rng := rand.New(rand.NewPCG(1, 2))
	naks = make([][]protocol.Nak, members)
	for m := range naks {
		for block := range blocks {
			missing, need := make([]byte, (k+7)/8), 0
			for i := range k {
				if rng.Float64() < 0.01 {
					missing[i/8] |= 1 << (i % 8)
					need++
				}
			}
			if need > 0 {
				missing = bytes.TrimRight(missing, "\x00")
				naks[m] = append(naks[m], protocol.Nak{Block: uint32(block), Need: uint8(need), Missing: missing})
				total++
			}
		}
	}
	return naks, total
}
