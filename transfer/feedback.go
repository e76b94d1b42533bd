package transfer

import (
	"time"

	"makuo/protocol"
)

// HandleFeedback takes what a roster member said. Values that cannot be are
// ignored and counted; they never harm the other members.
func (s *Sender) HandleFeedback(now time.Time, member int, fb *protocol.Feedback) {
	if member < 0 || member >= len(s.window.members) || fb.Stream != s.cfg.Stream {
		s.stats.Absurd++
		return
	}
	// Until its last symbol is sent, a block may be consumed by a member that
	// it does not concern; none after it can.
	known := s.cur
	if s.curSym > 0 {
		known++
	}
	if fb.Consumed > known {
		s.stats.Absurd++
		return
	}
	s.stats.Feedback++
	s.parity.written()
	if fb.Flags&protocol.FlagFull != 0 {
		s.stats.Full++
	}
	highest := fb.Highest
	if before(s.seq, highest) {
		s.stats.Absurd++
		highest = s.seq
	}
	m := &s.window.members[member]
	s.rate.members[member].turn = 0
	if rtt, ok := s.sample(now, fb); ok && m.in {
		s.rtt.add(now, rtt)
		s.rate.turn(member, rtt)
	}
	s.progress(m, fb)
	if !m.in {
		return
	}
	s.losses.report(member, fb, highest)
	s.repair(now, member, fb, highest)
	if highest == fb.Highest && s.rate.report(now, member, fb, s.seq, s.rtt.value()) {
		s.pacer.SetRate(s.rate.bytesPerSecond())
	}
}

// progress moves the member's mark and its share of the window. Both only
// rise, whatever order messages arrive in.
func (s *Sender) progress(m *memberWindow, fb *protocol.Feedback) {
	if fb.Consumed >= s.base {
		s.window.raise(m, s.offset(fb.Consumed)+uint64(fb.Room))
	}
	if fb.Consumed > m.consumed {
		s.window.advance(m, fb.Consumed)
		s.retire()
	}
}

// retire lets the blocks die that every member in the stream has consumed.
func (s *Sender) retire() {
	low := s.window.low(s.next)
	for s.base < low {
		slot := &s.ring[s.base%MaxAhead]
		sb := *slot
		*slot = nil
		s.repairs.remove(s.base)
		s.parity.drop(sb)
		if s.cfg.Release != nil {
			s.cfg.Release(sb.Encoded)
		}
		sb.Encoded = nil
		if len(s.free) < 256 {
			s.free = append(s.free, sb)
		}
		s.base++
	}
	if s.cur < s.base {
		s.cur, s.curSym = s.base, 0
	}
}

// sample returns the round trip that fb measures. Held was measured by the
// member and is believed only if it leaves a positive rest.
func (s *Sender) sample(now time.Time, fb *protocol.Feedback) (time.Duration, bool) {
	clock := s.Clock(now)
	if fb.Echo == 0 || fb.Echo > clock {
		return 0, false
	}
	rtt := time.Duration(min(clock-fb.Echo, uint64(maxRTT/time.Microsecond)))*time.Microsecond - fb.Held
	return rtt, rtt >= 0 && rtt < maxRTT
}

// Drop takes a member out of the stream: it holds nothing back any more and
// its NAKs are not served.
func (s *Sender) Drop(member int) {
	if member < 0 || member >= len(s.window.members) || !s.window.members[member].in {
		return
	}
	s.parity.written()
	s.losses.forget(member)
	s.window.members[member].in = false
	s.window.count--
	s.window.dirty()
	s.rate.setMembers(s.window.count)
	s.rate.dropped(member)
	s.retire()
}

// Add takes a dropped member back. It reports false, and changes nothing, if
// blocks are dead that the member is not known to have consumed: those it must
// get in another way first.
func (s *Sender) Add(member int) bool {
	if member < 0 || member >= len(s.window.members) {
		return false
	}
	m := &s.window.members[member]
	if m.in {
		return true
	}
	if m.consumed < s.base {
		return false
	}
	m.in = true
	s.window.count++
	s.window.dirty()
	s.rate.setMembers(s.window.count)
	s.rate.forget(member)
	return true
}
