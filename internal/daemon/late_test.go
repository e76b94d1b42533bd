package daemon

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"testing"

	"makuo/internal/control"
	"makuo/internal/transport/leak"
	"makuo/protocol"
)

// TestParkedAreServedLater cuts one of three machines off for as long as the
// others commit without it: it is served when it is back, and reported late.
func TestParkedAreServedLater(t *testing.T) {
	for name, from := range map[string]protocol.Phase{
		"that never answered": protocol.PhaseLock, "in the stream": protocol.PhaseStream, "that was to put it on disk": protocol.PhaseFlush,
	} {
		t.Run(name, func(t *testing.T) {
			leak.Check(t)
			c := newCluster(t)
			l := c.machines("a", "b", "c")
			l[0].site("t", 50)
			r := rand.NewChaCha8([32]byte{})
			for i := range 40 { // each a block
				whole := make([]byte, 100_000)
				r.Read(whole)
				l[0].write(fmt.Sprintf("t/whole%d", i), whole)
			}
			c.lose(cutOffFrom(l[2].addr(), from))
			req := paths("t")
			req.WaitSeconds = new(float64) // for other pushes, not for its own
			end := l[0].begin(context.Background(), req, func(e control.Event) {
				if m, ok := e.(*control.Member); ok && m.Name == "b" {
					c.lose(nil)
				}
			})
			o := <-end
			sum := o.exits(t, control.ExitOK)
			if m := o.members(); m["b"] != control.OutcomeDone || m["c"] != control.OutcomeLate || sum.Late != 1 || sum.Done != 1 {
				t.Errorf("%v, %+v", m, sum)
			}
			if from == protocol.PhaseFlush && float64(sum.BytesSent) > 1.5*float64(sum.Bytes) {
				t.Errorf("%d bytes were sent for %d: what had arrived before was not used", sum.BytesSent, sum.Bytes)
			}
			same(t, "t", l...)
			l[2].clean()
		})
	}
}

// cutOffFrom loses all packets from and to a machine once it was sent a push's
// state of the given phase.
func cutOffFrom(addr netip.Addr, phase protocol.Phase) func(from, to netip.Addr, p protocol.Prefix, body []byte) bool {
	var cut atomic.Bool
	return func(from, to netip.Addr, p protocol.Prefix, body []byte) bool {
		if p.Type == protocol.TypeState && to == addr {
			st, err := protocol.ParseState(body)
			if err == nil && st.Phase >= phase {
				cut.Store(true)
			}
		}
		return !cut.Load() || from != addr && to != addr
	}
}
