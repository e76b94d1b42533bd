package transport

import (
	"testing"
	"time"
)

func TestNapLastsNoLongerThanTheBuffer(t *testing.T) {
	const mib, packet = 1 << 20, 1472
	for _, c := range []struct {
		packets, buffer int
		since, want     time.Duration
	}{
		{0, 8 * mib, time.Second, 0},
		{1, 8 * mib, time.Second, 0},                              // nothing else may come
		{2, 8 * mib, time.Millisecond, shortNap},                  // slow
		{100, 8 * mib, time.Millisecond, longNap},                 // 1.2 Gbit/s
		{64, 208 << 10, time.Millisecond, 282 * time.Microsecond}, // the same into a small buffer
		{640, 208 << 10, time.Millisecond, 0},                     // too fast for it
	} {
		got := nap(c.packets, c.packets*packet, c.buffer, c.since)
		if diff := got - c.want; diff < -time.Microsecond || diff > time.Microsecond {
			t.Errorf("%d packets in %v, buffer %d: %v, want %v", c.packets, c.since, c.buffer, got, c.want)
		}
	}
}
