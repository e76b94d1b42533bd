package transfer

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"makuo/protocol"
)

// lossy returns a table that members with this loss have reported to.
func lossy(members int, loss float64, burst int) *lossTable {
	var t lossTable
	t.init(members)
	rng := rand.New(rand.NewPCG(5, 5))
	highest, received := uint32(0), make([]uint32, members)
	bad := make([]int, members)
	for range 40 {
		highest += 300
		for i := range members {
			for range 300 {
				if bad[i] > 0 {
					bad[i]--
				} else if rng.Float64() < loss/float64(burst) {
					bad[i] = burst - 1
				} else {
					received[i]++
				}
			}
			t.report(i, &protocol.Feedback{Received: received[i]}, highest)
		}
	}
	return &t
}

func TestParityInAdvanceFollowsSteadyLoss(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, c := range []struct {
		members        int
		loss           float64
		burst, low, up int
	}{
		{4, 0, 1, 0, 0}, {1000, 0, 1, 0, 0}, {4, 0.001, 1, 0, 0}, {1000, 0.001, 1, 1, 2}, {1, 0.01, 1, 0, 0}, {4, 0.01, 1, 1, 2},
		{1000, 0.01, 1, 4, 6}, {4, 0.05, 1, 4, 6}, {1000, 0.05, 1, 9, 14}, {4, 0.05, 40, 0, 0},
	} {
		b := lossy(c.members, c.loss, c.burst).lookUp(now, 92, false)
		t.Logf("%d members, loss %g: %d, at the tail %d", c.members, c.loss, b.bulk, b.tail)
		if n := int(b.bulk); n < c.low || n > c.up {
			t.Errorf("%d members, loss %g in bursts of %d: %d symbols in advance, want %d to %d", c.members, c.loss, c.burst, n, c.low, c.up)
		}
		if b.tail < b.bulk || c.loss == 0 && b.tail > 0 || c.loss > 0.001 && c.burst == 1 && b.tail == b.bulk {
			t.Errorf("%d members, loss %g: %d in bulk, %d at the tail", c.members, c.loss, b.bulk, b.tail)
		}
	}
}

func TestLossIsForgotten(t *testing.T) {
	table := lossy(10, 0.05, 1)
	for i := range 9 {
		table.forget(i)
	}
	left := 0
	for _, n := range table.levels {
		left += n
	}
	if left != 1 {
		t.Errorf("%d members are left of one", left)
	}
	table.lookUp(time.Unix(1000, 0), 92, false)
	highest := table.members[9].highest
	for range 60 {
		highest += 1000
		table.report(9, &protocol.Feedback{Received: table.members[9].received + 1000}, highest)
	}
	if b := table.lookUp(time.Unix(1001, 0), 92, false); b.tail != 0 {
		t.Errorf("after 60,000 packets without loss: %+v", b)
	}
}

func TestBinomialTail(t *testing.T) {
	for _, c := range []struct {
		n, m int
		p    float64
		want float64
	}{{1, 0, 0.1, 0.1}, {2, 0, 0.1, 0.19}, {2, 1, 0.1, 0.01}, {10, 10, 0.5, 0}, {10, 4, 0.5, 0.623046875}, {128, 0, 1e-4, 1 - math.Pow(1-1e-4, 128)}} {
		if got := binomialTail(c.n, c.m, c.p); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("more than %d of %d at %g: %g, want %g", c.m, c.n, c.p, got, c.want)
		}
	}
}
