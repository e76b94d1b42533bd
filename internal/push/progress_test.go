package push

import (
	"strings"
	"testing"
	"time"

	"makuo/internal/transport/simnet"
)

// TestSmallPacketsOnly: a member that large packets do not reach NAKs for ever;
// it is lost, says why, and the others are served.
func TestSmallPacketsOnly(t *testing.T) {
	for _, members := range []int{1, 3} {
		s := newSim(t, members, simnet.Link{Down: 125e6}, smallTree, func(c *OriginConfig) { c.Payload = simPayload })
		s.net.SetFilter(func(_, to *simnet.Host, _ bool, data []byte) bool { return to != s.members[0].host || len(data) < 1400 })
		s.run(time.Minute)
		for i, m := range s.o.result.Members {
			switch {
			case i == 0 && (m.Outcome != MemberLost || !strings.Contains(m.Text, "MTU") || !strings.Contains(m.Text, "1,472")):
				t.Errorf("%d members: the one that gets small packets only is %v: %s", members, m.Outcome, m.Text)
			case i > 0 && m.Outcome != MemberDone:
				t.Errorf("member %d is %v: %s", i, m.Outcome, m.Text)
			}
		}
	}
}

// TestSyncForEver: a member that says for ever that its disk is busy is lost,
// unless what its disk has done goes on.
func TestSyncForEver(t *testing.T) {
	for _, works := range []bool{false, true} {
		for _, stage := range []memberState{staging, committing} {
			s := newSim(t, 3, simnet.Link{Down: 125e6}, smallTree, nil)
			slow := s.members[1]
			slow.slowIn, slow.slowFor = stage, 2*time.Minute
			var watch func()
			watch = func() {
				if works && slow.m != nil {
					slow.m.Worked(uint32(s.net.Now().Unix()))
				}
				s.net.At(s.net.Now().Add(time.Second), watch)
			}
			watch()
			s.run(4 * time.Minute)
			r := s.o.result.Members[1]
			switch {
			case works && r.Outcome != MemberDone:
				t.Errorf("a disk at work in %v: %v: %s", stage, r.Outcome, r.Text)
			case !works && (r.Outcome != MemberLost || !strings.Contains(r.Text, "its disk has been busy with sync for 30s") || !r.Maybe && stage == committing):
				t.Errorf("a disk that does nothing in %v: %v, maybe %v: %s", stage, r.Outcome, r.Maybe, r.Text)
			}
		}
	}
}
