package daemon

import (
	"makuo/internal/control"
	"makuo/internal/push"
	"makuo/protocol"
)

// toldSoFar keeps what was told of a push, so that its figures go on where they
// were when the members that were parked are served by a push of their own.
type toldSoFar struct {
	run            protocol.PushID // that the newest progress was of
	sent, repaired uint64          // in that run
	// In the runs before it.
	sentBefore, repairedBefore uint64
	members                    control.MemberCounts // of those whose end was told
}

// ended counts a member whose end is told.
func (s *toldSoFar) ended(outcome string) {
	switch outcome {
	case control.OutcomeDone:
		s.members.Done++
	case control.OutcomeLate:
		s.members.Late++
	case control.OutcomeFailed:
		s.members.Failed++
	case control.OutcomeLost:
		s.members.Lost++
	case control.OutcomeRefused:
		s.members.Refused++
	}
}

// progress is the progress of push id, of which st may be a late run.
func (s *toldSoFar) progress(id protocol.PushID, st *push.Status) *control.Progress {
	if st.ID != s.run {
		s.sentBefore += s.sent
		s.repairedBefore += s.repaired
		s.run = st.ID
	}
	s.sent, s.repaired = st.Sent, st.Repaired
	p := progress(st)
	if st.ID == id {
		return p
	}
	p.Late = true
	p.Sent += s.sentBefore
	p.Repaired += s.repairedBefore
	p.Members.Done += s.members.Done
	p.Members.Late += s.members.Late
	p.Members.Failed += s.members.Failed
	p.Members.Lost += s.members.Lost
	p.Members.Refused += s.members.Refused
	return p
}
