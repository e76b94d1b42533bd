package journal

import (
	"time"

	"makuo/protocol"
)

// idSet holds pushes with their lines in a log, in the order they came. The
// zero value is empty.
type idSet struct {
	set  map[protocol.PushID]bool
	list []idLine
}

type idLine struct {
	id   protocol.PushID
	line string
}

func (s *idSet) has(id protocol.PushID) bool { return s.set[id] }

// add reports whether id was new.
func (s *idSet) add(id protocol.PushID, line string) bool {
	if s.set[id] {
		return false
	}
	if s.set == nil {
		s.set = make(map[protocol.PushID]bool)
	}
	s.set[id] = true
	s.list = append(s.list, idLine{id, line})
	return true
}

// trim drops what is too old, and the oldest of what is too many, once that is
// worth it. It returns the latest beginning of what it dropped, in Unix
// nanoseconds; 0 if nothing was.
func (s *idSet) trim(now time.Time) (latest int64) {
	oldest := now.Add(-keepFor).UnixNano()
	old := func(i int) bool { return s.list[i].id.Start < oldest || len(s.list)-i > keepMost }
	// What came last is the newest: drop a tenth at a time.
	if n := max(len(s.list)/10, 1); len(s.list) < n+1 || !old(n-1) {
		return 0
	}
	n := 0
	for ; n < len(s.list) && old(n); n++ {
		delete(s.set, s.list[n].id)
		latest = max(latest, s.list[n].id.Start)
	}
	s.list = append([]idLine(nil), s.list[n:]...)
	return latest
}

func (s *idSet) lines() []string {
	out := make([]string, len(s.list))
	for i, l := range s.list {
		out[i] = l.line
	}
	return out
}
