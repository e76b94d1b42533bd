package push

// Stage is where a push stands, for people and scripts.
type Stage uint8

// Stages of a push.
const (
	StageLock   Stage = iota // asking for locks
	StageWait                // another push is in the way
	StageSend                // scan, compare and data, all at once
	StageFlush               // all is sent: members verify and sync
	StageCommit              // the decision is taken: members rename
	StageReport              // results are fetched
	StageAbort               // members are told to discard
)

// Stage returns where the push stands.
func (o *Origin) Stage() Stage {
	switch {
	case o.abort != "":
		return StageAbort
	case o.state <= originYielding && o.told:
		return StageWait
	case o.state <= originYielding:
		return StageLock
	case o.state == originStreaming:
		return StageSend
	case o.state <= originDeciding:
		return StageFlush
	case o.state == originCommitting:
		return StageCommit
	}
	return StageReport
}

// Waiting returns the origin of the push that is in the way, if one is.
func (o *Origin) Waiting() string {
	if o.Stage() == StageWait {
		return o.blocker.Name
	}
	return ""
}
