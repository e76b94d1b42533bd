package protocol

import "encoding/binary"

// DefaultModule is the name of the module that the base directory is.
const DefaultModule = "default"

// Limits of a push header.
const (
	MaxPaths     = 10000 // pushed paths
	MaxRules     = 10000 // filter rules
	MaxPattern   = 4096  // bytes of one pattern
	MaxHeaderLen = 150 << 10
)

// Push options, as bits of PushHeader.Options.
const (
	OptRecursive     uint32 = 1 << iota
	OptDelete               // remove on members what is not at the origin
	OptDryRun               // compare and report, change nothing
	OptChecksum             // compare regular files by content; entries carry Sum
	OptDevices              // carry device nodes
	OptForceEmpty           // an empty source may empty a pushed directory, and a module's root
	OptAllOrNone            // commit only if the whole roster is staged
	OptMaxDelete            // MaxDelete counts
	OptCheck                // --check: a dry run by content
	OptDeleteMissing        // a pushed path that is not at the origin is removed on members
)

const optAll = OptDeleteMissing<<1 - 1

// Rule is one include or exclude pattern with rsync's meaning.
type Rule struct {
	Include bool
	Pattern string
}

// PushHeader is the content of block 0: what is pushed, how, and to whom.
type PushHeader struct {
	Module    string
	Name      string // of the origin
	Options   uint32
	MaxDelete uint64 // with OptMaxDelete: a member that would delete more names deletes none
	Order     PushID // the place in the order of a push that serves parked members: that of the push it completes; zero: the push's own id
	Paths     []string
	Rules     []Rule
	Roster    []Session // a member's index here is its roster index; no session twice
}

// Append appends the content of block 0.
func (m *PushHeader) Append(dst []byte) []byte {
	dst = appendString(dst, m.Module)
	dst = appendString(dst, m.Name)
	dst = binary.BigEndian.AppendUint32(dst, m.Options)
	dst = binary.AppendUvarint(dst, m.MaxDelete)
	dst = m.Order.Append(dst)
	dst = binary.AppendUvarint(dst, uint64(len(m.Paths)))
	for _, p := range m.Paths {
		dst = appendString(dst, p)
	}
	dst = binary.AppendUvarint(dst, uint64(len(m.Rules)))
	for _, p := range m.Rules {
		dst = append(dst, boolByte(p.Include))
		dst = appendString(dst, p.Pattern)
	}
	dst = binary.AppendUvarint(dst, uint64(len(m.Roster)))
	for _, s := range m.Roster {
		dst = binary.BigEndian.AppendUint64(dst, uint64(s))
	}
	return dst
}

// ParsePushHeader parses the content of block 0; nothing aliases the input.
func ParsePushHeader(b []byte) (*PushHeader, error) {
	if len(b) > MaxHeaderLen {
		return nil, malformed("push header of %d bytes", len(b))
	}
	r := reader{b: b}
	m := PushHeader{Module: r.str(MaxName, "module"), Name: r.str(MaxName, "origin"), Options: r.u32("options"),
		MaxDelete: r.uvarint(1<<62, "max-delete"), Order: r.pushID()}
	if r.err == nil && (!ValidName(m.Module) || !ValidName(m.Name)) {
		r.fail("module %q of %q", m.Module, m.Name)
	}
	if r.err == nil && m.Options&^optAll != 0 {
		r.fail("options %#x", m.Options)
	}
	for range r.count(MaxPaths, 2, "paths") {
		p := r.str(MaxPath, "path")
		if r.err == nil && !ValidPath(p) {
			r.fail("path %q", p)
		}
		if n := len(m.Paths); r.err == nil && n > 0 && (ComparePaths(m.Paths[n-1], p) >= 0) {
			r.fail("path %q is out of order", p)
		}
		m.Paths = append(m.Paths, p)
	}
	for range r.count(MaxRules, 2, "rules") {
		inc := r.u8("rule")
		if r.err == nil && inc > 1 {
			r.fail("rule kind %d", inc)
		}
		m.Rules = append(m.Rules, Rule{Include: inc == 1, Pattern: r.str(MaxPattern, "pattern")})
	}
	seen := make(map[Session]bool)
	for range r.count(MaxRoster, 8, "roster") {
		s := Session(r.u64("roster session"))
		if r.err == nil && (s == 0 || seen[s]) {
			r.fail("roster session %x", uint64(s))
		}
		seen[s] = true
		m.Roster = append(m.Roster, s)
	}
	if r.err == nil && len(m.Paths) == 0 {
		r.fail("no paths")
	}
	if err := r.done("push header"); err != nil {
		return nil, err
	}
	return &m, nil
}
