package membership

import (
	"net/netip"
	"time"

	"makuo/protocol"
)

// Shares of the bandwidth, in percent. They add up to less than all of it;
// answers to newcomers (solicited) add a sixth to the beacons at most.
const (
	shareBeacons = 72
	shareDetails = 10
	shareAsks    = 6
	shareProbes  = 6
)

// startBeacons are the times of a new member's first beacons. Four in the
// first 1.5 s: with one lost, or even three, it is known within 2 s.
var startBeacons = [...]time.Duration{0, 300 * time.Millisecond, 800 * time.Millisecond, 1500 * time.Millisecond}

// solicitBeacons is how many of them ask the others to answer.
const solicitBeacons = 2

// growth bounds how much longer than the interval announced before the next
// may be: receivers that lose beacons judge by an older one.
const growthNum, growthDen = 5, 4

// beaconClock says when this member's beacons go out.
type beaconClock struct {
	at        time.Duration // of the next
	sent      int
	announced time.Duration // interval in the last
	answered  time.Duration // a solicitation, last
	probeNext time.Duration // not before
	replied   time.Duration // to an ask with a beacon, last
}

// share returns the time that n bytes take of a share of the bandwidth.
func (t *Table) share(n, percent int) time.Duration {
	return time.Duration(int64(n) * int64(time.Second) * 100 / (int64(t.cfg.Bandwidth) * int64(percent)))
}

// interval returns the interval at which all members' beacons together keep
// to their share. With jitter the mean gap is 9/10 of it.
func (t *Table) interval() time.Duration {
	return min(max(t.cfg.Interval, t.share(t.liveBytes, shareBeacons)*10/9), maxInterval)
}

// jitter returns a time between 0.8 d and d: never longer, so that an
// announced interval is a promise.
func (t *Table) jitter(d time.Duration) time.Duration { return d - t.upTo(d/5) }

func (t *Table) upTo(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(t.rnd.Int64N(int64(d)))
}

// Poll returns what is to be sent, what happened, and when to call it next
// at the latest. It is to be called then, and soon after any other call that
// took a packet. It costs little when nothing is due.
func (t *Table) Poll(now time.Time) (out []Out, events []Event, next time.Time) {
	at := t.enter(now)
	if t.stopped {
		t.promised = at + time.Hour
		return nil, t.flush(), t.base.Add(t.promised)
	}
	if at >= t.sweepAt {
		t.sweep(at)
	}
	if at >= t.beacons.at {
		out = append(out, Out{Type: protocol.TypeBeacon, Body: t.sendBeacon(at)})
	}
	out = t.pollForgets(at, t.pollDetails(at, out))
	if len(t.queue) > 0 {
		out = append(out, t.queue...)
		t.queue = nil
	}
	t.promised = min(t.sweepAt, t.beacons.at, t.details.sendAt, t.details.askAt, t.forgets.tellAt, at+time.Hour)
	return out, t.flush(), t.base.Add(t.promised)
}

func (t *Table) beaconBody(interval time.Duration, flags uint8) []byte {
	s := &t.cfg.Self
	b := protocol.Beacon{Name: s.Name, Port: s.Port, MinVersion: protocol.Version, MaxVersion: protocol.Version, Flags: flags,
		Interval: interval, Started: uint32(s.Started.Unix()), Digest: t.detail.Digest}
	return b.Append(nil)
}

// sendBeacon returns a beacon and sets the time of the next.
func (t *Table) sendBeacon(at time.Duration) []byte {
	c := &t.beacons
	flags := t.flags
	if c.sent < solicitBeacons {
		flags |= protocol.FlagSolicit
	}
	interval := t.interval()
	if c.sent >= len(startBeacons) {
		interval = min(interval, c.announced*growthNum/growthDen)
	}
	gap := interval
	if c.sent+1 < len(startBeacons) {
		gap = min(interval, startBeacons[c.sent+1]-startBeacons[c.sent])
	}
	c.announced = interval
	c.at = at + t.jitter(gap)
	c.sent++
	return t.beaconBody(interval, flags)
}

// solicited brings the next beacon forward for a newcomer: within the time
// that all members' beacons take of their share, a second at most.
func (t *Table) solicited(at time.Duration) {
	round := t.share(t.liveBytes, shareBeacons)
	if t.beacons.sent == 0 || (t.beacons.answered != 0 && at-t.beacons.answered < max(6*round, 200*time.Millisecond)) {
		return
	}
	t.beacons.answered = at
	t.beacons.at = min(t.beacons.at, at+t.upTo(min(max(round, 20*time.Millisecond), time.Second)))
}

// Stop ends this session: it returns the leave messages to send, a few
// milliseconds apart, and silences the table.
func (t *Table) Stop(now time.Time) []Out {
	t.enter(now)
	t.stopped = true
	leave := Out{Type: protocol.TypeLeave}
	return []Out{leave, leave, leave}
}

// silence returns the time from which m's silence counts.
func (t *Table) silence(m *member) time.Duration { return max(m.heard, t.floor) }

// end returns when m is given up if it stays silent.
func (t *Table) end(m *member) time.Duration {
	end := t.silence(m) + m.limit()
	if m.doubted {
		if h := t.heir(m); h != nil && h.addr.Addr() == m.addr.Addr() {
			end = min(end, max(m.doubtAt, t.floor)+2*m.interval)
		}
	}
	return end
}

const maxProbes = 3

// probers is about how many members ask one that is silent; in small clusters
// all do.
const probers = 20

// probeDue returns when m is to be asked for a sign of life: in doubt every
// half interval, else after 3, 3.75 and 4.5 intervals of silence.
func (t *Table) probeDue(m *member) time.Duration {
	switch {
	case m.probes >= maxProbes || m.foreign:
		return never
	case m.doubted:
		return m.doubtAt + m.interval/2*time.Duration(m.probes+1)
	}
	return t.silence(m) + m.interval*3 + m.interval*3/4*time.Duration(m.probes)
}

// due returns when m needs a look if it stays silent.
func (t *Table) due(m *member) time.Duration {
	if m.live() {
		return min(t.end(m), t.probeDue(m))
	}
	forget := m.since + t.cfg.Forget
	if m.loaded {
		return min(forget, loadedTime)
	}
	return forget
}

// sweep looks at every member. It is due rarely: hearing somebody only moves
// that member's time back.
func (t *Table) sweep(at time.Duration) {
	t.sweepAt = never
	for i := len(t.list) - 1; i >= 0; i-- {
		m := t.list[i]
		if at >= t.due(m) {
			t.look(at, m)
		}
	}
	for _, m := range t.list {
		t.sweepAt = min(t.sweepAt, t.due(m))
	}
}

func (t *Table) look(at time.Duration, m *member) {
	switch {
	case !m.live() && at >= m.since+t.cfg.Forget:
		t.drop(m)
		t.emit(EventForgotten, m, Member{})
	case !m.live():
		m.loaded = false
		t.changed = true
		t.emit(EventMissing, m, Member{})
	case at >= t.end(m):
		t.giveUp(at, m)
	default:
		m.probes++
		t.probe(at, m)
	}
}

func (t *Table) giveUp(at time.Duration, m *member) {
	if m.doubted {
		if h := t.heir(m); h != nil {
			old := t.view(m)
			t.drop(m)
			t.emit(EventRestarted, h, old)
			return
		}
		if m.name == t.cfg.Self.Name {
			t.drop(m)
			return
		}
	}
	t.count(m, -1)
	m.state, m.since, m.doubted = Missing, at, false
	t.changed = true
	t.emit(EventMissing, m, Member{})
	t.refreshName(m.name)
}

// probe asks m for a sign of life. All members found out about its silence at
// the same moment, so only some do; and if many fell silent, no more than a
// share of the bandwidth is spent.
func (t *Table) probe(at time.Duration, m *member) {
	c := &t.beacons
	if t.rnd.IntN(t.live+1) >= probers || at < c.probeNext {
		return
	}
	c.probeNext = at + t.share(askCost*(t.live+1), shareProbes)
	t.ask(m.addr)
}

func (t *Table) ask(to netip.AddrPort) {
	t.queue = append(t.queue, Out{To: to, Type: protocol.TypeAsk})
}
