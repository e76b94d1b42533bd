package push

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// Locker is the origin's own lock on the pushed paths.
type Locker interface {
	// Try takes the lock, or says who holds it.
	Try() (Holder, bool)
	Release()
}

func (o *Origin) advanceLocking(now time.Time) {
	if o.noneLeft(now) {
		return
	}
	h, own := o.cfg.Lock.Try()
	if !own {
		o.busy(now, h)
		return
	}
	if o.told && o.count(func(m *originMember) bool { return m.inStream() && m.busy }) == 0 {
		o.told, o.blocker, o.urgent = false, Holder{}, true // nobody names a push in the way any more
	}
	if o.count(func(m *originMember) bool { return m.inStream() && !m.locked }) == 0 {
		if o.cfg.AllOrNone && (o.cfg.Hopeless || o.count((*originMember).alive) < len(o.members)) {
			o.giveUp(now, "not every member takes part, and --all-or-none was given")
			return
		}
		o.streamAt = now
		o.epochs.start(now)
		for _, m := range o.members {
			m.hold = hold{}
		}
		o.enter(now, originStreaming)
		o.emit(EvLocked{})
	}
}

// busy notes that another push stands in the way. The later of two pushes
// gives up what it holds, so that no two wait for each other.
func (o *Origin) busy(now time.Time, h Holder) {
	if o.state != originLocking {
		return
	}
	o.blocker = h
	if o.busyAt.IsZero() {
		o.busyAt = now
	}
	if !o.told {
		o.told = true
		o.emit(EvWaiting{Holder: h})
	}
	if o.impatient(now) {
		return
	}
	if h.Place.Less(o.cfg.Place) {
		o.cfg.Lock.Release()
		for _, m := range o.members {
			m.yielded = false
		}
		o.backoff = now.Add(50*time.Millisecond + time.Duration(rand.Int64N(int64(100*time.Millisecond))))
		o.enter(now, originYielding)
	}
}

// impatient gives up when the time to wait for another push is over.
func (o *Origin) impatient(now time.Time) bool {
	if !o.told || o.state > originYielding || now.Sub(o.busyAt) < o.cfg.Wait {
		return false
	}
	o.giveUp(now, fmt.Sprintf("%s is pushing to the same paths (push %s); waited %v for it", o.blocker.Name, o.blocker.ID, o.cfg.Wait))
	return true
}

func (o *Origin) advanceYielding(now time.Time) {
	if now.Before(o.backoff) {
		return
	}
	if o.count(func(m *originMember) bool { return m.inStream() && !m.yielded }) > 0 && now.Sub(o.since) < yieldAtMost {
		return
	}
	o.attempt++
	for _, m := range o.members {
		m.locked = false
	}
	o.enter(now, originLocking)
}
