package transport

import "time"

// The data that waits on this host for the link is bounded by a time: more
// would not make it faster, only delay what comes behind it, and take the link
// from TCP streams of this host, which leave about as much there.
const (
	backlogTime  = 2 * time.Millisecond
	leastBacklog = 32 << 10              // bytes: some trains on slow links
	mostBacklog  = 16 * time.Millisecond // where less lets the link run dry
	backlogSpan  = 20 * time.Millisecond // over which the rate is taken
)

// backlog finds out how many bytes may wait.
//
// Some links take what waits in gulps, and a busy machine comes late to refill:
// where the link has run dry though data was held back, twice as much may wait.
type backlog struct {
	limit int
	held  bool // at the last look
	dry   bool // since
	since time.Time
	bytes int // sent since
}

// sent notes data that was given to the kernel.
func (b *backlog) sent(now time.Time, bytes int) {
	b.bytes += bytes
	took := now.Sub(b.since)
	if took < backlogSpan {
		return
	}
	rate := float64(b.bytes) / took.Seconds()
	limit := max(leastBacklog, int(rate*backlogTime.Seconds()))
	if b.dry {
		limit = max(limit, min(2*b.limit, max(2*leastBacklog, int(rate*mostBacklog.Seconds()))))
	} else {
		limit = max(limit, b.limit*9/10)
	}
	b.limit = limit
	b.since, b.bytes, b.dry = now, 0, false
}

// full reports whether no more is to be given to the kernel while it has so
// many bytes.
func (b *backlog) full(queued int) bool {
	b.dry = b.dry || b.held && queued == 0
	b.held = queued > max(b.limit, leastBacklog)
	return b.held
}
