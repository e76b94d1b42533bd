package push

import "makuo/protocol"

type verdictKind uint8

const (
	verdictNone verdictKind = iota
	verdictCommit
	verdictDiscard
)

// verdict is what one daemon's answer means for a push that is staged here:
// who has committed proves the decision; only the origin can tell that there
// was none. Another member that is staged, or knows nothing, proves nothing.
func verdict(a *protocol.Answer) verdictKind {
	switch {
	case a.Outcome == protocol.OutcomeCommitted:
		return verdictCommit
	case a.Outcome == protocol.OutcomeAborted && a.Origin:
		return verdictDiscard
	}
	return verdictNone
}
