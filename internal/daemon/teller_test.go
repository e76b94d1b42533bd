package daemon

import (
	"testing"

	"makuo/internal/control"
	"makuo/internal/push"
	"makuo/protocol"
)

// TestLateProgressGoesOn: while parked members are served by a run of their
// own, the members that are done and what was sent before still count.
func TestLateProgressGoesOn(t *testing.T) {
	var told toldSoFar
	id, late := protocol.PushID{Start: 1}, protocol.PushID{Start: 2}
	status := func(id protocol.PushID, sent uint64, states ...push.MemberState) *push.Status {
		s := &push.Status{ID: id, Sent: sent, Repaired: sent / 10}
		for _, x := range states {
			s.Members = append(s.Members, push.MemberStatus{State: x})
		}
		return s
	}
	told.progress(id, status(id, 500, push.MemberActive, push.MemberParked, push.MemberActive))
	p := told.progress(id, status(id, 1000, push.MemberDone, push.MemberParked, push.MemberLost))
	if p.Late || p.Sent != 1000 || p.Members != (control.MemberCounts{Done: 1, Parked: 1, Lost: 1}) {
		t.Errorf("%+v", p)
	}
	told.ended(control.OutcomeDone)
	told.ended(control.OutcomeLost)
	told.progress(id, status(late, 100, push.MemberActive))
	p = told.progress(id, status(late, 300, push.MemberActive))
	if !p.Late || p.Sent != 1300 || p.Repaired != 130 || p.Members != (control.MemberCounts{Done: 1, Active: 1, Lost: 1}) {
		t.Errorf("late: %+v", p)
	}
}
