package push

import (
	"fmt"
	"strings"
	"time"
)

// lateNote turns a note of a late push into one of the push that it ends; ok is
// false for what that one has told of itself.
func lateNote(n Note, delay time.Duration) (told Note, ok bool) {
	switch n := n.(type) {
	case NoteStart, NoteDecided, NoteWaiting:
		return nil, false
	case NoteMember:
		if n.Outcome == MemberDone {
			n.Outcome, n.Delay = MemberLate, delay
		}
		return n, true
	}
	return n, true
}

// behind ends the part of each member of a late push that was given up: for
// the others the push is done, so that nobody is as before.
func (f *finalNote) behind() {
	if f.result.Abort == "" || f.result.Abort == nobodyLeft {
		return
	}
	for i := range f.result.Members {
		if m := &f.result.Members[i]; m.Outcome < MemberRefused {
			m.Outcome, m.Text = MemberFailed, unservedText(f.result.Abort)
		}
	}
}

// addLate adds the figures of a late push to those of the push that it ends.
func (s *Summary) addLate(part *Summary) {
	s.Late += part.Done
	s.Failed += part.Failed
	s.Lost += part.Lost
	s.SentBytes += part.SentBytes
	s.RepairedBytes += part.RepairedBytes
	s.Took += part.Took
	s.Differing += part.Differing
	s.Updated = max(s.Updated, part.Updated)
	s.Deleted = max(s.Deleted, part.Deleted)
	if part.Ending > EndedDone && s.Ending == EndedDone {
		s.Ending = EndedPartial
	}
}

// someNames names the members for people: all, or the first ten.
func someNames(members []RosterMember) string {
	var names []string
	for _, m := range members[:min(len(members), 10)] {
		names = append(names, m.Name)
	}
	text := strings.Join(names, ", ")
	if more := len(members) - len(names); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
