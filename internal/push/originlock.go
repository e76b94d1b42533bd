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
	if o.setAside(now) {
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
	if h.Place.Less(o.cfg.Place) && !o.listens(now) {
		o.cfg.Lock.Release()
		for _, m := range o.members {
			m.yielded = false
		}
		o.backoff = now.Add(50*time.Millisecond + time.Duration(rand.Int64N(int64(100*time.Millisecond))))
		o.enter(now, originYielding)
	}
}

// The others do not wait for a member that stays busy with an older push: when
// it has been for stuckFor, an attempt does not yield before the others had
// time to answer, and if all of them have granted their locks it is taken out.
const (
	stuckFor  = 2 * time.Second
	listenFor = 500 * time.Millisecond
)

// stuck reports whether m has been busy with older pushes for too long.
func (o *Origin) stuck(now time.Time, m *originMember) bool {
	return m.inStream() && m.busy && m.with.Place.Less(o.cfg.Place) && now.Sub(m.busyAt) >= stuckFor
}

// listens reports whether an attempt goes on, to learn whether only members
// that are stuck are in the way.
func (o *Origin) listens(now time.Time) bool {
	return !o.cfg.AllOrNone && now.Sub(o.since) < listenFor &&
		o.count(func(m *originMember) bool { return o.stuck(now, m) }) > 0
}

// setAside takes out the members that are stuck, if all others have granted
// their locks. They are served later, if the push parks at all. It reports
// whether the attempt has ended.
func (o *Origin) setAside(now time.Time) bool {
	stuck := o.count(func(m *originMember) bool { return o.stuck(now, m) })
	if stuck == 0 || o.cfg.AllOrNone {
		return false
	}
	locked := o.count(func(m *originMember) bool { return m.inStream() && m.locked })
	if locked == 0 || locked+stuck < o.count((*originMember).inStream) {
		if now.Sub(o.since) >= listenFor {
			o.busy(now, o.blocker)
			return o.state != originLocking
		}
		return false
	}
	for i, m := range o.members {
		if !o.stuck(now, m) {
			continue
		}
		why := fmt.Sprintf("it was still busy with push %s of %s", m.with.ID, m.with.Name)
		m.busy = false
		if o.cfg.Park {
			o.park(now, i, why)
		} else {
			o.out(now, i, MemberFailed, why+" when the others were ready; it is behind")
		}
	}
	return false
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
