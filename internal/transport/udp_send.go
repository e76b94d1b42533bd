package transport

import (
	"errors"
	"net"
	"net/netip"
	"time"
)

// A full queue below the socket is waited for this many times in a row before
// the rest of a train is given up: 0.1 + 0.2 + 0.4 + 0.8 + 1.6 ms.
const (
	maxRetries = 5
	firstRetry = 100 * time.Microsecond
)

// writer has the memory of one send.
type writer struct {
	runs   []run
	batch  *outBatch
	failed SendError // Failed and Err alone
}

func newWriter(u *UDP) *writer {
	return &writer{runs: make([]run, 0, maxBatch), batch: newOutBatch(u.raw, u.unicast)}
}

// Send implements Conn.
func (u *UDP) Send(t *Train) error {
	t.seal()
	dst := u.group
	if t.Dst.IsValid() {
		dst = netip.AddrPortFrom(t.Dst.Addr().Unmap(), t.Dst.Port())
	}
	if !dst.Addr().Is4() {
		return &SendError{Failed: t.Packets(), Err: errors.New(t.Dst.String() + " is not an IPv4 address")}
	}
	w := u.writers.Get().(*writer)
	defer u.writers.Put(w)
	w.batch.to(dst)
	var s Stats
	w.failed = SendError{}
	if err := u.write(w, t, &s, &w.failed); err != nil {
		return err
	}
	u.count(&s)
	if w.failed.Failed > 0 {
		return &SendError{Sent: int(s.SentPackets), Bytes: int(s.SentBytes), Failed: w.failed.Failed, Err: w.failed.Err}
	}
	return nil
}

// write sends a train.
//
//  1. The packets from the i-th on are cut into runs, and the runs are sent.
//  2. If the first run fails, maybe for being segmented, its packets and all
//     that follow are sent one by one. If one of them passes, segments were
//     indeed the reason, and none are sent any more. If none does, it was
//     another, such as an address that this host has no longer.
//  3. A packet that fails is left out; after a queue that stays full the rest
//     is, too.
func (u *UDP) write(w *writer, t *Train, s *Stats, res *SendError) error {
	segment := u.segments()
	var refused error
	tries := 0
	for i := 0; i < t.Packets(); {
		w.cut(t, i, segment)
		n, err := w.batch.send(w.runs)
		if n > 0 {
			for _, r := range w.runs[:n] {
				s.SentPackets += uint64(r.packets)
				s.SentBytes += uint64(len(r.data))
				i += r.packets
			}
			u.loop(t, w.runs[:n])
			if tries = 0; refused != nil {
				u.refused.CompareAndSwap(nil, &SegmentationError{Interface: u.info.Interface, Err: refused})
			}
			continue
		}
		skip := 1
		switch {
		case errors.Is(err, net.ErrClosed):
			return net.ErrClosed
		case w.runs[0].packets > 1 && mayRefuseSegments(err):
			refused, segment = err, 0
			continue
		case isQueueFull(err) && tries < maxRetries:
			nanosleep(firstRetry << tries)
			tries++
			s.Retries++
			continue
		case isQueueFull(err):
			skip = t.Packets() - i
		case err == nil:
			err = errors.New("nothing was sent")
		default:
			skip = w.runs[0].packets
		}
		if res.Err == nil {
			res.Err = err
		}
		res.Failed += skip
		i += skip
	}
	return nil
}

// segments returns how long a packet in a segmented send may be, 0 if there
// are no such sends.
func (u *UDP) segments() int {
	if !u.info.Segmentation || u.refused.Load() != nil {
		return 0
	}
	return u.segment
}

// cut cuts the train from packet i on into runs, at most as many as one system
// call takes.
func (w *writer) cut(t *Train, i, segment int) {
	w.runs = w.runs[:0]
	for i < t.Packets() && len(w.runs) < maxBatch {
		r := t.run(i, segment)
		w.runs = append(w.runs, r)
		i += r.packets
	}
}

// loop counts what comes back of runs that were sent to the group. A socket
// that takes coalesced datagrams gets a run in one piece.
func (u *UDP) loop(t *Train, runs []run) {
	if t.Dst.IsValid() && t.Dst != u.group {
		return
	}
	n := 0
	for _, r := range runs {
		if u.info.Coalescing {
			n++
		} else {
			n += r.packets
		}
	}
	u.looped.Add(uint32(n))
}

// Stats implements Conn. The kernel counts what the own-session filter dropped
// together with what a full buffer lost; the former is known, as each datagram
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
