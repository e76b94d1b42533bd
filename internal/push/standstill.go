package push

import "time"

// standstill is how late a Poll is when the process must have stood still
// (stopped, suspended).
const standstill = 2 * time.Second

// enter notes the time of an event. When this process stood still, what it
// could not hear meanwhile is no silence of anybody.
func (m *Manager) enter(now time.Time) {
	m.now = now
	if m.promised.IsZero() || now.Sub(m.promised) <= standstill {
		return
	}
	by := now.Sub(m.promised)
	m.promised = now
	for _, r := range m.runs {
		r.o.Stood(by)
	}
	for _, r := range m.members {
		r.m.Stood(by)
	}
	for _, p := range m.pending {
		p.since = p.since.Add(by)
	}
}

// Stood says that this process stood still for a while that is over.
func (m *Member) Stood(by time.Duration) {
	m.heard, m.born, m.unsure = m.heard.Add(by), m.born.Add(by), m.unsure.Add(by)
}

// Stood says that this process stood still for a while that is over.
func (o *Origin) Stood(by time.Duration) {
	for _, t := range [...]*time.Time{&o.streamAt, &o.busyAt, &o.backoff, &o.epochs.began} {
		later(t, by)
	}
	for _, m := range o.members {
		for _, t := range [...]*time.Time{&m.heard, &m.word, &m.lastProbe, &m.hold.began, &m.progress.at} {
			later(t, by)
		}
	}
}

// later moves a time that is set.
func later(t *time.Time, by time.Duration) {
	if !t.IsZero() {
		*t = t.Add(by)
	}
}
