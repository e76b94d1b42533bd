package push

import (
	"slices"

	"makuo/protocol"
)

// A push that ends here gives its lock back at once, and its disk may still be
// at work: what is complete is kept for the next push of the same content. That
// one often follows at once, such as the push that serves a parked member, and
// waits until it can be found.

// handle deals with what the machine has told.
func (r *memberRun) handle() {
	for {
		events := r.m.Events()
		if len(events) == 0 {
			return
		}
		for _, e := range events {
			r.event(e)
		}
	}
}

// drain remembers a run that is over until its disk work is done.
func (m *Manager) drain(r *memberRun) {
	m.draining = slices.DeleteFunc(m.draining, (*memberRun).drained)
	if r.m.header != nil {
		m.draining = append(m.draining, r)
	}
}

func (r *memberRun) drained() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// endings returns what a push of h has to wait for before it looks at the disk:
// the ends of pushes that had its paths before.
func (m *Manager) endings(r *memberRun, h *protocol.PushHeader) []<-chan struct{} {
	var all []<-chan struct{}
	for _, x := range m.members {
		if x == r || x.m.state != finished || !x.concerns(h) {
			continue
		}
		x.handle()
		discarded := make(chan struct{})
		x.jobs.put(func() { close(discarded) })
		if x.m.state == finished { // else its queue is closed, and it drains
			all = append(all, discarded)
		}
	}
	for _, x := range m.draining {
		if x != r && x.concerns(h) {
			all = append(all, x.done)
		}
	}
	return all
}

func (r *memberRun) concerns(h *protocol.PushHeader) bool {
	own := r.m.header
	return own != nil && own.Module == h.Module && overlap(ordered(own.Paths), ordered(h.Paths))
}
