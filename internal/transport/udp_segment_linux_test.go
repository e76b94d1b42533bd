package transport

import (
	"errors"
	"net/netip"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"makuo/internal/transport/leak"
	"makuo/protocol"
)

// pair returns two connections on lo that use segmentation.
func pair(t *testing.T) (a, b *UDP) {
	t.Helper()
	leak.Check(t)
	cfg := loopback(t)
	a = openUDP(t, cfg)
	cfg.Session = 2
	b = openUDP(t, cfg)
	if i := a.Info(); !i.Segmentation || !i.Coalescing || i.Unsegmented != nil {
		t.Skipf("this kernel has no UDP_SEGMENT or UDP_GRO (%+v): segmented sending and receiving are left untested", i)
	}
	return a, b
}

func send(t *testing.T, c Conn, tr *Train) {
	t.Helper()
	defer tr.Release()
	if err := c.Send(tr); err != nil {
		t.Fatal(err)
	}
}

// hearNumbers checks that the packets of the data train first arrive at c.
func hearNumbers(t *testing.T, c Conn, n int) {
	t.Helper()
	for i, p := range hear(t, c, n) {
		if got := int(p.body[3]) | int(p.body[2])<<8; got != i {
			t.Fatalf("packet %d came as number %d", got, i)
		}
	}
}

func TestNoSegmentationIsObeyed(t *testing.T) {
	leak.Check(t)
	cfg := loopback(t)
	cfg.NoSegmentation = true
	if i := openUDP(t, cfg).Info(); i.Segmentation || i.Coalescing || i.Unsegmented != nil {
		t.Errorf("%+v", i)
	}
}

// TestARefusalEndsSegmentation has a socket that computes no checksums, for
// which the kernel refuses to segment with EINVAL.
func TestARefusalEndsSegmentation(t *testing.T) {
	a, b := pair(t)
	if err := control(a.unicast, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_NO_CHECK, 1) }); err != nil {
		t.Fatal(err)
	}
	send(t, a, dataTrain(a, 1, 0))
	hearNumbers(t, b, 40) // what was refused was sent again, once
	i := a.Info()
	var e *SegmentationError
	if i.Segmentation || !errors.As(i.Unsegmented, &e) || !errors.Is(e, syscall.EINVAL) ||
		!strings.Contains(e.Error(), "segmented sending on interface lo was refused: sendmmsg: invalid argument") {
		t.Errorf("%+v: %v", i, i.Unsegmented)
	}
	send(t, a, dataTrain(a, 1, 0))
	hearNumbers(t, b, 40)
	if s := a.Stats(); s.SentPackets != 80 || s.Overflow != 0 {
		t.Errorf("counted %+v", s)
	}
}

func TestOtherErrorsDoNotEndSegmentation(t *testing.T) {
	a, b := pair(t)
	tr := dataTrain(a, 1, 0)
	tr.Dst = netip.AddrPortFrom(b.Local().Addr(), 0) // EINVAL, whatever is sent
	err := a.Send(tr)
	tr.Release()
	var part *SendError
	if !errors.As(err, &part) || part.Failed != 40 || part.Sent != 0 || !errors.Is(err, syscall.EINVAL) {
		t.Errorf("Send: %v", err)
	}
	if i := a.Info(); !i.Segmentation || i.Unsegmented != nil {
		t.Errorf("%+v", i)
	}
}

// TestARunIsOneDatagram shows that what is tested here is not sent packet by
// packet after all.
func TestARunIsOneDatagram(t *testing.T) {
	a, b := pair(t)
	send(t, a, dataTrain(a, 1, 0))
	in, err := b.Recv()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Release()
	if len(in.Packets) < 18 { // the first run, or more
		t.Errorf("the first batch has %d packets", len(in.Packets))
	}
}

func TestChecksAreVerifiedPerPacket(t *testing.T) {
	a, b := pair(t)
	tr := sized(100, 100, 100, 100, 70)
	tr.seal()
	tr.Packet(1)[50] ^= 1
	tr.Packet(4)[50] ^= 1
	tr.Packet(2)[0]++ // of another program
	r := tr.run(0, a.segment)
	out := newOutBatch(a.raw, a.unicast)
	out.to(b.Local())
	if n, err := out.send([]run{r}); n != 1 || err != nil || r.packets != 5 {
		t.Fatal(n, err, r.packets)
	}
	tr.Release()
	got := hear(t, b, 2)
	if got[0].body[0] != 0 || got[1].body[0] != 3 || got[0].from != a.Local() {
		t.Errorf("packets %d and %d passed", got[0].body[0], got[1].body[0])
	}
	s := b.Stats()
	if s.Packets != 2 || s.BadCheck != 2 || s.BadPrefix != 1 {
		t.Errorf("counted %+v", s)
	}
}

// TestOwnTrainsAreCountedExactly compares with what the kernel counts: more
// would hide packets that are lost, fewer would make up some.
func TestOwnTrainsAreCountedExactly(t *testing.T) {
	for _, plain := range []bool{false, true} {
		leak.Check(t)
		cfg := loopback(t)
		cfg.NoSegmentation = plain
		a := openUDP(t, cfg)
		cfg.Session = 2
		b := openUDP(t, cfg)
		for range 5 {
			send(t, a, dataTrain(a, 1, 0))
			hearNumbers(t, b, 40)
		}
		// The kernel may serve a's socket after b's, though soon.
		for range 1000 {
			if dropped(a.multicast) == a.looped.Load() {
				break
			}
			say(t, b, 2, a.Local(), "and now?")
			hear(t, a, 1)
		}
		if d, l := dropped(a.multicast), a.looped.Load(); d != l || l == 0 || (l == 200) != plain {
			t.Errorf("one by one %v: the kernel dropped %d, %d were sent", plain, d, l)
		}
	}
}

// TestSegmentsOfAnyLength has segments that are as long as a slot, shorter and
// longer.
func TestSegmentsOfAnyLength(t *testing.T) {
	a, b := pair(t)
	for _, size := range []int{30, 31, 1472, b.slot - 1, b.slot, b.slot + 1} {
		before := b.Stats()
		out := newOutBatch(a.raw, a.unicast)
		out.to(b.Local())
		tr := sized(size, size, size, 29)
		tr.seal()
		r := tr.run(0, a.segment)
		if n, err := out.send([]run{r}); n != 1 || err != nil || r.packets != 4 {
			t.Fatal(n, err, r.packets)
		}
		say(t, a, 1, b.Local(), "end")
		want := []string{}
		for i := range tr.Packets() {
			if p := tr.Packet(i); len(p) <= b.slot {
				want = append(want, string(p[protocol.PrefixLen:len(p)-protocol.CheckLen]))
			}
		}
		want = append(want, "end")
		for i, p := range hear(t, b, len(want)) {
			if p.body != want[i] {
				t.Errorf("segments of %d: packet %d differs", size, i)
			}
		}
		if over := b.Stats().Oversized - before.Oversized; (over == 3) != (size > b.slot) {
			t.Errorf("segments of %d: %d oversized", size, over)
		}
		tr.Release()
	}
}

// TestAllMemoryInUse takes all spills, so that the reader has to wait for one
// that is released.
func TestAllMemoryInUse(t *testing.T) {
	a, b := pair(t)
	each := min(maxCoalesced, maxBatch, readSlab/b.slot)
	for int(b.spills.left.Load())+len(b.spills.free) > maxSpills-2*each {
		runtime.Gosched() // until both readers have theirs
	}
	var taken []*spill
	for sp, ok := b.spills.try(); ok; sp, ok = b.spills.try() {
		taken = append(taken, sp)
	}
	var held []*Inbound
	ofTrain := func() *Train { return sized(1472, 1472, 1472) }
	// The reader has spills for what it is waiting for, and no more.
	for range maxSpills - len(taken) {
		send(t, a, ofTrain())
		in, err := b.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if len(held) < maxInbounds-2 { // or there is nothing to put the next into
			held = append(held, in)
		} else {
			in.Release()
		}
	}
	send(t, a, ofTrain())
	send(t, a, ofTrain())
	for _, in := range held {
		in.Release()
	}
	for _, sp := range taken {
		b.spills.put(sp)
	}
	if got := hear(t, b, 6); len(got) < 6 {
		t.Errorf("heard %d packets", len(got))
	}
	if n := b.spills.left.Load(); n != 0 || len(b.spills.free) > maxSpills {
		t.Errorf("%d spills not made, %d free", n, len(b.spills.free))
	}
}

func TestCloseWhileAllMemoryIsInUse(t *testing.T) {
	a, b := pair(t)
	for _, ok := b.spills.try(); ok; {
		_, ok = b.spills.try()
	}
	for _, ok := b.pool.try(); ok; {
		_, ok = b.pool.try()
	}
	for range 40 {
		send(t, a, sized(1472, 1472, 1472))
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

func TestAReserveDoesNotGrow(t *testing.T) {
	made := 0
	r := newReserve(3, func() *int { made++; return new(int) })
	done := make(chan struct{})
	var all []*int
	for range 3 {
		v, ok := r.take(done)
		if !ok {
			t.Fatal("nothing there")
		}
		all = append(all, v)
	}
	if _, ok := r.try(); ok || made != 3 {
		t.Errorf("a fourth was handed out, %d made", made)
	}
	r.put(all[1])
	if v, ok := r.take(done); !ok || v != all[1] {
		t.Error("what was given back did not come again")
	}
	close(done)
	if _, ok := r.take(done); ok || made != 3 {
		t.Errorf("a fourth was handed out, %d made", made)
	}
}
