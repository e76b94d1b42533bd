package simnet

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"makuo/protocol"
)

// Overhead is the number of bytes that a packet takes on a link beside its
// data: the check, UDP, IPv4, and Ethernet's header, trailer, preamble and gap.
const Overhead = protocol.CheckLen + 8 + 20 + 38

// Config describes a network.
type Config struct {
	Seed  uint64
	Start time.Time      // what Now returns at first; zero: 2001-09-09 01:46:40 UTC
	Delay time.Duration  // from any host to any other, beside the links' own
	MTU   int            // with IP and UDP headers; larger packets are dropped; 0: no limit
	Group netip.AddrPort // zero: 224.0.0.108:5000
}

// Net is a simulated network.
type Net struct {
	cfg    Config
	rand   *rand.Rand
	now    int64     // nanoseconds since cfg.Start
	time   time.Time // cfg.Start + now
	events eventHeap
	hosts  []*Host
	byAddr map[netip.AddrPort]*Host
	filter func(from, to *Host, multicast bool, data []byte) bool

	packets []*packet
	free    []int32 // packets with no references
	calls   []func()
	idle    []int32 // unused slots of calls
	scratch []byte
}

// packet is on its way; its memory is used again when nobody refers to it.
type packet struct {
	data      []byte // without the check
	from      *Host
	to        *Host // nil: the group
	multicast bool
	refs      int32
}

// New returns a network without hosts.
func New(cfg Config) *Net {
	if cfg.Start.IsZero() {
		cfg.Start = time.Unix(1_000_000_000, 0).UTC()
	}
	if !cfg.Group.IsValid() {
		cfg.Group = netip.AddrPortFrom(netip.AddrFrom4([4]byte{224, 0, 0, 108}), 5000)
	}
	return &Net{cfg: cfg, rand: rand.New(rand.NewPCG(cfg.Seed, 0x73696d)), time: cfg.Start, byAddr: map[netip.AddrPort]*Host{}}
}

// Now returns the simulated time.
func (n *Net) Now() time.Time { return n.time }

// Group returns the multicast address; sending to the zero address means it.
func (n *Net) Group() netip.AddrPort { return n.cfg.Group }

// Rand returns the network's seeded source of chance. What draws from it takes
// part in the order of the run.
func (n *Net) Rand() *rand.Rand { return n.rand }

// Hosts returns all hosts in the order of AddHost, stopped ones too.
func (n *Net) Hosts() []*Host { return n.hosts }

// SetFilter sets what decides about each packet at each receiver before chance
// does: false drops it. nil lets all pass. data must not be kept or changed.
func (n *Net) SetFilter(f func(from, to *Host, multicast bool, data []byte) bool) { n.filter = f }

// At calls f at t, or now if that has passed. Calls for the same time are made
// in the order of asking.
func (n *Net) At(t time.Time, f func()) {
	var i int32
	if k := len(n.idle); k > 0 {
		i, n.idle = n.idle[k-1], n.idle[:k-1]
		n.calls[i] = f
	} else {
		i = int32(len(n.calls))
		n.calls = append(n.calls, f)
	}
	n.events.push(event{at: n.since(t), kind: evCall, ref: i})
}

// since returns t as an event's time, not before now.
func (n *Net) since(t time.Time) int64 { return max(n.now, int64(t.Sub(n.cfg.Start))) }

// Step makes the next event happen. It returns false if there is none.
func (n *Net) Step() bool {
	if len(n.events.events) == 0 {
		return false
	}
	e := n.events.pop()
	if e.at != n.now {
		n.advance(e.at)
	}
	switch e.kind {
	case evCall:
		f := n.calls[e.ref]
		n.calls[e.ref] = nil
		n.idle = append(n.idle, e.ref)
		f()
	case evTimer:
		n.hosts[e.ref].timerDue(e.at)
	case evSwitch:
		n.atSwitch(e.ref)
	case evHead:
		n.hosts[e.ref].headDue()
	case evLate:
		n.hosts[e.host].deliver(e.ref)
		n.unref(e.ref)
	}
	return true
}

func (n *Net) advance(at int64) {
	n.now = at
	n.time = n.cfg.Start.Add(time.Duration(at))
}

// Run makes all events up to and including until happen, and sets the time to
// until.
func (n *Net) Run(until time.Time) {
	n.RunUntil(until, func() bool { return false })
}

// RunFor is Run for a time from now on.
func (n *Net) RunFor(d time.Duration) { n.Run(n.time.Add(d)) }

// RunUntil makes events happen until done returns true, which is asked before
// each, and returns true; or until the limit is reached, or nothing is left
// to happen, when it sets the time to limit and returns done.
func (n *Net) RunUntil(limit time.Time, done func() bool) bool {
	end := n.since(limit)
	for len(n.events.events) > 0 && n.events.events[0].at <= end {
		if done() {
			return true
		}
		n.Step()
	}
	if done() {
		return true
	}
	n.advance(end)
	return false
}

// newPacket returns the index of a packet with one reference.
func (n *Net) newPacket(from, to *Host, data []byte) int32 {
	var id int32
	if k := len(n.free); k > 0 {
		id, n.free = n.free[k-1], n.free[:k-1]
	} else {
		id = int32(len(n.packets))
		n.packets = append(n.packets, &packet{})
	}
	p := n.packets[id]
	p.data = append(p.data[:0], data...)
	p.from, p.to, p.multicast, p.refs = from, to, to == nil, 1
	return id
}

func (n *Net) unref(id int32) {
	p := n.packets[id]
	if p.refs--; p.refs == 0 {
		n.free = append(n.free, id)
	}
}

// atSwitch copies a packet to its receivers and drops the sender's reference.
func (n *Net) atSwitch(id int32) {
	p := n.packets[id]
	if p.to != nil {
		p.to.arrive(id, p)
	} else {
		for _, h := range n.hosts {
			if h != p.from {
				h.arrive(id, p)
			}
		}
	}
	n.unref(id)
}
