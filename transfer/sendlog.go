package transfer

import "time"

const (
	logEvery = 2 * time.Millisecond
	logSize  = 2048 // marks: 4 s of sending without a pause
)

// sendLog remembers when which sequence number was sent: a mark each 2 ms of
// sending, on a clock that stands still while there is nothing to send.
type sendLog struct {
	marks  []sendMark // a ring
	n      int        // marks ever made
	bytes  uint64     // ever sent
	busy   time.Duration
	last   time.Time // of the last packet or pause
	began  time.Time // end of the last pause
	paused bool
	next   uint32 // sequence number behind the last
}

type sendMark struct {
	seq   uint32
	bytes uint64        // sent before seq
	busy  time.Duration // time spent sending before seq
	at    time.Time
}

func (l *sendLog) init() { l.marks, l.paused = make([]sendMark, logSize), true }

func (l *sendLog) idling() bool { return l.paused }

// pause says that there is nothing to send from now on.
func (l *sendLog) pause(now time.Time) {
	if !l.paused {
		l.busy += max(0, now.Sub(l.last))
		l.paused = true
	}
}

func (l *sendLog) add(now time.Time, seq uint32, bytes int) {
	if l.paused {
		l.began = now
	} else {
		l.busy += max(0, now.Sub(l.last))
	}
	l.paused, l.last, l.next = false, now, seq+1
	if l.n == 0 || now.Sub(l.mark(l.n-1).at) >= logEvery {
		l.marks[l.n%logSize] = sendMark{seq: seq, bytes: l.bytes, busy: l.busy, at: now}
		l.n++
	}
	l.bytes += uint64(bytes)
}

func (l *sendLog) mark(i int) *sendMark { return &l.marks[i%logSize] }

// between returns the rate in bytes a second at which packets from..to-1 were
// sent, and what it was with the times at which there was nothing to send. It
// reports false where the log does not reach back or holds too little.
func (l *sendLog) between(from, to uint32) (rate, used float64, ok bool) {
	a, okA := l.locate(from)
	b, okB := l.locate(to)
	busy, took := b.busy-a.busy, b.at.Sub(a.at)
	if !okA || !okB || busy <= 0 || b.bytes <= a.bytes {
		return 0, 0, false
	}
	bytes := float64(b.bytes - a.bytes)
	return bytes / busy.Seconds(), bytes / max(busy, took).Seconds(), true
}

// locate returns the state of the log when seq was next to be sent, taken in
// proportion between two marks.
func (l *sendLog) locate(seq uint32) (sendMark, bool) {
	lo, hi := max(0, l.n-logSize), l.n
	if l.n == 0 || before(seq, l.mark(lo).seq) {
		return sendMark{}, false
	}
	for hi-lo > 1 { // the last mark at or before seq
		if mid := (lo + hi) / 2; before(seq, l.mark(mid).seq) {
			hi = mid
		} else {
			lo = mid
		}
	}
	m := *l.mark(lo)
	if hi == l.n {
		return sendMark{seq: seq, bytes: l.bytes, busy: l.busy, at: l.last}, true
	}
	n := l.mark(hi)
	part := float64(seq-m.seq) / float64(n.seq-m.seq)
	m.bytes += uint64(part * float64(n.bytes-m.bytes))
	m.busy += time.Duration(part * float64(n.busy-m.busy))
	m.at = m.at.Add(time.Duration(part * float64(n.at.Sub(m.at))))
	m.seq = seq
	return m, true
}
