package protocol

// Outcome is how a push ended as far as one daemon knows.
type Outcome uint8

// Outcomes.
const (
	OutcomeUnknown   Outcome = 1
	OutcomeCommitted Outcome = 2
	OutcomeAborted   Outcome = 3
	OutcomeRunning   Outcome = 4 // the origin answers: not decided yet
)

// Query asks all members how a push ended.
type Query struct{ Push PushID }

// Append appends the body to dst.
func (m *Query) Append(dst []byte) []byte { return m.Push.Append(dst) }

// ParseQuery parses the body.
func ParseQuery(b []byte) (Query, error) {
	r := reader{b: b}
	m := Query{Push: r.pushID()}
	if err := r.done("query"); err != nil {
		return Query{}, err
	}
	return m, nil
}

// Answer answers a Query. Origin is set when the sender is (or was, in an
// earlier session) the push's origin: its word decides.
type Answer struct {
	Push    PushID
	Outcome Outcome
	Origin  bool
}

// Append appends the body to dst.
func (m *Answer) Append(dst []byte) []byte {
	dst = m.Push.Append(dst)
	return append(dst, byte(m.Outcome), boolByte(m.Origin))
}

// ParseAnswer parses the body.
func ParseAnswer(b []byte) (Answer, error) {
	r := reader{b: b}
	m := Answer{Push: r.pushID(), Outcome: Outcome(r.u8("outcome"))}
	o := r.u8("origin")
	m.Origin = o == 1
	if r.err == nil && (m.Outcome < OutcomeUnknown || m.Outcome > OutcomeRunning || o > 1) {
		r.fail("outcome %d, origin %d", m.Outcome, o)
	}
	if err := r.done("answer"); err != nil {
		return Answer{}, err
	}
	return m, nil
}
