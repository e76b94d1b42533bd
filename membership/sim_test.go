package membership

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"makuo/protocol"
)

// bus is a multicast network in simulated time. A packet arrives at once, at
// each receiver with its own chance of being lost.
type bus struct {
	t      *testing.T
	rnd    *rand.Rand
	start  time.Time
	now    time.Time
	loss   float64
	nodes  []*node
	byAddr map[netip.AddrPort]*node
	due    queue
	fifo   []packet
	bytes  int64 // on the wire, Ethernet, IP and UDP headers and all
	byType [16]int64
	onOut  func(from *node, o Out)
	on     func(n *node, e Event)
}

type node struct {
	table *Table
	pre   protocol.Prefix
	addr  netip.AddrPort
	down  bool
	next  time.Time
	index int
}

type packet struct {
	from   *node
	out    Out
	beacon protocol.Beacon
	detail protocol.Detail
}

type queue []*node

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].next.Before(q[j].next) }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i]; q[i].index, q[j].index = i, j }
func (q *queue) Push(x any)        { n := x.(*node); n.index = len(*q); *q = append(*q, n) }
func (q *queue) Pop() any {
	n := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return n
}

func newBus(t *testing.T, seed uint64, loss float64) *bus {
	t.Logf("seed %d", seed)
	start := time.Unix(1700000000, 0)
	return &bus{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), start: start, now: start, loss: loss, byAddr: make(map[netip.AddrPort]*node)}
}

// add starts a daemon on a host of its own number.
func (b *bus) add(name string, host int, port uint16, saved []Saved) *node {
	n := &node{pre: protocol.Prefix{Version: protocol.Version, Session: protocol.Session(b.rnd.Uint64() | 1)},
		addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(host >> 8), byte(host)}), port)}
	n.table = New(Config{Self: Self{Session: n.pre.Session, Name: name, Port: port, Started: b.now,
		Detail: protocol.Detail{Version: "1.0", Base: "/srv/www"}}}, b.now, saved)
	n.next = b.now
	b.nodes = append(b.nodes, n)
	b.byAddr[n.addr] = n
	heap.Push(&b.due, n)
	return n
}

func (b *bus) kill(n *node) {
	n.down = true
	heap.Remove(&b.due, n.index)
	if b.byAddr[n.addr] == n {
		delete(b.byAddr, n.addr)
	}
	for i, o := range b.nodes {
		if o == n {
			b.nodes = append(b.nodes[:i:i], b.nodes[i+1:]...)
			break
		}
	}
}

func (b *bus) leave(n *node) {
	for _, o := range n.table.Stop(b.now) {
		b.fifo = append(b.fifo, packet{from: n, out: o})
	}
	b.kill(n)
	b.drain()
}

func (b *bus) poll(n *node) {
	out, events, next := n.table.Poll(b.now)
	b.events(n, events)
	for _, o := range out {
		b.fifo = append(b.fifo, packet{from: n, out: o})
	}
	if !next.After(b.now) {
		b.t.Fatalf("Poll at %v asks to be called at %v", b.now.Sub(b.start), next.Sub(b.start))
	}
	n.next = next
	heap.Fix(&b.due, n.index)
}

func (b *bus) events(n *node, es []Event) {
	for _, e := range es {
		if b.on != nil {
			b.on(n, e)
		}
	}
}

func (b *bus) drain() {
	for len(b.fifo) > 0 {
		p := b.fifo[0]
		b.fifo = b.fifo[1:]
		p.parse(b.t)
		size := int64(wireOverhead + len(p.out.Body))
		b.bytes += size
		b.byType[p.out.Type] += size
		if b.onOut != nil {
			b.onOut(p.from, p.out)
		}
		if p.out.To.IsValid() {
			if n := b.byAddr[p.out.To]; n != nil && b.rnd.Float64() >= b.loss {
				b.deliver(n, &p)
			}
			continue
		}
		for _, n := range b.nodes {
			if n != p.from && (b.loss == 0 || b.rnd.Float64() >= b.loss) {
				b.deliver(n, &p)
			}
		}
	}
}

func (b *bus) deliver(n *node, p *packet) {
	pre := p.from.pre
	pre.Type = p.out.Type
	switch p.out.Type {
	case protocol.TypeBeacon:
		b.events(n, n.table.HandleBeacon(b.now, p.from.addr, pre, p.beacon))
	case protocol.TypeLeave:
		b.events(n, n.table.HandleLeave(b.now, p.from.addr, pre))
	case protocol.TypeAsk:
		n.table.HandleAsk(b.now, p.from.addr, pre)
	case protocol.TypeDetail:
		b.events(n, n.table.HandleDetail(b.now, pre, p.detail))
	}
	b.poll(n)
}

func (p *packet) parse(t *testing.T) {
	var err error
	switch p.out.Type {
	case protocol.TypeBeacon:
		p.beacon, err = protocol.ParseBeacon(p.out.Body)
	case protocol.TypeDetail:
		p.detail, err = protocol.ParseDetail(p.out.Body)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// run lets d pass.
func (b *bus) run(d time.Duration) {
	end := b.now.Add(d)
	for len(b.due) > 0 && !b.due[0].next.After(end) {
		b.now = b.due[0].next
		b.poll(b.due[0])
		b.drain()
	}
	b.now = end
}

func (b *bus) count(n *node, s State) int {
	c := 0
	for _, m := range n.table.Members() {
		if m.State == s {
			c++
		}
	}
	return c
}

func (b *bus) rate(d time.Duration) float64 {
	b.bytes, b.byType = 0, [16]int64{}
	b.run(d)
	return float64(b.bytes) / d.Seconds()
}

// newcomer starts one daemon and returns how long until the last of the
// others knew it and until it knew all of them.
func (b *bus) newcomer(name string, host int) (known, knows time.Duration, n *node) {
	others := len(b.nodes)
	start := b.now
	n = b.add(name, host, 5001, nil)
	told := 0
	b.on = func(at *node, e Event) {
		switch {
		case e.Kind != EventJoined:
		case at == n:
			if b.count(n, Alive) == others {
				knows = b.now.Sub(start)
			}
		case e.Member.Session == n.pre.Session:
			if told++; told == others {
				known = b.now.Sub(start)
			}
		}
	}
	for end := b.now.Add(time.Minute); b.now.Before(end) && (told < others || knows == 0); {
		b.run(100 * time.Millisecond)
	}
	b.on = nil
	if told != others || knows == 0 {
		b.t.Errorf("newcomer is known to %d of %d, knows %d", told, others, b.count(n, Alive))
	}
	return known, knows, n
}

func TestSmallClusters(t *testing.T) {
	for _, n := range []int{2, 8, 50} {
		for _, loss := range []float64{0, 0.01, 0.05} {
			t.Run(fmt.Sprintf("%d members, loss %v", n, loss), func(t *testing.T) {
				b := newBus(t, uint64(n), loss)
				for i := range n {
					b.add(fmt.Sprintf("web%d", i), i+1, 5001, nil)
					b.run(37 * time.Millisecond)
				}
				b.run(10 * time.Second)
				flaps := 0
				b.on = func(_ *node, e Event) {
					if e.Kind != EventDetail {
						flaps++
					}
				}
				b.run(2 * time.Minute)
				if flaps != 0 {
					t.Errorf("%d events in two minutes in which nothing happened", flaps)
				}
				known, knows, last := b.newcomer("new", 200)
				if known > 2*time.Second || knows > 3*time.Second {
					t.Errorf("newcomer known after %v, knows all after %v", known, knows)
				}
				b.run(5 * time.Second)
				b.checkDetails(last)
				b.checkKilled(b.nodes[0], 6*time.Second)
				b.checkLeft(last)
			})
		}
	}
}

func (b *bus) checkDetails(n *node) {
	b.t.Helper()
	for _, m := range n.table.Members() {
		if m.Detail == nil || m.Detail.Base != "/srv/www" {
			b.t.Errorf("%s has no details", m.Name)
		}
	}
}

// checkKilled kills n and checks that all others show it as missing within
// limit, and not before five of its beacons could have arrived.
func (b *bus) checkKilled(n *node, limit time.Duration) {
	b.t.Helper()
	start, told := b.now, 0
	b.kill(n)
	b.on = func(_ *node, e Event) {
		if e.Kind == EventDetail {
			return
		}
		if e.Kind != EventMissing || e.Member.Session != n.pre.Session {
			b.t.Errorf("event %v of %s", e.Kind, e.Member.Name)
		}
		told++
		if d := b.now.Sub(start); d > limit || b.now.Sub(e.Member.LastHeard) <= 5*e.Member.Interval {
			b.t.Errorf("missing %v after it was killed, %v after it was heard", d, b.now.Sub(e.Member.LastHeard))
		}
	}
	b.run(limit + time.Second)
	b.on = nil
	if told != len(b.nodes) {
		b.t.Errorf("missing at %d of %d", told, len(b.nodes))
	}
}

func (b *bus) checkLeft(n *node) {
	b.t.Helper()
	told := 0
	b.on = func(_ *node, e Event) {
		if e.Kind == EventLeft && e.Member.Session == n.pre.Session {
			told++
		}
	}
	b.leave(n)
	b.on = nil
	if told < len(b.nodes)*9/10 {
		b.t.Errorf("left at %d of %d", told, len(b.nodes))
	}
}

// With 30 % loss five beacons in a row fail once in 400; asking directly
// makes up for that.
func TestHeavyLoss(t *testing.T) {
	b := newBus(t, 7, 0.3)
	for i := range 8 {
		b.add(fmt.Sprintf("web%d", i), i+1, 5001, nil)
	}
	b.run(10 * time.Second)
	flaps := 0
	b.on = func(_ *node, e Event) {
		if e.Kind == EventMissing {
			flaps++
		}
	}
	b.run(10 * time.Minute)
	if flaps > 3 {
		t.Errorf("%d times missing in 56 views over ten minutes", flaps)
	}
}

// All start at the same moment, the hardest case.
func TestLargeClusters(t *testing.T) {
	for _, c := range []struct {
		n    int
		loss float64
	}{{400, 0}, {1000, 0.05}, {400, 0.3}} {
		n, loss := c.n, c.loss
		t.Run(fmt.Sprintf("%d members, loss %v", n, loss), func(t *testing.T) {
			if testing.Short() && n > 400 {
				t.Skip("-short: no cluster of 1,000")
			}
			b := newBus(t, 11, loss)
			for i := range n {
				b.add(fmt.Sprintf("server-%04d.example", i), i+1, 5001, nil)
			}
			t.Logf("first 10 s: %.0f B/s", b.rate(10*time.Second))
			for k := range 4 {
				r := b.rate(3 * time.Second)
				t.Logf("after %d s: %.0f B/s, beacons %d, details %d, asks %d", 13+3*k, r, b.byType[1]/3, b.byType[4]/3, b.byType[3]/3)
				if r > 50000 {
					t.Errorf("%.0f bytes a second", r)
				}
			}
			for _, m := range b.nodes {
				if c := b.count(m, Alive); c < n-1-int(loss*10) {
					t.Fatalf("%d known", c)
				}
			}
			known, knows, last := b.newcomer("new", 2000)
			t.Logf("newcomer known after %v, knows all after %v", known, knows)
			if late := known > 2*time.Second; late && loss < 0.1 {
				t.Errorf("newcomer known after %v", known)
			}
			if knows > 8*time.Second && loss < 0.1 {
				t.Errorf("newcomer knows all after %v", knows)
			}
			if m, _ := last.table.Lookup(b.nodes[0].pre.Session); loss == 0 {
				b.checkKilled(b.nodes[0], m.Interval*6)
			}
		})
	}
}
