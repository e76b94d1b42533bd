package simnet

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"makuo/protocol"
)

// sized returns a packet that takes size bytes on a link.
func sized(size int) []byte { return make([]byte, size-Overhead) }

// arrival is one call of a handler.
type arrival struct {
	host      int
	at        time.Duration // since the start
	from      netip.AddrPort
	multicast bool
	data      string
}

// recorded returns a network of n hosts with the link and what arrives.
func recorded(cfg Config, n int, link Link) (*Net, *[]arrival) {
	net := New(cfg)
	start := net.Now()
	log := &[]arrival{}
	for i := range n {
		net.AddHost(link, func(now time.Time, from netip.AddrPort, multicast bool, data []byte) {
			if !now.Equal(net.Now()) {
				panic("the handler's time is not the network's")
			}
			*log = append(*log, arrival{i, now.Sub(start), from, multicast, string(data)})
		})
	}
	return net, log
}

func finish(n *Net) {
	for n.Step() {
	}
}

func hostsOf(log []arrival) []int {
	var out []int
	for _, a := range log {
		out = append(out, a.host)
	}
	return out
}

func TestMulticastReachesAllOthersAndUnicastOne(t *testing.T) {
	net, log := recorded(Config{Delay: time.Millisecond}, 4, Link{})
	h := net.Hosts()
	h[1].Send(netip.AddrPort{}, []byte("to all"))
	h[1].Send(net.Group(), []byte("to all"))
	finish(net)
	if got := hostsOf(*log); !slices.Equal(got, []int{0, 2, 3, 0, 2, 3}) {
		t.Fatalf("multicast reached %v", got)
	}
	if a := (*log)[0]; a.from != h[1].Addr() || !a.multicast || a.data != "to all" || a.at != time.Millisecond {
		t.Fatalf("arrived as %+v", a)
	}
	*log = nil
	h[0].Send(h[2].Addr(), []byte("to one"))
	h[0].Send(h[0].Addr(), []byte("to myself"))
	h[0].Send(netip.MustParseAddrPort("10.9.9.9:5000"), []byte("to nobody"))
	finish(net)
	if got := hostsOf(*log); !slices.Equal(got, []int{2}) || (*log)[0].multicast {
		t.Fatalf("unicast reached %+v", *log)
	}
}

func TestLinksTakeTheirTime(t *testing.T) {
	// 1000 bytes at 1 MB/s up are 1 ms, at 0.5 MB/s down 2 ms.
	net, log := recorded(Config{Delay: 10 * time.Millisecond}, 2, Link{Up: 1e6, Down: 0.5e6, Delay: 100 * time.Millisecond})
	for range 3 {
		net.Hosts()[0].Send(netip.AddrPort{}, sized(1000))
	}
	if got := net.Hosts()[0].Backlog(); got != 3*time.Millisecond {
		t.Errorf("backlog of %v", got)
	}
	finish(net)
	for i, a := range *log {
		if want := time.Duration(1+10+2*(i+1)+100) * time.Millisecond; a.at != want {
			t.Errorf("packet %d arrived after %v, want %v", i, a.at, want)
		}
	}
	if len(*log) != 3 {
		t.Errorf("%d packets arrived", len(*log))
	}
}

func TestQueuesDropTheirTail(t *testing.T) {
	net, log := recorded(Config{}, 2, Link{Up: 1e6, UpQueue: 5000})
	sent := 0
	for range 20 {
		if net.Hosts()[0].Send(netip.AddrPort{}, sized(1000)) {
			sent++
		}
	}
	finish(net)
	if s := net.Hosts()[0].Stats(); sent != 6 || len(*log) != 6 || s.UpDropped != 14 || s.Sent != 6 || s.SentBytes != 6000 {
		t.Errorf("uplink: %d accepted, %d arrived, %+v", sent, len(*log), s)
	}

	net, log = recorded(Config{}, 2, Link{Down: 1e6, DownQueue: 5000})
	for range 20 {
		net.Hosts()[0].Send(netip.AddrPort{}, sized(1000))
	}
	finish(net)
	if s := net.Hosts()[1].Stats(); len(*log) != 6 || s.Overflow != 14 || s.Delivered != 6 {
		t.Errorf("downlink: %d arrived, %+v", len(*log), s)
	}
}

func TestPacketsOverTheMTUDoNotPass(t *testing.T) {
	net, log := recorded(Config{MTU: 1500}, 2, Link{})
	h := net.Hosts()[0]
	if !h.Send(netip.AddrPort{}, make([]byte, protocol.DefaultPayload-protocol.CheckLen)) {
		t.Error("a packet of the full MTU was refused")
	}
	if h.Send(netip.AddrPort{}, make([]byte, protocol.DefaultPayload-protocol.CheckLen+1)) {
		t.Error("a packet over the MTU was accepted")
	}
	finish(net)
	if len(*log) != 1 || h.Stats().TooBig != 1 {
		t.Errorf("%d arrived, %+v", len(*log), h.Stats())
	}
}

// chaos is a link with every fault.
var chaos = Link{Up: 1e7, Down: 1e7, Delay: 50 * time.Microsecond, Loss: 0.1, Duplicate: 0.1, Corrupt: 0.1, Reorder: 0.1, ReorderBy: 5 * time.Millisecond}

func chaosRun(seed uint64) ([]arrival, []Stats) {
	net, log := recorded(Config{Seed: seed, Delay: time.Millisecond}, 5, chaos)
	for i := range 2000 {
		net.Hosts()[i%5].Send(netip.AddrPort{}, binary.BigEndian.AppendUint32(make([]byte, 100), uint32(i)))
	}
	finish(net)
	var stats []Stats
	for _, h := range net.Hosts() {
		stats = append(stats, h.Stats())
	}
	return *log, stats
}

func TestTheSameSeedGivesTheSameRun(t *testing.T) {
	a, as := chaosRun(7)
	b, bs := chaosRun(7)
	if !slices.Equal(a, b) || !slices.Equal(as, bs) {
		t.Error("two runs with one seed differ")
	}
	if c, _ := chaosRun(8); slices.Equal(a, c) {
		t.Error("another seed gives the same run")
	}
}

func TestEveryFaultHappensAsOftenAsAsked(t *testing.T) {
	log, stats := chaosRun(1)
	var sum Stats
	for _, s := range stats {
		sum.Lost += s.Lost
		sum.Corrupt += s.Corrupt
		sum.Duplicated += s.Duplicated
		sum.Reordered += s.Reordered
		sum.Delivered += s.Delivered
	}
	// 8000 copies; each fault strikes one in ten of those the ones before left.
	for _, c := range []struct {
		what string
		got  uint64
		want uint64
	}{{"lost", sum.Lost, 800}, {"corrupt", sum.Corrupt, 720}, {"reordered", sum.Reordered, 648}, {"duplicated", sum.Duplicated, 648}} {
		if c.got < c.want*8/10 || c.got > c.want*12/10 {
			t.Errorf("%d packets %s, want about %d", c.got, c.what, c.want)
		}
	}
	if sum.Delivered != 8000-sum.Lost-sum.Corrupt+sum.Duplicated || int(sum.Delivered) != len(log) {
		t.Errorf("%d delivered, %d seen: %+v", sum.Delivered, len(log), sum)
	}
	overtaken := 0
	last := map[[2]any]uint32{}
	for _, a := range log {
		n := binary.BigEndian.Uint32([]byte(a.data)[100:])
		k := [2]any{a.host, a.from}
		if n < last[k] {
			overtaken++
		}
		last[k] = max(last[k], n)
	}
	if overtaken == 0 {
		t.Error("nothing arrived out of order")
	}
}

func TestWithoutFaultsOrderIsKept(t *testing.T) {
	net, log := recorded(Config{Delay: time.Millisecond}, 3, Link{Up: 1e6, Down: 1e6, Delay: 20 * time.Millisecond})
	for i := range 100 {
		net.Hosts()[0].Send(netip.AddrPort{}, fmt.Appendf(nil, "%03d", i))
		if i == 50 {
			net.RunFor(3 * time.Millisecond)
			net.Hosts()[1].SetLink(Link{}) // faster and nearer from now on
		}
	}
	finish(net)
	last := map[int]string{}
	for _, a := range *log {
		if a.data <= last[a.host] {
			t.Fatalf("host %d got %s after %s", a.host, a.data, last[a.host])
		}
		last[a.host] = a.data
	}
	if len(*log) != 200 {
		t.Fatalf("%d packets arrived", len(*log))
	}
}

func TestPartitionAndStop(t *testing.T) {
	net, log := recorded(Config{Delay: time.Millisecond}, 4, Link{})
	h := net.Hosts()
	say := func() []int {
		*log = nil
		h[0].Send(netip.AddrPort{}, []byte("x"))
		finish(net)
		return hostsOf(*log)
	}
	h[2].SetSide(1)
	if got := say(); !slices.Equal(got, []int{1, 3}) {
		t.Errorf("across a partition: %v", got)
	}
	h[2].SetSide(0)
	handler := h[1].handler
	h[1].Stop()
	if got := say(); !slices.Equal(got, []int{2, 3}) || h[1].Running() {
		t.Errorf("with host 1 stopped: %v", got)
	}
	h[1].Start(handler)
	if got := say(); !slices.Equal(got, []int{1, 2, 3}) {
		t.Errorf("healed: %v", got)
	}
	if h[1].Stats().Cut != 1 || h[2].Stats().Cut != 1 {
		t.Errorf("cut: %d and %d", h[1].Stats().Cut, h[2].Stats().Cut)
	}
}

func TestStoppedHostLosesWhatIsInItsDownlink(t *testing.T) {
	net, log := recorded(Config{}, 2, Link{Down: 1e6})
	net.Hosts()[0].Send(netip.AddrPort{}, sized(1000))
	net.RunFor(500 * time.Microsecond)
	net.Hosts()[1].Stop()
	finish(net)
	if len(*log) != 0 || net.Hosts()[1].Stats().Cut != 1 {
		t.Errorf("%d arrived, %+v", len(*log), net.Hosts()[1].Stats())
	}
}

func TestFilterDecidesAboutEachPacket(t *testing.T) {
	net, log := recorded(Config{}, 3, Link{})
	net.SetFilter(func(from, to *Host, multicast bool, data []byte) bool {
		return !(from == net.Hosts()[0] && to == net.Hosts()[1] && multicast && string(data) == "b")
	})
	for _, s := range []string{"a", "b"} {
		net.Hosts()[0].Send(netip.AddrPort{}, []byte(s))
	}
	finish(net)
	if got := hostsOf(*log); !slices.Equal(got, []int{1, 2, 2}) || net.Hosts()[1].Stats().Filtered != 1 {
		t.Errorf("reached %v", got)
	}
}

func TestTimer(t *testing.T) {
	net := New(Config{})
	start := net.Now()
	var fired []time.Duration
	h := net.AddHost(Link{}, func(time.Time, netip.AddrPort, bool, []byte) {})
	h.OnTimer(func(now time.Time) { fired = append(fired, now.Sub(start)) })
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }

	for ms := 10; ms < 1000; ms++ { // put off again and again
		h.SetTimer(at(ms))
	}
	if n := len(net.events.events); n != 1 {
		t.Errorf("%d events for one timer", n)
	}
	h.SetTimer(at(500))
	h.SetTimer(at(5)) // brought forward
	net.Run(at(2000))
	h.SetTimer(at(2100))
	h.SetTimer(time.Time{}) // off
	net.Run(at(3000))
	h.SetTimer(at(1)) // in the past
	net.Run(at(3000))
	if want := []time.Duration{5 * time.Millisecond, 3000 * time.Millisecond}; !slices.Equal(fired, want) {
		t.Errorf("fired at %v, want %v", fired, want)
	}
	h.SetTimer(at(3500))
	h.Stop()
	net.Run(at(4000))
	if len(fired) != 2 {
		t.Error("the timer of a stopped host fired")
	}
}

func TestRunUntil(t *testing.T) {
	net := New(Config{})
	start := net.Now()
	var calls []int
	net.At(start.Add(2*time.Second), func() { calls = append(calls, 2) })
	net.At(start.Add(time.Second), func() {
		calls = append(calls, 1)
		net.At(start, func() { calls = append(calls, 10) }) // the past is now
	})
	if !net.RunUntil(start.Add(time.Minute), func() bool { return len(calls) == 2 }) {
		t.Error("the condition was not noticed")
	}
	if !slices.Equal(calls, []int{1, 10}) || !net.Now().Equal(start.Add(time.Second)) {
		t.Errorf("calls %v at %v", calls, net.Now().Sub(start))
	}
	if net.RunUntil(start.Add(time.Minute), func() bool { return false }) || !net.Now().Equal(start.Add(time.Minute)) {
		t.Errorf("stopped at %v", net.Now().Sub(start))
	}
}

func TestHandlersMaySendAndMemoryIsUsedAgain(t *testing.T) {
	net := New(Config{Delay: time.Millisecond})
	left := 1000
	for range 2 {
		var h *Host
		h = net.AddHost(Link{Down: 1e9}, func(_ time.Time, from netip.AddrPort, _ bool, data []byte) {
			if left--; left > 0 {
				h.Send(from, data)
			}
			if string(data) != "ball" {
				t.Fatalf("got %q", data)
			}
		})
	}
	net.Hosts()[0].Send(net.Hosts()[1].Addr(), []byte("ball"))
	finish(net)
	if left != 0 || len(net.packets) > 2 || len(net.free) != len(net.packets) {
		t.Errorf("%d left, %d packets held, %d free", left, len(net.packets), len(net.free))
	}
}

func TestHeapAgainstSorting(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var h eventHeap
	var model []event
	for i := range 20000 {
		if len(model) > 0 && r.IntN(100) < 45 {
			slices.SortFunc(model, func(a, b event) int {
				if a.before(&b) {
					return -1
				}
				return 1
			})
			if got := h.pop(); got != model[0] {
				t.Fatalf("step %d: popped %+v, want %+v", i, got, model[0])
			}
			model = model[1:]
			continue
		}
		if len(model) < 200 {
			e := event{at: int64(r.IntN(50)), ref: int32(i)}
			h.push(e)
			e.seq = h.seq
			model = append(model, e)
		}
	}
}

func TestFifoAgainstSlice(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var f fifo
	var model []due
	for i := range 20000 {
		if len(model) > 0 && r.IntN(100) < 49 {
			if *f.first() != model[0] || f.pop() != model[0] {
				t.Fatalf("step %d: not the first", i)
			}
			model = model[1:]
		} else {
			d := due{at: int64(i)}
			f.push(d)
			model = append(model, d)
		}
		if f.n != len(model) {
			t.Fatalf("step %d: %d queued, want %d", i, f.n, len(model))
		}
	}
}

func TestDeliveryDoesNotAllocate(t *testing.T) {
	net := New(Config{Delay: time.Millisecond})
	for range 10 {
		net.AddHost(Link{Up: 1e9, Down: 1e8, Loss: 0.1}, func(time.Time, netip.AddrPort, bool, []byte) {})
	}
	data := sized(1400)
	round := func() {
		for range 10 {
			net.Hosts()[0].Send(netip.AddrPort{}, data)
		}
		finish(net)
	}
	round()
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Errorf("%v allocations a round", n)
	}
}

func benchmarkDeliver(b *testing.B, hosts int, link Link) {
	net := New(Config{Delay: 50 * time.Microsecond})
	seen := 0
	for range hosts {
		net.AddHost(link, func(_ time.Time, _ netip.AddrPort, _ bool, data []byte) { seen += len(data) })
	}
	net.Hosts()[0].SetLink(Link{Up: 125e6})
	data := sized(1400)
	b.ResetTimer()
	for range b.N {
		net.Hosts()[0].Send(netip.AddrPort{}, data)
		if net.Hosts()[0].Backlog() > time.Millisecond {
			net.RunFor(time.Millisecond / 2)
		}
	}
	finish(net)
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*(hosts-1)), "ns/delivery")
}

func BenchmarkMulticast1000(b *testing.B) { benchmarkDeliver(b, 1000, Link{}) }
func BenchmarkMulticast1000Loss(b *testing.B) {
	benchmarkDeliver(b, 1000, Link{Loss: 0.01})
}
func BenchmarkMulticast1000Downlinks(b *testing.B) {
	benchmarkDeliver(b, 1000, Link{Down: 125e6, DownQueue: 1 << 20, Loss: 0.01})
}
