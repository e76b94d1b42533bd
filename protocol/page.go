package protocol

import (
	"encoding/binary"
	"fmt"
)

// PageKind names one of the logs that a member keeps of a push for its origin.
type PageKind uint8

// Kinds of pages.
const (
	PageProblems PageKind = 1 // errors and warnings: Problem records
	PageDeletes  PageKind = 2 // names removed: DeletedPath records
)

// MaxPage is the largest number of bytes of a log in one Page.
const MaxPage = 1200

// Fetch asks a member for a piece of one of its logs. Asking is repeated until
// the piece arrives; a member keeps no state about it.
type Fetch struct {
	Stream uint32
	Kind   PageKind
	Offset uint64 // bytes
	Count  uint8  // pages wanted, 1..32
}

// Append appends the body to dst.
func (m *Fetch) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, m.Stream)
	dst = append(dst, byte(m.Kind))
	dst = binary.BigEndian.AppendUint64(dst, m.Offset)
	return append(dst, m.Count)
}

// ParseFetch parses the body.
func ParseFetch(b []byte) (Fetch, error) {
	r := reader{b: b}
	m := Fetch{Stream: r.u32("stream"), Kind: PageKind(r.u8("kind")), Offset: r.u64("offset"), Count: r.u8("count")}
	if r.err == nil && (m.Kind < PageProblems || m.Kind > PageDeletes) {
		r.fail("page kind %d", m.Kind)
	}
	if r.err == nil && (m.Count == 0 || m.Count > 32) {
		r.fail("%d pages", m.Count)
	}
	if err := r.done("fetch"); err != nil {
		return Fetch{}, err
	}
	return m, nil
}

// Page is a piece of a log.
type Page struct {
	Origin Session // with Stream: the push
	Stream uint32
	Kind   PageKind
	Offset uint64
	Total  uint64 // bytes of the whole log
	Bytes  []byte // alias of the input; empty only when Offset is Total
}

// Append appends the body to dst.
func (m *Page) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(m.Origin))
	dst = binary.BigEndian.AppendUint32(dst, m.Stream)
	dst = append(dst, byte(m.Kind))
	dst = binary.BigEndian.AppendUint64(dst, m.Offset)
	dst = binary.BigEndian.AppendUint64(dst, m.Total)
	return append(dst, m.Bytes...)
}

// ParsePage parses the body.
func ParsePage(b []byte) (Page, error) {
	r := reader{b: b}
	m := Page{Origin: Session(r.u64("origin")), Stream: r.u32("stream"), Kind: PageKind(r.u8("kind")), Offset: r.u64("offset"), Total: r.u64("total")}
	if r.err == nil && (m.Kind < PageProblems || m.Kind > PageDeletes) {
		r.fail("page kind %d", m.Kind)
	}
	if r.err != nil {
		return Page{}, r.done("page")
	}
	m.Bytes = r.b
	if len(m.Bytes) > MaxPage || m.Offset > m.Total || uint64(len(m.Bytes)) > m.Total-m.Offset || (len(m.Bytes) == 0 && m.Offset != m.Total) {
		r.fail("%d bytes at %d of %d", len(m.Bytes), m.Offset, m.Total)
		return Page{}, r.done("page")
	}
	return m, nil
}

// Problem is one path that a member could not bring to the pushed state, or a
// warning about one.
type Problem struct {
	Warning bool
	Path    string // may be empty: the member as a whole
	Text    string // what and why, at most MaxText bytes
}

// Append appends the record to dst.
func (m *Problem) Append(dst []byte) []byte {
	dst = append(dst, boolByte(m.Warning))
	dst = appendString(dst, m.Path)
	return appendString(dst, m.Text)
}

// ParseProblem takes one record off b and returns the rest. When b ends inside
// the record, ok is false and rest is b: more bytes may complete it. An error
// means that none can.
func ParseProblem(b []byte) (m Problem, rest []byte, ok bool, err error) {
	r := reader{b: b}
	w := r.u8("warning")
	if w > 1 {
		r.fail("warning is %d", w)
	}
	m = Problem{Warning: w == 1, Path: r.str(MaxPath, "path"), Text: r.str(MaxText, "text")}
	switch {
	case r.short:
		return Problem{}, b, false, nil
	case r.err != nil:
		return Problem{}, nil, false, fmt.Errorf("problem: %w", r.err)
	}
	return m, r.b, true, nil
}

// DeletedPath is one name that a member removed (or would remove).
type DeletedPath struct{ Path string }

// Append appends the record to dst.
func (m *DeletedPath) Append(dst []byte) []byte { return appendString(dst, m.Path) }

// ParseDeletedPath takes one record off b; ok is false when b ends inside one
// or holds none. It is malformed when ok is false with MaxPath+2 bytes or at
// the end of the log.
func ParseDeletedPath(b []byte) (m DeletedPath, rest []byte, ok bool) {
	r := reader{b: b}
	m.Path = r.str(MaxPath, "path")
	if r.err != nil {
		return DeletedPath{}, b, false
	}
	return m, r.b, true
}
