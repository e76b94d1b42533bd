package transport

import (
	"testing"
	"time"
)

func TestBacklogGoesByTheRate(t *testing.T) {
	var b backlog
	now := time.Unix(1000, 0)
	b.sent(now, 0)
	for _, c := range []struct{ rate, limit int }{{1e6, leastBacklog}, {125e6, 250_000}, {1250e6, 2_500_000}, {12.5e6, leastBacklog}} {
		for range 4000 { // trains of 250 microseconds
			now = now.Add(250 * time.Microsecond)
			b.sent(now, c.rate/4000)
		}
		if b.limit < c.limit*95/100 || b.limit > c.limit*105/100 {
			t.Errorf("at %d bytes a second %d may wait, want %d", c.rate, b.limit, c.limit)
		}
		if !b.full(b.limit+1) || b.full(b.limit) || b.dry {
			t.Errorf("full at another number than %d", b.limit)
		}
	}
}

func TestBacklogGrowsWhereTheLinkRunsDry(t *testing.T) {
	var b backlog
	now := time.Unix(1000, 0)
	b.sent(now, 0)
	for range 4000 {
		now = now.Add(250 * time.Microsecond)
		b.full(b.limit + 1)
		b.full(0) // all is gone at once
		b.sent(now, 31250)
	}
	if want := int(125e6 * mostBacklog.Seconds()); b.limit != want {
		t.Errorf("%d may wait, want %d", b.limit, want)
	}
}
