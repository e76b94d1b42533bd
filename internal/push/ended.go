package push

import (
	"fmt"
	"slices"
	"strings"

	"go.uber.org/zap"

	"makuo/internal/push/journal"
	"makuo/protocol"
)

// tellEnd logs how a push ended at this member, and keeps it for the status.
func (m *Manager) tellEnd(r *memberRun, outcome string) {
	h := r.m.Header()
	if h == nil || !slices.Contains(h.Roster, m.cfg.Self) {
		return
	}
	counts, failed := r.m.ended()
	fields := []zap.Field{zap.Stringer("push", r.m.ID()), zap.String("origin", h.Name), zap.String("module", h.Module),
		zap.String("outcome", r.words(outcome)), zap.Bool("dry_run", h.Options&protocol.OptDryRun != 0), zap.Uint64("changed", counts.Changed),
		zap.Uint64("deleted", counts.Deleted), zap.Uint64("errors", counts.Errors), zap.Uint64("warnings", counts.Warnings),
		zap.Uint64("bytes", counts.Bytes)}
	if failed == "" && counts.Errors == 0 && (outcome == "done" || outcome == "aborted") {
		m.log.Info("push ended here", fields...)
	} else {
		m.log.Warn("push failed here", fields...)
	}
	if h.Options&protocol.OptDryRun != 0 || failed == "" && outcome != "done" {
		return // nothing was to be done, or it was called off
	}
	if failed == "" && m.cfg.Store.Last(h.Module).Ended.ID == r.m.ID() {
		return // noted at its commit
	}
	m.cfg.Store.Ended(h.Module, journal.LastPush{ID: r.m.ID(), Origin: h.Name, At: m.now, Errors: counts.Errors, Failed: failed,
		Unchanged: r.m.final.Type != protocol.RecordDone}, m.noted)
}

// ended returns what the push did at this member, and why it failed, "" if it
// did not as a whole.
func (m *Member) ended() (c protocol.Counts, failed string) {
	switch m.final.Type {
	case protocol.RecordDone:
		return m.final.Counts, ""
	case protocol.RecordFailed:
		return protocol.Counts{Errors: m.counts.Errors}, m.final.Text
	}
	return m.counts, ""
}

// doneText is the outcome of a push that came to its end here.
func doneText(c protocol.Counts) string {
	switch c.Errors {
	case 0:
		return "done"
	case 1:
		return "failed: 1 path in error"
	}
	return fmt.Sprintf("failed: %d paths in error", c.Errors)
}

// words is an outcome as it is logged.
func (r *memberRun) words(outcome string) string {
	if c, failed := r.m.ended(); outcome == "done" && failed == "" {
		return doneText(c)
	} else if failed != "" && !strings.HasPrefix(outcome, "failed") {
		return "failed: " + failed
	}
	return outcome
}
