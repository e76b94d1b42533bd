package transport

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"

	"makuo/protocol"
)

func sized(sizes ...int) *Train {
	tr := NewTrain(netip.AddrPort{}, Data)
	for i, n := range sizes {
		tr.Append(func(dst []byte) []byte {
			dst = prefix(1).Append(dst)
			return append(dst, bytes.Repeat([]byte{byte(i)}, n-protocol.PrefixLen-protocol.CheckLen)...)
		})
	}
	return tr
}

func TestRuns(t *testing.T) {
	many := make([]int, 70)
	for i := range many {
		many[i] = 40
	}
	big := make([]int, 9)
	for i := range big {
		big[i] = 8000
	}
	for _, c := range []struct {
		what    string
		segment int
		sizes   []int
		want    []int // packets of the runs
	}{
		{"one", 1472, []int{100}, []int{1}},
		{"equal", 1472, []int{100, 100, 100}, []int{3}},
		{"last is shorter", 1472, []int{100, 100, 60}, []int{3}},
		{"nothing behind a shorter one", 1472, []int{100, 60, 60, 100, 60}, []int{2, 1, 2}},
		{"growing", 1472, []int{100, 101, 102}, []int{1, 1, 1}},
		{"as long as a segment", 100, []int{100, 100}, []int{2}},
		{"longer than a segment", 99, []int{100, 100, 99, 99}, []int{1, 1, 2}},
		{"one by one", 0, []int{100, 100}, []int{1, 1}},
		{"64 in a run", 1472, many, []int{64, 6}},
		{"65507 bytes in a run", 9000, big, []int{8, 1}},
	} {
		tr := sized(c.sizes...)
		if got := runsOf(t, tr, c.segment); !equal(got, c.want) {
			t.Errorf("%s: runs of %v packets, want %v", c.what, got, c.want)
		}
		tr.Release()
	}
}

func equal(a, b []int) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// runsOf cuts a train and checks that cutting the runs as the kernel does gives
// the packets again.
func runsOf(t *testing.T, tr *Train, segment int) (packets []int) {
	t.Helper()
	next := 0
	for next < tr.Packets() {
		r := tr.run(next, segment)
		if r.packets < 1 || r.packets > MaxTrainPackets || len(r.data) > MaxTrainBytes || r.packets > 1 && r.size > segment {
			t.Fatalf("run of %d packets of %d bytes, %d in all", r.packets, r.size, len(r.data))
		}
		for b := r.data; len(b) > 0; next++ {
			n := min(r.size, len(b))
			if p := tr.Packet(next); &p[0] != &b[0] || len(p) != n {
				t.Fatalf("packet %d has %d bytes, the run's %d", next, len(p), n)
			}
			b = b[n:]
		}
		packets = append(packets, r.packets)
	}
	return packets
}

func TestRunsOfRandomTrains(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for range 500 {
		sizes := make([]int, 1+r.IntN(100))
		for i := range sizes {
			sizes[i] = 30 + r.IntN(4) + 700*r.IntN(2)
		}
		tr := sized(sizes...)
		n := 0
		for _, packets := range runsOf(t, tr, 1472) {
			n += packets
		}
		if n != len(sizes) {
			t.Errorf("%d packets in runs, want %d", n, len(sizes))
		}
		tr.Release()
	}
}
