package transport

import (
	"errors"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/ipv4"
)

// A full queue below the socket is waited for this many times in a row before
// the rest of a train is given up: 0.1 + 0.2 + 0.4 + 0.8 + 1.6 ms.
const (
	maxRetries = 5
	firstRetry = 100 * time.Microsecond
)

// writer has the memory of one send.
type writer struct {
	msgs []ipv4.Message
	bufs [MaxTrainPackets][1][]byte
	addr net.UDPAddr
	ip   [4]byte
}

func newWriter() *writer {
	w := &writer{msgs: make([]ipv4.Message, MaxTrainPackets)}
	for i := range w.msgs {
		w.msgs[i].Buffers = w.bufs[i][:]
	}
	return w
}

// dst returns the address in the form that the ipv4 package takes, in w's
// memory.
func (w *writer) dst(a netip.AddrPort) *net.UDPAddr {
	w.ip = a.Addr().Unmap().As4()
	w.addr = net.UDPAddr{IP: w.ip[:], Port: int(a.Port())}
	return &w.addr
}

// Send implements Conn.
func (u *UDP) Send(t *Train) error {
	t.seal()
	w := u.writers.Get().(*writer)
	defer u.writers.Put(w)
	addr := u.groupAddr
	if t.Dst.IsValid() && t.Dst != u.group {
		if !t.Dst.Addr().Unmap().Is4() {
			return &SendError{Failed: t.Packets(), Err: errors.New(t.Dst.String() + " is not an IPv4 address")}
		}
		addr = w.dst(t.Dst)
	}
	var s Stats
	var res SendError
	for first := 0; first < t.Packets(); first += MaxTrainPackets {
		msgs := w.msgs[:min(MaxTrainPackets, t.Packets()-first)]
		for i := range msgs {
			w.bufs[i][0] = t.Packet(first + i)
			msgs[i].Addr = addr
		}
		if err := u.write(msgs, &s, &res); err != nil {
			return err
		}
	}
	if addr == u.groupAddr {
		u.looped.Add(uint32(s.SentPackets))
	}
	u.count(&s)
	if res.Failed > 0 {
		res.Sent, res.Bytes = int(s.SentPackets), int(s.SentBytes)
		return &res
	}
	return nil
}

// write sends messages. A packet that fails is left out; after a queue that
// stays full the rest is, too.
func (u *UDP) write(msgs []ipv4.Message, s *Stats, res *SendError) error {
	tries := 0
	for len(msgs) > 0 {
		n, err := u.out.WriteBatch(msgs, 0)
		if n > 0 {
			for i := range n {
				s.SentBytes += uint64(len(msgs[i].Buffers[0]))
			}
			s.SentPackets += uint64(n)
			msgs, tries = msgs[n:], 0
			continue
		}
		skip := 1
		switch {
		case errors.Is(err, net.ErrClosed):
			return net.ErrClosed
		case isQueueFull(err) && tries < maxRetries:
			nanosleep(firstRetry << tries)
			tries++
			s.Retries++
			continue
		case isQueueFull(err):
			skip = len(msgs)
		case err == nil:
			err = errors.New("nothing was sent")
		}
		if res.Err == nil {
			res.Err = err
		}
		res.Failed += skip
		msgs = msgs[skip:]
	}
	return nil
}

// Stats implements Conn. The kernel counts what the own-session filter dropped
// together with what a full buffer lost; the former is known, as each packet
// sent to the group comes back once. Overflow is therefore off by the few
// packets that are on their way at the moment.
func (u *UDP) Stats() Stats {
	s := u.snapshot()
	own := uint32(0)
	if u.filtered {
		own = u.looped.Load()
	}
	if lost := int32(dropped(u.multicast) - own); lost > 0 {
		s.Overflow += uint64(lost)
	}
	s.Overflow += uint64(dropped(u.unicast))
	return s
}
