package push

import (
	"testing"
	"time"

	"makuo/internal/transport/simnet"
)

// TestOriginStoodStill: an hour in which this process could hear nobody makes
// no member lost, and parks none.
func TestOriginStoodStill(t *testing.T) {
	s := newSim(t, 3, simnet.Link{Down: 12.5e6, DownQueue: 256 << 10}, smallTree, func(c *OriginConfig) { c.Park = true })
	s.settle(50 * time.Millisecond)
	now, by := s.net.Now().Add(time.Hour), time.Hour
	o := s.o.m
	o.Stood(by)
	o.silence(now)
	o.parking(now)
	for i, m := range o.members {
		if !m.inStream() {
			t.Errorf("member %d is %v: %s", i, m.stage, m.text)
		}
	}
	if events := o.Events(); len(events) > 0 {
		t.Errorf("the members are probed though nobody was silent: %v", events)
	}
	o.silence(now.Add(o.cfg.Timeout))
	if !o.noneLeft(now) {
		t.Error("silence after the standstill is borne")
	}
}

// TestWaitStoodStill: nor is it counted as time spent waiting for a lock.
func TestWaitStoodStill(t *testing.T) {
	s := newSim(t, 2, simnet.Link{Down: 125e6}, smallTree, nil)
	o, now := s.o.m, s.net.Now()
	o.busy(now, Holder{Name: "other"})
	o.Stood(time.Hour)
	if o.impatient(now.Add(time.Hour + o.cfg.Wait/2)) {
		t.Error("given up after half the time to wait")
	}
	if !o.impatient(now.Add(time.Hour + o.cfg.Wait)) {
		t.Error("waits on and on")
	}
}
