package transfer

import (
	"bytes"
	"container/heap"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"makuo/protocol"
)

// sim is a network in simulated time: one sender, its link, a port with a
// drop-tail queue to each receiver, and a way back.
type sim struct {
	t   testing.TB
	cfg simConfig
	rng *rand.Rand
	now time.Time
	t0  time.Time
	ev  events
	n   int // events ever made

	s        *Sender
	recv     []*simMember
	linkFree time.Time
	stateSeq uint32
	offered  [][]byte // encodings by id, nil when all is consumed
	total    int      // blocks to offer
	heard    []time.Time
	wakeAt   time.Time
	every    func(now time.Time)
	drops    int // packets that a full queue before a port did not take
}

type simConfig struct {
	members   int
	blocks    int
	blockLen  func(i int, rng *rand.Rand) int
	room      int
	window    int
	rate      RateConfig
	link      float64 // bytes a second of the sender's own link, 0: none
	port      float64 // of each receiver's port, 0: none
	queue     int     // bytes before each port
	delay     time.Duration
	jitter    time.Duration // reorders when larger than a packet's time
	loss      float64
	lossOf    func(member int) float64
	burst     int                                   // packets lost in a row
	gap       func(r *simMember, at time.Time) bool // further packets lost
	duplicate float64
	back      float64       // loss of feedback
	consume   time.Duration // time the upper layer takes for a block
	cares     func(member int) func(protocol.BlockKind, uint32, uint32) bool
	fail      float64 // share of blocks that fail to verify the first time
	limit     time.Duration
	discard   bool // contents are not kept: measure only
	symbol    int  // bytes; 0: 1424
}

type simMember struct {
	r      *Receiver
	id     int
	dead   bool
	free   time.Time // of the port
	bad    int       // packets of a burst still to lose
	came   int       // packets
	got    map[uint32]int
	done   int // blocks consumed
	failed map[uint32]bool
	wake   time.Time
	peak   int
	fb     int
}

type event struct {
	at time.Time
	n  int
	do func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at.Before(e[j].at) || e[i].at.Equal(e[j].at) && e[i].n < e[j].n
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	x := old[len(old)-1]
	old[len(old)-1] = event{}
	*e = old[:len(old)-1]
	return x
}

// pop takes the earliest event.
func (e *events) pop() event { return heap.Pop(e).(event) }

func (m *sim) at(t time.Time, do func()) {
	m.n++
	heap.Push(&m.ev, event{at: t, n: m.n, do: do})
}

const simStream = 77

func newSim(t testing.TB, cfg simConfig, seed uint64) *sim {
	if cfg.limit == 0 {
		cfg.limit = 60 * time.Second
	}
	if cfg.delay == 0 {
		cfg.delay = 100 * time.Microsecond
	}
	if cfg.blockLen == nil {
		cfg.blockLen = func(int, *rand.Rand) int { return 128 << 10 }
	}
	if cfg.symbol == 0 {
		cfg.symbol = 1424
	}
	m := &sim{t: t, cfg: cfg, rng: rand.New(rand.NewPCG(seed, 9)), t0: time.Unix(1e9, 0), total: cfg.blocks}
	m.now = m.t0
	m.s = NewSender(SenderConfig{Stream: simStream, Members: cfg.members, SymbolSize: cfg.symbol, Window: cfg.window, Rate: cfg.rate,
		Release: func(b []byte) { clear(b[:min(len(b), 8)]) }}, m.now)
	for i := range cfg.members {
		rc := ReceiverConfig{Stream: simStream, Seed: seed ^ uint64(i)<<20, Room: cfg.room, Roster: cfg.members}
		if cfg.cares != nil {
			rc.Cares = cfg.cares(i)
		}
		m.recv = append(m.recv, &simMember{r: NewReceiver(rc, m.now), id: i, got: map[uint32]int{}, failed: map[uint32]bool{}})
	}
	return m
}

// content makes the bytes of block i: its length is a matter of the seed.
func (m *sim) content(i int) []byte {
	b := make([]byte, m.cfg.blockLen(i, m.rng))
	if m.cfg.discard {
		return b
	}
	for j := 0; j+8 <= len(b); j += 8 {
		binary.LittleEndian.PutUint64(b[j:], uint64(i)<<32|uint64(j))
	}
	for j := len(b) &^ 7; j < len(b); j++ {
		b[j] = byte(i + j)
	}
	return b
}

func (m *sim) offer() {
	for len(m.offered) < m.total {
		b := m.content(len(m.offered))
		if len(b) > m.s.Room() {
			return // it is made anew later, maybe of another length
		}
		kind := protocol.BlockData
		if len(m.offered) == 0 {
			kind = protocol.BlockHeader
		}
		id, err := m.s.Offer(m.now, Block{Kind: kind, First: uint32(len(m.offered)), Count: 1, Encoded: b})
		if err != nil || id != uint32(len(m.offered)) {
			m.t.Fatalf("offer: block %d, %v", id, err)
		}
		if m.cfg.discard {
			m.offered = append(m.offered, nil)
		} else {
			m.offered = append(m.offered, bytes.Clone(b))
		}
	}
}

func (m *sim) pump() {
	for {
		m.offer()
		if m.cfg.link > 0 && m.linkFree.After(m.now) {
			m.wake(m.linkFree) // the sender's socket is full
			return
		}
		d, ok := m.s.Next(m.now)
		if !ok {
			break
		}
		m.transmit(d)
	}
	if at := m.s.Poll(m.now); !at.IsZero() {
		m.wake(at)
	}
}

func (m *sim) wake(at time.Time) {
	if !m.wakeAt.After(m.now) || at.Before(m.wakeAt) {
		m.wakeAt = at
		m.at(at, func() {
			if m.wakeAt.Equal(m.now) {
				m.pump()
			}
		})
	}
}

func (m *sim) transmit(d protocol.Data) {
	size := len(d.Symbol) + packetOverhead
	at := m.now
	if m.cfg.link > 0 {
		m.linkFree = m.now.Add(time.Duration(float64(size) / m.cfg.link * 1e9))
		at = m.linkFree
	}
	if m.cfg.discard && m.cfg.port == 0 && m.cfg.jitter == 0 && m.cfg.duplicate == 0 {
		m.at(at.Add(m.cfg.delay), func() { // one event for all: much faster
			for _, r := range m.recv {
				if !m.lost(r) {
					m.deliver(r, &d)
				}
			}
		})
		return
	}
	for _, r := range m.recv {
		m.arrive(r, d, size, at)
	}
}

func (m *sim) lost(r *simMember) bool {
	r.came++
	if m.cfg.gap != nil && m.cfg.gap(r, m.now) {
		return true
	}
	p := m.cfg.loss
	if m.cfg.lossOf != nil {
		p = m.cfg.lossOf(r.id)
	}
	if r.bad > 0 {
		r.bad--
		return true
	}
	if p > 0 && m.rng.Float64() < p/float64(max(1, m.cfg.burst)) {
		r.bad = m.cfg.burst - 1
		return true
	}
	return false
}

func (m *sim) arrive(r *simMember, d protocol.Data, size int, at time.Time) {
	if r.dead || m.lost(r) {
		return
	}
	if m.cfg.port > 0 {
		if r.free.Before(at) {
			r.free = at
		}
		if m.cfg.queue > 0 && r.free.Sub(at).Seconds()*m.cfg.port > float64(m.cfg.queue) {
			m.drops++
			return
		}
		r.free = r.free.Add(time.Duration(float64(size) / m.cfg.port * 1e9))
		at = r.free
	}
	copies := 1
	if m.cfg.duplicate > 0 && m.rng.Float64() < m.cfg.duplicate {
		copies = 2
	}
	if !m.cfg.discard {
		d.Symbol = bytes.Clone(d.Symbol) // the sender's buffer may be released
	}
	for range copies {
		t := at.Add(m.cfg.delay)
		if m.cfg.jitter > 0 {
			t = t.Add(time.Duration(m.rng.Float64() * float64(m.cfg.jitter)))
		}
		m.at(t, func() { m.deliver(r, &d) })
	}
}

func (m *sim) deliver(r *simMember, d *protocol.Data) {
	if r.dead {
		return
	}
	if c, ok := r.r.HandleData(m.now, d); ok {
		m.at(m.now.Add(m.cfg.consume), func() { m.consume(r, c) })
	}
	r.peak = max(r.peak, r.r.Held())
	m.pollMember(r)
}

func (m *sim) consume(r *simMember, c Complete) {
	if m.cfg.fail > 0 && !r.failed[c.ID] && m.rng.Float64() < m.cfg.fail {
		r.failed[c.ID] = true
		r.r.Failed(c.ID)
		m.pollMember(r)
		return
	}
	if !m.cfg.discard && !bytes.Equal(c.Encoded, m.offered[c.ID]) {
		m.t.Fatalf("member %d: block %d is not what was offered", r.id, c.ID)
	}
	if c.First != c.ID || c.Count != 1 {
		m.t.Fatalf("member %d: block %d is of entries %d+%d", r.id, c.ID, c.First, c.Count)
	}
	r.got[c.ID]++
	r.done++
	r.r.Consumed(c.ID)
	r.r.Recycle(c.Encoded)
	m.pollMember(r)
}

func (m *sim) pollMember(r *simMember) {
	for {
		fb, next := r.r.Poll(m.now)
		if fb != nil {
			m.feedback(r, fb)
		}
		if next.IsZero() {
			return
		}
		if next.After(m.now) {
			if !r.wake.After(m.now) || next.Before(r.wake) {
				r.wake = next
				m.at(next, func() {
					if r.wake.Equal(m.now) && !r.dead {
						m.pollMember(r)
					}
				})
			}
			return
		}
	}
}

// feedback goes through the real encoding, which also checks its limits.
func (m *sim) feedback(r *simMember, fb *protocol.Feedback) {
	b := fb.Append(nil)
	if len(b)+protocol.PrefixLen+protocol.CheckLen > protocol.DefaultPayload {
		m.t.Fatalf("feedback of %d bytes", len(b))
	}
	r.fb++
	if m.rng.Float64() < m.cfg.back {
		return
	}
	m.at(m.now.Add(m.cfg.delay+time.Duration(m.rng.Float64()*float64(m.cfg.jitter))), func() {
		p, err := protocol.ParseFeedback(b)
		if err != nil {
			m.t.Fatalf("feedback: %v", err)
		}
		m.heard = append(m.heard, m.now)
		m.s.HandleFeedback(m.now, r.id, &p)
		m.pump()
	})
}

func (m *sim) state() {
	m.stateSeq++
	st := protocol.State{Stream: simStream, Seq: m.stateSeq, Time: m.s.Clock(m.now), RTT: m.s.RTT(), Packets: m.s.Packets(), Blocks: m.s.Blocks()}
	m.s.ChargeControl(m.now, 80)
	for _, r := range m.recv {
		if r.dead || m.lost(r) {
			continue
		}
		at := m.now
		if r.free.After(at) {
			at = r.free
		}
		m.at(at.Add(m.cfg.delay), func() {
			if !r.dead {
				r.r.HandleState(m.now, &st)
				m.pollMember(r)
			}
		})
	}
	m.at(m.now.Add(25*time.Millisecond), m.state)
	if m.every != nil {
		m.every(m.now)
	}
}

// run ends when all blocks are offered and consumed, or at the limit.
func (m *sim) run() {
	m.state()
	m.pump()
	for !(len(m.offered) == m.total && m.s.AllConsumed()) && m.ev.Len() > 0 {
		e := m.ev.pop()
		if m.now = e.at; m.now.Sub(m.t0) > m.cfg.limit {
			m.t.Fatalf("not done after %v: %s", m.cfg.limit, m.where())
		}
		e.do()
	}
}

// until runs the events up to a time.
func (m *sim) until(end time.Time) {
	for m.ev.Len() > 0 && m.ev[0].at.Before(end) {
		e := m.ev.pop()
		m.now = e.at
		e.do()
	}
	m.now = end
}

func (m *sim) where() string {
	s := fmt.Sprintf("offered %d of %d, base %d, sent %d, idle %v, rate %d, room %d, %+v", len(m.offered), m.total, m.s.base, m.s.Blocks(), m.s.Idle(), m.s.Rate(), m.s.Room(), m.s.Stats())
	for _, r := range m.recv[:min(len(m.recv), 4)] {
		s += fmt.Sprintf("\n  member %d: consumed %d held %d %+v", r.id, r.r.ConsumedMark(), r.r.Held(), r.r.Stats())
	}
	return s
}

// check verifies that each living member got each block exactly once and held
// no more than it may.
func (m *sim) check() {
	m.t.Helper()
	for _, r := range m.recv {
		if r.dead {
			continue
		}
		if len(r.got) != m.total || r.done != m.total || !r.r.Complete(uint32(m.total)) {
			m.t.Fatalf("member %d got %d blocks in %d deliveries, wanted %d", r.id, len(r.got), r.done, m.total)
		}
		if m.cfg.room > 0 && r.peak > m.cfg.room+protocol.MaxBlock {
			m.t.Errorf("member %d held %d bytes with room for %d", r.id, r.peak, m.cfg.room)
		}
		if r.r.Held() != 0 {
			m.t.Errorf("member %d still holds %d bytes", r.id, r.r.Held())
		}
	}
}
