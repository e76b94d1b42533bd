package transport

import "time"

// The data that waits on this host for the link is bounded by a time: more
// would not make it faster, only delay what comes behind it, and take the link
// from TCP streams of this host, which leave about as much there.
const (
	backlogTime  = 2 * time.Millisecond
	leastBacklog = 32 << 10              // bytes: some trains on slow links
	backlogSpan  = 20 * time.Millisecond // over which the rate is taken
)

// backlog finds out how many bytes may wait.
type backlog struct {
	limit int
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
	b.limit = max(leastBacklog, int(float64(b.bytes)*backlogTime.Seconds()/took.Seconds()))
	b.since, b.bytes = now, 0
}

// full reports whether no more is to be given to the kernel while it has so
// many bytes.
func (b *backlog) full(queued int) bool { return queued > max(b.limit, leastBacklog) }
