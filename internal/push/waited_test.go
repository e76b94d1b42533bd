package push

import (
	"fmt"
	"slices"
	"testing"
)

// TestAwaitedMembers: who holds the push is named in each state, and what it
// is at; those that are out or served later are not.
func TestAwaitedMembers(t *testing.T) {
	member := func(name string, stage MemberState) *originMember {
		return &originMember{RosterMember: RosterMember{Name: name}, stage: stage}
	}
	a, b, parked, lost := member("a", MemberActive), member("b", MemberActive), member("parked", MemberParked), member("lost", MemberLost)
	o := &Origin{members: []*originMember{a, b, parked, lost}}
	is := func(state originState, want ...Awaited) {
		t.Helper()
		o.state = state
		if got, more := o.awaitedMembers(); !slices.Equal(got, want) || more != 0 {
			t.Errorf("%v and %d more, want %v", got, more, want)
		}
	}
	b.locked = true
	is(originLocking, Awaited{"a", "asked whether it is free"})
	is(originStreaming)
	a.syncing, b.stage = true, MemberStaged
	is(originFlushing, Awaited{"a", "syncing its disk"})
	a.syncing = false
	is(originFlushing, Awaited{"a", "receiving the rest"})
	a.stage = MemberDone
	is(originCommitting, Awaited{"b", "putting the new tree in place"})
	for i := range 20 {
		o.members = append(o.members, member(fmt.Sprint(i), MemberStaged))
	}
	if got, more := o.awaitedMembers(); len(got) != maxAwaited || more != 11 {
		t.Errorf("%d named and %d more", len(got), more)
	}
}
