package transport

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"makuo/protocol"
)

// Fate is what a Router decides about one packet on its way to one receiver.
type Fate struct {
	Drop    bool
	Corrupt bool          // one byte is changed
	Copies  int           // delivered besides the first
	Delay   time.Duration // a packet with less overtakes one with more
}

// Hop is one packet on its way to one receiver.
type Hop struct {
	From, To  netip.AddrPort
	Multicast bool
	Data      []byte // whole packet with its check; not to be kept or changed
}

// Router decides what becomes of a packet at one receiver. r is the network's
// seeded source of chance. It is never called twice at the same time.
type Router func(r *rand.Rand, h Hop) Fate

// MemoryConfig describes an in-memory network.
type MemoryConfig struct {
	Router Router         // nil: everything arrives at once
	Seed   uint64         // of what the Router draws from
	MTU    int            // of the network, with IP and UDP headers; larger packets do not pass; 0: 1500
	Group  netip.AddrPort // zero: 224.0.0.108:5000
}

// memoryInbox is how many packets wait at a receiver; more are lost, as they
// are in a socket's buffer.
const memoryInbox = 8192

// Memory is a network in this process, in real time, whose hosts are Conns. It
// is the UDP sockets' twin in tests.
//
// One lock covers the network: a send puts the packets into the receivers'
// inboxes, in order; a packet with a delay waits in a runtime timer.
type Memory struct {
	cfg MemoryConfig

	mu    sync.Mutex // guards all below
	rand  *rand.Rand
	hosts []*memoryHost // in the order of joining
	next  int           // number of the next host
}

// NewMemory returns a network without hosts.
func NewMemory(cfg MemoryConfig) *Memory {
	if cfg.MTU == 0 {
		cfg.MTU = protocol.DefaultPayload + headers
	}
	if !cfg.Group.IsValid() {
		cfg.Group = netip.AddrPortFrom(netip.AddrFrom4([4]byte{224, 0, 0, 108}), 5000)
	}
	return &Memory{cfg: cfg, rand: rand.New(rand.NewPCG(cfg.Seed, 0x6d616b756f))}
}

// Host joins a new host with an address of its own.
func (m *Memory) Host(cluster uint32, session protocol.Session) Conn {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.next++
	h := &memoryHost{
		gate: gate{cluster: cluster, session: session}, net: m,
		local: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(m.next >> 16), byte(m.next >> 8), byte(m.next)}), m.cfg.Group.Port()),
		pool:  newInbounds(m.cfg.MTU - headers),
		wake:  make(chan struct{}, 1), done: make(chan struct{}),
	}
	m.hosts = append(m.hosts, h)
	return h
}

// route carries one packet to its receivers. m.mu is held.
func (m *Memory) route(from *memoryHost, dst netip.AddrPort, raw []byte) {
	multicast := dst == m.cfg.Group
	for _, h := range m.hosts {
		if multicast && h == from || !multicast && h.local != dst {
			continue
		}
		var f Fate
		if m.cfg.Router != nil {
			f = m.cfg.Router(m.rand, Hop{From: from.local, To: h.local, Multicast: multicast, Data: raw})
		}
		if f.Drop {
			continue
		}
		p := memoryPacket{from: from.local, multicast: multicast, raw: append([]byte(nil), raw...)}
		if f.Corrupt && len(raw) > 0 {
			p.raw[m.rand.IntN(len(raw))] ^= byte(1 + m.rand.IntN(255))
		}
		for range 1 + f.Copies {
			if f.Delay > 0 {
				time.AfterFunc(f.Delay, func() { h.put(p) })
			} else {
				h.put(p)
			}
		}
	}
}

// memoryPacket is a packet in an inbox. Nobody writes to raw.
type memoryPacket struct {
	from      netip.AddrPort
	multicast bool
	raw       []byte
}

// memoryHost is a Conn.
type memoryHost struct {
	gate
	net   *Memory
	local netip.AddrPort
	pool  *sync.Pool
	wake  chan struct{} // capacity 1: the inbox is not empty
	done  chan struct{} // closed by Close

	inboxMu sync.Mutex // guards inbox; taken after Memory.mu
	inbox   []memoryPacket

	once sync.Once

	pump     sync.Once
	arrivals chan *Inbound
}

// put adds a packet to the inbox.
func (h *memoryHost) put(p memoryPacket) {
	h.inboxMu.Lock()
	full := len(h.inbox) >= memoryInbox
	if !full {
		h.inbox = append(h.inbox, p)
	}
	h.inboxMu.Unlock()
	if full {
		h.count(&Stats{Overflow: 1})
		return
	}
	signal(h.wake)
}

// take fills in with what is at the head of the inbox.
func (h *memoryHost) take(in *Inbound) {
	h.inboxMu.Lock()
	n := min(len(h.inbox), maxBatch)
	var packets [maxBatch]memoryPacket
	copy(packets[:], h.inbox[:n])
	h.inbox = h.inbox[n:]
	if len(h.inbox) > 0 {
		signal(h.wake)
	}
	h.inboxMu.Unlock()

	var s Stats
	now := time.Now()
	slot := len(in.slab) / maxBatch
	for i, p := range packets[:n] {
		room := in.slab[i*slot : (i+1)*slot]
		size := copy(room, p.raw)
		if pre, data, ok := h.judge(&s, room[:size], size < len(p.raw)); ok {
			in.Packets = append(in.Packets, Packet{From: p.from, Multicast: p.multicast, Prefix: pre, Data: data, At: now})
		}
	}
	h.count(&s)
}

// Recv implements Conn.
func (h *memoryHost) Recv() (*Inbound, error) {
	for {
		select {
		case <-h.done:
			return nil, net.ErrClosed
		default:
		}
		select {
		case <-h.done:
			return nil, net.ErrClosed
		case <-h.wake:
		}
		in := takeInbound(h.pool)
		h.take(in)
		if len(in.Packets) > 0 {
			return in, nil
		}
		in.Release()
	}
}

// Arrivals implements Conn. The first call starts a goroutine that ends with
// the connection.
func (h *memoryHost) Arrivals() <-chan *Inbound {
	h.pump.Do(func() {
		h.arrivals = make(chan *Inbound, 1)
		go func() {
			for in, err := h.Recv(); err == nil; in, err = h.Recv() {
				select {
				case h.arrivals <- in:
				case <-h.done:
					in.Release()
				}
			}
		}()
	})
	return h.arrivals
}

// Send implements Conn.
func (h *memoryHost) Send(t *Train) error {
	select {
	case <-h.done:
		return net.ErrClosed
	default:
	}
	t.seal()
	dst := t.Dst
	if !dst.IsValid() {
		dst = h.net.cfg.Group
	}
	var s Stats
	var res SendError
	h.net.mu.Lock()
	for i := range t.Packets() {
		p := t.Packet(i)
		if len(p) > h.Payload() {
			res.Failed++
			res.Err = errTooBig
			continue
		}
		h.net.route(h, dst, p)
		s.SentPackets++
		s.SentBytes += uint64(len(p))
	}
	h.net.mu.Unlock()
	h.count(&s)
	if res.Failed > 0 {
		res.Sent, res.Bytes = int(s.SentPackets), int(s.SentBytes)
		return &res
	}
	return nil
}

// Queued implements Conn.
func (h *memoryHost) Queued() int { return 0 }

// Local implements Conn.
func (h *memoryHost) Local() netip.AddrPort { return h.local }

// Group implements Conn.
func (h *memoryHost) Group() netip.AddrPort { return h.net.cfg.Group }

// Info implements Conn.
func (h *memoryHost) Info() Info {
	return Info{Interface: "memory", MTU: h.net.cfg.MTU, TTL: DefaultTTL}
}

// Stats implements Conn.
func (h *memoryHost) Stats() Stats { return h.snapshot() }

// Payload implements Conn.
func (h *memoryHost) Payload() int { return h.net.cfg.MTU - headers }

// Probe implements Conn.
func (h *memoryHost) Probe(ctx context.Context, addr netip.AddrPort) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	for _, other := range h.net.hosts {
		if other.local == addr {
			other.put(memoryPacket{from: h.local})
			return nil
		}
	}
	return fmt.Errorf("probe %s: %w", addr, ErrUnreachable)
}

// Close implements Conn. The host leaves the network.
func (h *memoryHost) Close() error {
	h.once.Do(func() {
		h.net.mu.Lock()
		for i, other := range h.net.hosts {
			if other == h {
				h.net.hosts = append(h.net.hosts[:i], h.net.hosts[i+1:]...)
				break
			}
		}
		h.net.mu.Unlock()
		close(h.done)
	})
	return nil
}

// Chaos returns a Router that loses, doubles, damages and delays packets by
// chance, each independently, with probabilities from 0 to 1. Delays are
// evenly spread from 0 to most, which reorders.
func Chaos(loss, duplicate, corrupt float64, most time.Duration) Router {
	return func(r *rand.Rand, _ Hop) Fate {
		f := Fate{Drop: r.Float64() < loss, Corrupt: r.Float64() < corrupt}
		if r.Float64() < duplicate {
			f.Copies = 1
		}
		if most > 0 {
			f.Delay = time.Duration(r.Int64N(int64(most) + 1))
		}
		return f
	}
}
