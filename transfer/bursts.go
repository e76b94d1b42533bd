package transfer

import (
	"math"
	"time"
)

const (
	burstTrains = 2               // lost in a row that are a burst
	leastBurst  = 16              // packets, where trains are shorter
	burstShare  = 0.4             // of what is lost, likewise
	burstMemory = 4 * time.Second // over which the share of bursts is taken
	mostBursts  = 0.2             // of the packets: more is always congestion
	fullPacket  = 1500            // bytes
)

// bursts tells losses in bursts, which no rate prevents, from congestion's.
//
// A queue that is full loses packets here and there, of each train some; an
// outage loses what comes meanwhile. A member that loses a large share of all
// packets in bursts is too slow all the same.
type bursts struct {
	share float64 // of the packets of late
}

// excuse returns how many of the packets that a member lost between two reports
// were lost in a burst at a rate in bytes a second. The longest run that was
// missed is gap packets; took is the time between the reports.
func (b *bursts) excuse(packets, lost, gap uint32, took time.Duration, rate float64) uint32 {
	gap = min(gap, lost)
	train := float64(trainBytes(int64(rate))) / fullPacket
	if float64(gap) < max(leastBurst, burstTrains*train) || float64(gap) < burstShare*float64(lost) {
		gap = 0
	}
	if packets > 0 {
		b.share += (float64(gap)/float64(packets) - b.share) * -math.Expm1(-float64(took)/float64(burstMemory))
	}
	if b.share > mostBursts {
		return 0
	}
	return gap
}
