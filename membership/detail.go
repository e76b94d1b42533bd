package membership

import (
	"hash/fnv"
	"net/netip"
	"time"

	"makuo/protocol"
)

// Details go to the group, so that a change is told once and not once to
// each member; a round is the time in which every member can send its details
// once within their share of the bandwidth.
//
//  1. After its start or a change a member sends its details at a random time
//     of the next round.
//  2. Who sees a new digest in a beacon waits for that, then asks, at a
//     random time of the round after; who has just started asks the others, who
//     have no reason to send theirs, at a random time of this round.
//  3. Asks are paced so that all who may be asking now keep to their share,
//     and repeated with growing pauses until the details are there.
//  4. An ask is answered to the group, once a round at most; in between with a
//     beacon to who asked, since it may be a sign of life that is asked for.

// detailClock says when details are sent and asked for.
type detailClock struct {
	sendAt time.Duration // never: nothing to send
	drawn  bool          // sendAt was drawn with the cluster known
	sent   time.Duration // last
	askAt  time.Duration // next ask, never: nobody to ask
	asked  time.Duration // no ask before this
	asking bool          // the first ask of a spell has had its random pause
}

const (
	minRound   = 200 * time.Millisecond
	maxAskWait = 10 * time.Minute
	// askCost is the bytes on the wire of an ask and of a beacon that may answer it.
	askCost = 2*wireOverhead + 20 + 20
	// freshStart is how much older than this daemon one may be to count as
	// started together with it, in seconds. Clocks of hosts differ.
	freshStart = 60
)

func withDigest(d protocol.Detail) protocol.Detail {
	d.Digest = 0
	h := fnv.New64a()
	h.Write(d.Append(nil))
	d.Digest = max(h.Sum64(), 1)
	return d
}

// SetDetail sets what this member tells of itself; a change is told to all.
func (t *Table) SetDetail(now time.Time, d protocol.Detail) {
	at := t.enter(now)
	d = withDigest(d)
	if d.Digest == t.detail.Digest {
		return
	}
	t.detail = d
	if at >= settleTime {
		t.details.drawn = true
		t.details.sendAt = min(t.details.sendAt, max(at, t.details.sent+t.round())+t.upTo(t.round()))
	}
}

// round is the time in which each member may send its details once.
func (t *Table) round() time.Duration {
	return max(minRound, t.share((t.live+1)*(wireOverhead+len(t.detail.Append(nil))), shareDetails))
}

// HandleAsk takes a request for this member's details.
func (t *Table) HandleAsk(now time.Time, from netip.AddrPort, p protocol.Prefix) {
	at := t.enter(now)
	if p.Session == t.cfg.Self.Session {
		return
	}
	m := t.byID[p.Session]
	if m != nil {
		t.hear(at, m)
		from = m.addr
	}
	d := &t.details
	d.drawn = true
	d.sendAt = min(d.sendAt, max(at, d.sent+t.round()))
	if d.sendAt > at && at-t.beacons.replied >= 20*time.Millisecond {
		t.beacons.replied = at
		t.queue = append(t.queue, Out{To: from, Type: protocol.TypeBeacon, Body: t.beaconBody(max(t.beacons.announced, t.cfg.Interval), t.flags)})
	}
}

// HandleDetail takes a member's details.
func (t *Table) HandleDetail(now time.Time, p protocol.Prefix, d protocol.Detail) []Event {
	at := t.enter(now)
	m := t.byID[p.Session]
	if m == nil {
		return nil
	}
	t.hear(at, m)
	size := len(d.Version) + len(d.Base) + 200
	for i := range d.Modules {
		size += len(d.Modules[i].Name) + 64
	}
	if m.detail != nil && m.detail.Digest == d.Digest || t.detailBytes-m.detailSize+size > maxDetailBytes {
		return t.flush()
	}
	t.detailBytes += size - m.detailSize
	m.detail, m.detailSize = &d, size
	t.emit(EventDetail, m, Member{})
	return t.flush()
}

func (m *member) lacksDetail() bool {
	return m.digest != 0 && !m.foreign && (m.detail == nil || m.detail.Digest != m.digest)
}

// wantDetail plans to ask m when its beacon names details not known here.
func (t *Table) wantDetail(at time.Duration, m *member) {
	if m.wanted || !m.lacksDetail() {
		return
	}
	r := t.round()
	m.askAt = at + minRound + t.upTo(r)
	if m.detail != nil || t.fresh(m) {
		m.askAt += r
	}
	m.wanted, m.askWait = true, 2*r
	t.wanted = append(t.wanted, m)
	t.details.askAt = min(t.details.askAt, max(m.askAt, t.details.asked))
}

// fresh reports whether m started when this daemon did, or later.
func (t *Table) fresh(m *member) bool {
	return int64(m.started) > t.cfg.Self.Started.Unix()-freshStart
}

// askGap is the pause after asking m: long enough for all who may be asking
// for the same reason to keep to the share.
func (t *Table) askGap(m *member) time.Duration {
	askers := t.live + 1
	if m.detail == nil && !t.fresh(m) {
		askers = 1
		for _, o := range t.list {
			if o.state == Alive && t.fresh(o) {
				askers++
			}
		}
	}
	return t.share(askCost*askers, shareAsks)
}

func (t *Table) pollDetails(at time.Duration, out []Out) []Out {
	d := &t.details
	if at >= d.sendAt && !d.drawn {
		d.drawn = true
		d.sendAt = at + t.upTo(t.round())
	}
	if at >= d.sendAt {
		d.sendAt, d.sent = never, at
		out = append(out, Out{Type: protocol.TypeDetail, Body: t.detail.Append(nil)})
	}
	if at >= d.askAt {
		t.pollAsks(at)
	}
	return out
}

// pollAsks asks the one whose turn it is and finds the time of the next ask,
// dropping from the list who is gone or has answered.
func (t *Table) pollAsks(at time.Duration) {
	d := &t.details
	if !d.asking {
		d.asking = true
		if d.asked = at + t.upTo(t.askGap(t.wanted[0])); d.asked > at {
			d.askAt = d.asked
			return
		}
	}
	keep := t.wanted[:0]
	next, asked := never, false
	for _, m := range t.wanted {
		if !m.wanted || !m.lacksDetail() || !m.live() {
			m.wanted = false
			continue
		}
		if m.askAt <= at && !asked {
			asked = true
			t.ask(m.addr)
			d.asked = at + t.askGap(m)
			m.askAt = at + t.jitter(m.askWait)
			m.askWait = min(2*m.askWait, maxAskWait)
		}
		next = min(next, m.askAt)
		keep = append(keep, m)
	}
	clear(t.wanted[len(keep):])
	t.wanted = keep
	d.askAt, d.asking = never, len(keep) > 0
	if next != never {
		d.askAt = max(next, d.asked)
	}
}
