package protocol

import "encoding/binary"

// Outcome is how a push ended as far as one daemon knows.
type Outcome uint8

// Outcomes.
const (
	OutcomeUnknown   Outcome = 1
	OutcomeCommitted Outcome = 2
	OutcomeAborted   Outcome = 3
	OutcomeRunning   Outcome = 4 // the origin answers: not decided yet
)

// Limits of what an answer tells of newer pushes.
const (
	MaxNewer      = 16
	MaxNewerPaths = 256 // of one push
)

// Query asks all members how a push ended, and what has been decided since in
// its module.
type Query struct {
	Push   PushID
	Order  PushID // its place in the order; zero: Push
	Module string
}

// Place returns the push's place in the order.
func (m *Query) Place() PushID {
	if m.Order.IsZero() {
		return m.Push
	}
	return m.Order
}

// Append appends the body to dst.
func (m *Query) Append(dst []byte) []byte {
	return appendString(m.Order.Append(m.Push.Append(dst)), m.Module)
}

// ParseQuery parses the body.
func ParseQuery(b []byte) (Query, error) {
	r := reader{b: b}
	m := Query{Push: r.pushID(), Order: r.pushID(), Module: r.str(MaxName, "module")}
	if r.err == nil && !ValidName(m.Module) {
		r.fail("module %q", m.Module)
	}
	if err := r.done("query"); err != nil {
		return Query{}, err
	}
	return m, nil
}

// NewerPush is what a push has decided at a member: all that is at or below
// Paths.
type NewerPush struct {
	Place PushID // in the order
	Name  string // of its origin
	Paths []string
}

// Answer answers a Query. Origin is set when the sender is (or was, in an
// earlier session) the push's origin: its word decides. Newer is what pushes
// after that one have decided at the sender since: who commits it leaves those
// paths alone.
type Answer struct {
	Push    PushID
	Outcome Outcome
	Origin  bool
	Newer   []NewerPush
}

// Append appends the body to dst.
func (m *Answer) Append(dst []byte) []byte {
	dst = m.Push.Append(dst)
	dst = append(dst, byte(m.Outcome), boolByte(m.Origin), byte(len(m.Newer)))
	for _, n := range m.Newer {
		dst = appendString(n.Place.Append(dst), n.Name)
		dst = binary.AppendUvarint(dst, uint64(len(n.Paths)))
		for _, p := range n.Paths {
			dst = appendString(dst, p)
		}
	}
	return dst
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
	n := int(r.u8("newer pushes"))
	if r.err == nil && n > MaxNewer {
		r.fail("%d newer pushes", n)
	}
	for range n {
		if r.err != nil {
			break
		}
		m.Newer = append(m.Newer, r.newerPush())
	}
	if err := r.done("answer"); err != nil {
		return Answer{}, err
	}
	return m, nil
}

func (r *reader) newerPush() NewerPush {
	p := NewerPush{Place: r.pushID(), Name: r.str(MaxName, "origin")}
	for range r.count(MaxNewerPaths, 2, "paths") {
		path := r.str(MaxPath, "path")
		if n := len(p.Paths); r.err == nil && (!ValidPath(path) || n > 0 && ComparePaths(p.Paths[n-1], path) >= 0) {
			r.fail("path %q", path)
		}
		p.Paths = append(p.Paths, path)
	}
	if r.err == nil && (!ValidName(p.Name) || len(p.Paths) == 0) {
		r.fail("newer push of %q with %d paths", p.Name, len(p.Paths))
	}
	return p
}
