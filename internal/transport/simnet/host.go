package simnet

import (
	"net/netip"
	"time"

	"makuo/protocol"
)

// Handler takes a packet: prefix and body, as they were sent. data is shared
// by all receivers and valid during the call only; it must not be changed.
type Handler func(now time.Time, from netip.AddrPort, multicast bool, data []byte)

// Link describes how a host is connected. Zero values are no limit, no delay
// and no fault. Probabilities are from 0 to 1, of each packet that arrives at
// the host, independent of each other.
type Link struct {
	Up, Down           float64       // bytes a second
	UpQueue, DownQueue int           // bytes that may wait; a packet that finds more is dropped
	Delay              time.Duration // of what arrives, beside Config.Delay
	Loss               float64
	Duplicate          float64
	Corrupt            float64 // a byte is changed; the check finds it and the packet is dropped
	Reorder            float64 // arrives ReorderBy later, others overtake it
	ReorderBy          time.Duration
}

// Stats counts what happened at a host.
type Stats struct {
	Sent, SentBytes           uint64 // packets that entered the uplink; bytes with Overhead
	UpDropped                 uint64 // the uplink's queue was full
	TooBig                    uint64 // larger than the MTU
	Delivered, DeliveredBytes uint64 // handed to the handler; bytes without Overhead
	Lost                      uint64 // by chance
	Filtered                  uint64 // by the filter
	Overflow                  uint64 // the downlink's queue was full
	Corrupt                   uint64 // dropped by the check
	Cut                       uint64 // the sender is on another side, or this host is stopped
	Duplicated, Reordered     uint64
}

// Host is one host of a network.
type Host struct {
	net     *Net
	index   int32
	addr    netip.AddrPort
	link    Link
	faulty  bool // chance has a say
	side    int
	handler Handler // nil: stopped
	onTimer func(now time.Time)
	stats   Stats

	upFree   int64 // when the uplink has sent all it has
	downFree int64 // when the downlink has
	down     fifo  // packets in the downlink, by time

	timer   int64 // when onTimer is to be called; never if not armed
	pending int64 // time of the timer event that counts; never if there is none
}

const never = 1<<63 - 1

// AddHost adds a host that runs, with an address of its own.
func (n *Net) AddHost(link Link, h Handler) *Host {
	i := len(n.hosts)
	k := i + 1
	host := &Host{net: n, index: int32(i), handler: h, timer: never, pending: never,
		addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(k >> 16), byte(k >> 8), byte(k)}), n.cfg.Group.Port())}
	host.SetLink(link)
	n.hosts = append(n.hosts, host)
	n.byAddr[host.addr] = host
	return host
}

// Addr returns the host's unicast address.
func (h *Host) Addr() netip.AddrPort { return h.addr }

// Stats returns the host's counters.
func (h *Host) Stats() Stats { return h.stats }

// SetLink changes the link for packets sent, and arriving at the switch, from
// now on.
func (h *Host) SetLink(l Link) {
	h.link = l
	h.faulty = l.Loss > 0 || l.Duplicate > 0 || l.Corrupt > 0 || l.Reorder > 0
}

// SetSide puts the host on a side of a partition: packets pass between hosts
// of the same side. All are on side 0 at first. What is on its way is judged
// when it reaches the switch.
func (h *Host) SetSide(side int) { h.side = side }

// Stop makes the host vanish as a killed process does: nothing is delivered,
// its timer is off. What it has sent stays on its way.
func (h *Host) Stop() { h.handler, h.timer = nil, never }

// Start makes a stopped host run again.
func (h *Host) Start(handler Handler) { h.handler = handler }

// Running reports whether the host is not stopped.
func (h *Host) Running() bool { return h.handler != nil }

// OnTimer sets what is called when the timer set by SetTimer is due.
func (h *Host) OnTimer(f func(now time.Time)) { h.onTimer = f }

// SetTimer sets the host's only timer to t, replacing what was set before; the
// zero time turns it off. It is off while its function is called.
func (h *Host) SetTimer(t time.Time) {
	if t.IsZero() {
		h.timer = never
		return
	}
	h.timer = h.net.since(t)
	// A later time than the pending event's is looked at when that is due: a
	// timer that is put off again and again leaves no heap of dead events.
	if h.timer < h.pending {
		h.pending = h.timer
		h.net.events.push(event{at: h.timer, kind: evTimer, ref: h.index})
	}
}

// timerDue handles a timer event.
func (h *Host) timerDue(at int64) {
	if at != h.pending {
		return // replaced by an earlier one
	}
	h.pending = never
	switch {
	case h.timer == never:
	case h.timer > at:
		h.pending = h.timer
		h.net.events.push(event{at: h.timer, kind: evTimer, ref: h.index})
	default:
		h.timer = never
		if h.onTimer != nil && h.handler != nil {
			h.onTimer(h.net.time)
		}
	}
}

// Backlog returns how long the uplink needs for what it has.
func (h *Host) Backlog() time.Duration { return time.Duration(max(0, h.upFree-h.net.now)) }

// Send sends a packet, prefix and body without check, to dst, or to the group
// if dst is zero. The bytes are copied. It returns false if the packet was
// dropped here, because the uplink's queue was full or it is too big.
func (h *Host) Send(dst netip.AddrPort, data []byte) bool {
	n := h.net
	if n.cfg.MTU > 0 && len(data)+protocol.CheckLen+28 > n.cfg.MTU {
		h.stats.TooBig++
		return false
	}
	leave := n.now
	size := len(data) + Overhead
	if h.link.Up > 0 {
		leave = max(leave, h.upFree)
		if h.link.UpQueue > 0 && bytesIn(leave-n.now, h.link.Up) > float64(h.link.UpQueue) {
			h.stats.UpDropped++
			return false
		}
		leave += timeFor(size, h.link.Up)
		h.upFree = leave
	}
	h.stats.Sent++
	h.stats.SentBytes += uint64(size)
	var to *Host
	if dst.IsValid() && dst != n.cfg.Group {
		if to = n.byAddr[dst]; to == nil {
			return true // nobody has this address; a sender cannot tell
		}
		if to == h {
			return true // a member does not hear itself
		}
	}
	n.events.push(event{at: leave + int64(n.cfg.Delay), kind: evSwitch, ref: n.newPacket(h, to, data)})
	return true
}

func timeFor(bytes int, rate float64) int64     { return int64(float64(bytes) / rate * 1e9) }
func bytesIn(nanos int64, rate float64) float64 { return float64(nanos) * rate / 1e9 }

// arrive takes a packet from the switch into the downlink.
func (h *Host) arrive(id int32, p *packet) {
	if h.handler == nil || h.side != p.from.side {
		h.stats.Cut++
		return
	}
	n := h.net
	if n.filter != nil && !n.filter(p.from, h, p.multicast, p.data) {
		h.stats.Filtered++
		return
	}
	if !h.faulty {
		h.queue(id, p)
		return
	}
	l := &h.link
	if l.Loss > 0 && n.rand.Float64() < l.Loss {
		h.stats.Lost++
		return
	}
	if l.Corrupt > 0 && n.rand.Float64() < l.Corrupt && !n.survives(p.data) {
		h.stats.Corrupt++
		return
	}
	if l.Reorder > 0 && n.rand.Float64() < l.Reorder {
		h.stats.Reordered++
		h.late(id, p, int64(l.ReorderBy))
	} else {
		h.queue(id, p)
	}
	if l.Duplicate > 0 && n.rand.Float64() < l.Duplicate {
		h.stats.Duplicated++
		h.queue(id, p)
	}
}

// survives damages one byte of the packet as it is on the wire and reports
// whether the check lets it pass, which it must not.
func (n *Net) survives(data []byte) bool {
	n.scratch = protocol.AppendCheck(append(n.scratch[:0], data...))
	n.scratch[n.rand.IntN(len(n.scratch))] ^= byte(1 + n.rand.IntN(255))
	_, err := protocol.OpenCheck(n.scratch)
	return err == nil
}

// queue puts a packet into the downlink, or delivers it if that takes no time.
func (h *Host) queue(id int32, p *packet) {
	n := h.net
	if h.link.Down == 0 && h.link.Delay == 0 && h.down.n == 0 {
		h.deliver(id)
		return
	}
	at, ok := h.through(p)
	if !ok {
		return
	}
	p.refs++
	h.down.push(due{at: at, pkt: id})
	if h.down.n == 1 {
		n.events.push(event{at: at, kind: evHead, ref: h.index})
	}
}

// late sends a packet through the downlink and holds it back after that.
func (h *Host) late(id int32, p *packet, by int64) {
	if at, ok := h.through(p); ok {
		p.refs++
		h.net.events.push(event{at: at + by, kind: evLate, ref: id, host: h.index})
	}
}

// through returns when a packet that is at the switch now is at the host; false
// if the downlink's queue is full.
func (h *Host) through(p *packet) (at int64, ok bool) {
	now := h.net.now
	start := max(now, h.downFree)
	if h.link.Down > 0 {
		if h.link.DownQueue > 0 && bytesIn(start-now, h.link.Down) > float64(h.link.DownQueue) {
			h.stats.Overflow++
			return 0, false
		}
		start += timeFor(len(p.data)+Overhead, h.link.Down)
		h.downFree = start
	}
	return start + int64(h.link.Delay), true
}

// headDue delivers what is due at the head of the downlink's queue. A packet is
// not delivered before those ahead of it, even if the link has become shorter
// since they entered it.
func (h *Host) headDue() {
	for h.down.n > 0 && h.down.first().at <= h.net.now {
		d := h.down.pop()
		h.deliver(d.pkt)
		h.net.unref(d.pkt)
	}
	if h.down.n > 0 {
		h.net.events.push(event{at: h.down.first().at, kind: evHead, ref: h.index})
	}
}

// deliver hands a packet to the handler.
func (h *Host) deliver(id int32) {
	if h.handler == nil {
		h.stats.Cut++
		return
	}
	p := h.net.packets[id]
	h.stats.Delivered++
	h.stats.DeliveredBytes += uint64(len(p.data))
	h.handler(h.net.time, p.from.addr, p.multicast, p.data)
}
