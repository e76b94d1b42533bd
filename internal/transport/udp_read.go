package transport

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"time"
)

// Receiving where the kernel coalesces packets: a datagram may have up to 64
// KiB, in which packets of one size lie back to back, and nothing tells in
// advance. A datagram therefore goes to two places:
//
//	slab of the Inbound   | slot 0 | slot 1 | slot 2 | ...
//	spill of a message    | head   | rest ...             |
//
// Its first slot bytes go to a slot, what is more to the spill behind the head.
// A packet that came alone is in its slot, with no memory lost. If the packets
// are as long as a slot, as full ones mostly are, the first is in the slot and
// the others are in the rest. Otherwise the slot is copied to the head, and all
// are in the spill. The Inbound keeps the spills that were used until its
// Release.
//
// Memory: readSlab bytes for each of maxInbounds, 6 MiB, which last 40 ms at 1
// Gbit/s where the owner gets no processor and packets come one by one, and
// spillSize for each of maxSpills, 4 MiB, of which the two readers hold half for
// what comes next: 32 trains, until more waits in the socket's buffer. Memory is
// touched, and thus real, only as far as it is used.
const (
	readSlab    = 96 << 10 // 64 slots of an ordinary MTU
	maxInbounds = 64
	spillSize   = 64 << 10
	maxSpills   = 4 * maxCoalesced

	// maxCoalesced is the largest number of datagrams of one system call
	// where each may be coalesced.
	maxCoalesced = 16

	// enoughPackets is how many packets an Inbound gets before it is passed on
	// though there may be more to read.
	enoughPackets = 256
)

// spill is memory for a datagram that is longer than a slot.
type spill [spillSize]byte

// newReserves returns what the readers of u put packets into.
func (u *UDP) newReserves() (*reserve[*Inbound], *reserve[*spill]) {
	spills := newReserve(maxSpills, func() *spill { return new(spill) })
	var pool *reserve[*Inbound]
	back := func(in *Inbound) {
		for i, sp := range in.spills {
			spills.put(sp)
			in.spills[i] = nil
		}
		in.spills = in.spills[:0]
		pool.put(in)
	}
	slots := min(maxBatch, readSlab/u.slot)
	pool = newReserve(maxInbounds, func() *Inbound {
		return &Inbound{Packets: make([]Packet, 0, maxBatch), slab: make([]byte, slots*u.slot), back: back}
	})
	return pool, spills
}

// reader reads one socket in a goroutine of its own.
type reader struct {
	u         *UDP
	b         *batch
	multicast bool
	spills    []*spill // for the next datagrams, from the first; empty if none is coalesced
	room      int      // datagrams of one system call
}

func newReader(u *UDP, c syscall.Conn, multicast bool, w *waiter) (*reader, error) {
	b, err := newBatch(c, u.slot, u.info.Coalescing, w)
	r := &reader{u: u, b: b, multicast: multicast, room: maxBatch}
	if u.info.Coalescing {
		r.spills, r.room = make([]*spill, 0, maxCoalesced), maxCoalesced
	}
	return r, err
}

// The group's reader leaves the socket alone for a nap after it has read more
// than one packet: what arrives meanwhile costs no wake-up, here and at a sender
// on the same host. After many packets the nap is a long one; none is longer
// than an eighth of the socket's buffer lasts at the rate of arrival.
const (
	shortNap   = 500 * time.Microsecond
	longNap    = 2 * time.Millisecond
	leastNap   = 50 * time.Microsecond
	manyForNap = 4 // packets
)

// nap returns how long to leave the socket alone after the given packets and
// bytes have arrived within the time since the last nap.
func nap(packets, size, buffer int, since time.Duration) time.Duration {
	if packets <= 1 {
		return 0
	}
	n := shortNap
	if packets >= manyForNap {
		n = longNap
	}
	if lasts := time.Duration(float64(buffer/8) / float64(max(size, 1)) * float64(since)); lasts < n {
		n = lasts
	}
	if n < leastNap {
		return 0
	}
	return n
}

// run ends when the socket is closed. The goroutine of the group's socket ends
// locked to its thread, whose timer it has changed.
func (r *reader) run() {
	u := r.u
	if r.multicast {
		runtime.LockOSThread()
		preciseThread()
	}
	defer u.wg.Done()
	packets, size, woke := 0, 0, time.Now() // since the last nap
	for {
		in, ok := u.pool.take(u.done)
		if !ok {
			return
		}
		in.live.Store(true)
		var s Stats
		empty, err := r.fill(in, &s)
		u.count(&s)
		packets += len(in.Packets)
		for i := range in.Packets {
			size += len(in.Packets[i].Data)
		}
		switch {
		case len(in.Packets) > 0:
			select {
			case u.in <- in:
			case <-u.done:
				in.Release()
				return
			}
		default:
			in.Release()
		}
		if err == nil {
			if r.multicast && empty {
				now := time.Now()
				if n := nap(packets, size, u.info.RecvGot, now.Sub(woke)); n > 0 {
					nanosleep(n)
					now = now.Add(n)
				}
				packets, size, woke = 0, 0, now
			}
			continue
		}
		if errors.Is(err, net.ErrClosed) || !u.pause() {
			return
		}
		u.count(&Stats{ReadErrors: 1})
	}
}

// fill waits for datagrams and puts them and those behind them into in, as many
// as have room. It reports whether that were all.
func (r *reader) fill(in *Inbound, s *Stats) (empty bool, err error) {
	u := r.u
	slots := len(in.slab) / u.slot
	for used := 0; used < slots && len(in.Packets) < enoughPackets; {
		want := min(r.room, slots-used)
		if u.info.Coalescing {
			// All memory may be in use. Waiting for some is right only while
			// nothing is kept back from the owner, who is to release it.
			if want = r.prepare(want, used == 0); want == 0 {
				if used == 0 {
					return false, net.ErrClosed
				}
				return false, nil
			}
		}
		slab := in.slab[used*u.slot:]
		n, now, err := r.b.read(slab, r.spills, want, used == 0)
		if err != nil {
			return false, err
		}
		r.deliver(in, s, slab, n, now)
		used += n
		if n < want {
			return true, nil
		}
	}
	return false, nil
}

// prepare sees to spills for the next want datagrams and returns for how many
// there are. If it may wait, that is at least one unless the connection is
// closed.
func (r *reader) prepare(want int, wait bool) int {
	for len(r.spills) < want {
		sp, ok := r.u.spills.try()
		if !ok && wait && len(r.spills) == 0 {
			sp, ok = r.u.spills.take(r.u.done)
		}
		if !ok {
			break
		}
		r.spills = append(r.spills, sp)
	}
	return min(want, len(r.spills))
}

// deliver adds the packets of the n datagrams of a read to in.
func (r *reader) deliver(in *Inbound, s *Stats, slab []byte, n int, now time.Time) {
	slot := r.u.slot
	kept := 0 // spills that are still free
	for i := range n {
		d := r.b.datagram(i)
		first := slab[i*slot:][:min(d.size, slot)]
		if d.segment == 0 || d.size <= slot {
			r.split(in, s, first, d, now)
			if i < len(r.spills) {
				r.spills[kept] = r.spills[i]
				kept++
			}
			continue
		}
		sp := r.spills[i]
		in.spills = append(in.spills, sp)
		if d.segment == slot {
			r.split(in, s, first, d, now)
			r.split(in, s, sp[slot:d.size], d, now)
		} else {
			copy(sp[:slot], first)
			r.split(in, s, sp[:d.size], d, now)
		}
	}
	if n < len(r.spills) {
		kept += copy(r.spills[kept:], r.spills[n:])
	}
	r.spills = r.spills[:min(kept, len(r.spills))]
}

// datagram tells about one that was read.
type datagram struct {
	size    int // bytes; more than were stored if it was cut off
	segment int // bytes of every packet in it but the last; 0: it is one packet
	from    netip.AddrPort
	cut     bool // it was longer than its memory
}

// split judges the packets in b, which is d or a part of it, and adds the good
// ones to in.
func (r *reader) split(in *Inbound, s *Stats, b []byte, d datagram, now time.Time) {
	segment, cut := d.segment, d.cut
	if segment == 0 {
		segment, cut = max(len(b), 1), cut || d.size > len(b)
	}
	for first := true; first || len(b) > 0; first = false {
		raw := b[:min(segment, len(b))]
		b = b[len(raw):]
		p, data, ok := r.u.judge(s, raw, cut || len(raw) > r.u.slot)
		if ok {
			in.Packets = append(in.Packets, Packet{From: d.from, Multicast: r.multicast, Prefix: p, Data: data, At: now})
		}
	}
}

// pause keeps a socket that fails at once from taking the processor. It
// returns false if the connection is closed.
func (u *UDP) pause() bool {
	t := time.NewTimer(10 * time.Millisecond)
	defer t.Stop()
	select {
	case <-u.done:
		return false
	case <-t.C:
		return true
	}
}
