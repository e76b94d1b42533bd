package push

import (
	"testing"
	"time"
)

// TestMeter: the rate is that of the last second, from the first sample on, and
// falls to nothing when nothing moves.
func TestMeter(t *testing.T) {
	m := meter{every: time.Second / meterSamples}
	now, count := time.Unix(100, 0), uint64(0)
	run := func(d time.Duration, perSecond uint64) float64 {
		for range d / (10 * time.Millisecond) {
			if m.due(now) {
				m.add(now, count)
			}
			now = now.Add(10 * time.Millisecond)
			count += perSecond / 100
		}
		return m.rate(now, count)
	}
	near := func(what string, got, want float64) {
		t.Helper()
		if got < want*0.99-1 || got > want*1.01+1 {
			t.Errorf("%s: %.0f, want %.0f", what, got, want)
		}
	}
	if m.rate(now, 5) != 0 {
		t.Error("a rate without a sample")
	}
	near("300 ms", run(300*time.Millisecond, 1e6), 1e6)
	near("3 s", run(3*time.Second, 1e6), 1e6)
	near("slower", run(1200*time.Millisecond, 1e5), 1e5)
	near("standing", run(1200*time.Millisecond, 0), 0)
	now = now.Add(time.Minute) // no sample for long
	near("long standing", m.rate(now, count), 0)
	if m.rate(now, 0) != 0 {
		t.Error("a count that went back has a rate")
	}
}
