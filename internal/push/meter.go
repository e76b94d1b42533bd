package push

import "time"

// meter measures how fast a count grew lately. Its window is ten samples long.
type meter struct {
	every   time.Duration // between samples
	samples [meterSamples + 1]meterSample
	n       int // samples that are there, the newest last
}

const meterSamples = 10

type meterSample struct {
	at    time.Time
	count uint64
}

// due reports whether it is time for a sample.
func (m *meter) due(now time.Time) bool {
	return m.n == 0 || now.Sub(m.samples[m.n-1].at) >= m.every
}

// add takes a sample.
func (m *meter) add(now time.Time, count uint64) {
	if m.n == len(m.samples) {
		copy(m.samples[:], m.samples[1:])
		m.n--
	}
	m.samples[m.n] = meterSample{now, count}
	m.n++
}

// rate returns by how much the count grew per second in the window that ends
// now. What went by before it does not count, nor is a count that stands still
// seen as growing.
func (m *meter) rate(now time.Time, count uint64) float64 {
	window := m.every * meterSamples
	for i := range m.n {
		s := &m.samples[i]
		age := now.Sub(s.at)
		if age > window+m.every && i < m.n-1 {
			continue
		}
		if age <= 0 || count < s.count {
			return 0
		}
		return float64(count-s.count) / max(age, m.every).Seconds()
	}
	return 0
}
