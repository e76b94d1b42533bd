package push

import (
	"time"

	"makuo/protocol"
)

const (
	tombKept  = 30 * time.Minute
	tombPause = 200 * time.Millisecond // between two answers
	maxTombs  = 1024
)

// tomb remembers a push that ended here while its origin may still run, so
// that an origin that is heard again need not wait for an answer.
type tomb struct {
	id    protocol.PushID
	since time.Time
	told  time.Time
	self  int             // roster index, -1 if that was never known
	word  protocol.Record // how it ended
}

// bury remembers the push of a machine that is over.
func (m *Manager) bury(now time.Time, r *memberRun) {
	if r.m.st.Phase >= protocol.PhaseEnd {
		return // the origin knows
	}
	if m.tombs == nil {
		m.tombs = make(map[streamKey]*tomb)
	}
	t := &tomb{id: r.m.ID(), since: now, self: -1}
	if r.m.header != nil {
		t.self = r.m.self
	}
	if t.word = r.m.final; t.word.Type == 0 {
		t.word = protocol.Record{Type: protocol.RecordFailed, Text: clip(r.m.outcome)}
	}
	var oldest streamKey
	for k, o := range m.tombs {
		if now.Sub(o.since) >= tombKept {
			delete(m.tombs, k)
		} else if m.tombs[oldest] == nil || o.since.Before(m.tombs[oldest].since) {
			oldest = k
		}
	}
	if len(m.tombs) >= maxTombs {
		delete(m.tombs, oldest)
	}
	m.tombs[streamKey{r.origin, r.m.st.Stream}] = t
}

// buried reports whether a state message is of a push that ended here. Its
// origin is told how, under the number of the record it takes next.
func (m *Manager) buried(now time.Time, key streamKey, st *protocol.State) (*protocol.Report, bool) {
	t := m.tombs[key]
	if t == nil || t.id != st.Push || now.Sub(t.since) >= tombKept {
		return nil, false
	}
	i := t.self - int(st.First)
	if t.self < 0 || i < 0 || i >= len(st.Heard) || st.Phase >= protocol.PhaseEnd || now.Sub(t.told) < tombPause {
		return nil, true
	}
	t.told = now
	return &protocol.Report{Origin: key.origin, Stream: key.stream, First: st.Heard[i], Records: []protocol.Record{t.word}}, true
}
