package push

import "time"

// backoff says when something that failed is to be tried again: after a second,
// then after twice the time before, up to a minute.
type backoff struct {
	pause time.Duration
	at    time.Time // zero: it is being tried, or never failed
}

// first reports whether nothing has failed so far.
func (r *backoff) first() bool { return r.pause == 0 }

func (r *backoff) failed(now time.Time) {
	r.pause = min(max(2*r.pause, time.Second), time.Minute)
	r.at = now.Add(r.pause)
}

// due reports once that it is time to try again.
func (r *backoff) due(now time.Time) bool {
	if r.at.IsZero() || now.Before(r.at) {
		return false
	}
	r.at = time.Time{}
	return true
}
