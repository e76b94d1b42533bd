package push

import (
	"time"

	"go.uber.org/zap"

	"makuo/internal/push/order"
	"makuo/protocol"
)

// commitAgain is how often a decision that arrived late looks whether the newer
// push on its paths is over.
const commitAgain = 50 * time.Millisecond

// decideHere notes what a push is about to decide here, and what newer ones
// have decided elsewhere while this host was away: of these it has nothing, and
// nothing older may take their place.
func decideHere(h *order.History, l order.Layer, newer []protocol.NewerPush) error {
	for _, n := range newer {
		if err := h.Heard(order.Layer{Place: n.Place, Name: n.Name, Paths: n.Paths, Whole: true}); err != nil {
			return err
		}
	}
	return h.Decide(l)
}

// decide commits on the disk.
func (r *memberRun) decide(newer []protocol.NewerPush) (protocol.Counts, time.Duration, error) {
	h := r.mgr.cfg.Order.Module(r.m.header.Module)
	layer := order.Of(r.m.id, r.m.header, r.decides)
	if err := decideHere(h, layer, newer); err != nil {
		return protocol.Counts{}, 0, err
	}
	counts, took, err := r.target.Commit()
	if err == nil {
		r.mgr.tidy(h, layer.Place)
	}
	return counts, took, err
}

// tidy shortens a history; what can't be shortened is only longer.
func (m *Manager) tidy(h *order.History, place protocol.PushID) {
	if err := h.Tidy(place); err != nil {
		m.log.Warn("could not shorten the record of what pushes have decided", zap.Error(err))
	}
}

// agreed notes what a push has decided that changed nothing here.
func (r *memberRun) agreed() {
	if r.failed != nil || r.target == nil {
		return
	}
	header := r.m.header
	h := r.mgr.cfg.Order.Module(header.Module)
	l := order.Of(r.m.id, header, r.decides)
	if err := h.Decide(l); err != nil {
		r.mgr.log.Warn("could not note what a push has decided", zap.Error(err))
		return
	}
	r.mgr.tidy(h, l.Place)
}

// answersWith returns what has been decided here after the push of a query, in
// what one packet holds.
func (m *Manager) answersWith(q *protocol.Query) []protocol.NewerPush {
	h := m.cfg.Order.Module(q.Module)
	return h.Since(q.Place(), h.Paths(q.Place()), min(maxNewerBytes, m.cfg.Wire.Payload()-answerFixed))
}

// The bytes of an answer's paths, and what else it may hold.
const (
	maxNewerBytes = 1000
	answerFixed   = protocol.PrefixLen + protocol.CheckLen + 32 + protocol.MaxNewer
)

// behind says in the log that a push is committed here without what newer ones
// have decided elsewhere.
func (m *Manager) behind(id protocol.PushID, newer []protocol.NewerPush) {
	for _, n := range newer {
		m.log.Warn("this host is behind: a newer push passed while it was away; its paths are left as they are",
			zap.Stringer("push", id), zap.Stringer("newer", n.Place), zap.String("origin", n.Name), zap.Strings("paths", n.Paths))
	}
}

// noteOrder notes what a push of ours has decided: this host has it, and
// nothing older may take its place here either.
func (r *run) noteOrder() error {
	h := r.mgr.cfg.Order.Module(r.req.Header.Module)
	l := order.Of(r.o.cfg.ID, &r.req.Header, r.src.decides)
	err := h.Decide(l)
	if err == nil {
		r.mgr.tidy(h, l.Place)
	}
	return err
}

// agreed reports whether the push has ended without a decision because all
// members had what it decides.
func (o *Origin) agreed() bool {
	return o.abort == "" && !o.cfg.DryRun && o.commitAt.IsZero()
}
