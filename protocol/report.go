package protocol

import (
	"encoding/binary"
	"time"
)

// Records are what a member tells its push's origin once: they are numbered
// from 0 in each push, and repeated until a State shows that they were heard.
type RecordType uint8

// Types of records.
const (
	RecordLocked  RecordType = 1 // the lock is held for Attempt
	RecordBusy    RecordType = 2 // another push holds an overlapping lock
	RecordRefused RecordType = 3 // this member takes no part: Text says why
	RecordWant    RecordType = 4 // answer to one batch
	RecordStaged  RecordType = 5 // all is on disk, ready to commit
	RecordFailed  RecordType = 6 // this member gives up: Text says why
	RecordDone    RecordType = 7 // committed (or, on a dry run, compared)
	RecordYielded RecordType = 8 // the lock for Attempt was given back
)

// MaxBatch is the largest number of entries in a manifest batch.
const MaxBatch = 1024

// Record is one record of a report; which fields count depends on Type.
type Record struct {
	Type    RecordType
	Attempt uint8         // Locked, Busy, Yielded
	Holder  PushID        // Busy
	Name    string        // Busy: the holder's origin; MaxName bytes
	Text    string        // Refused, Failed: what, where, why; MaxText bytes
	Batch   uint32        // Want
	Data    []byte        // Want: bit i: entry i of the batch needs content; at most MaxBatch/8 bytes
	Change  []byte        // Want: bit i: entry i will be made or changed; superset of Data
	Digest  uint64        // Staged: of the manifest as this member got it
	Counts  Counts        // Staged, Done
	Took    time.Duration // Done: length of the member's own renames, microseconds on the wire
}

// Counts are a member's totals in one push.
type Counts struct {
	Changed  uint64 // entries made or changed
	Deleted  uint64 // names removed
	Errors   uint64 // paths in error
	Warnings uint64
	Bytes    uint64 // bytes of content wanted
}

// Report carries records First, First+1, ...
type Report struct {
	Origin  Session // with Stream: the push
	Stream  uint32
	First   uint32
	Records []Record
}

// MaxRecords is the largest number of records in one report.
const MaxRecords = 300

// ReportFixed is the length of a Report body without records.
const ReportFixed = 16

// Append appends the body to dst.
func (m *Report) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(m.Origin))
	dst = binary.BigEndian.AppendUint32(dst, m.Stream)
	dst = binary.BigEndian.AppendUint32(dst, m.First)
	for i := range m.Records {
		dst = m.Records[i].Append(dst)
	}
	return dst
}

// Append appends one record to dst.
func (m *Record) Append(dst []byte) []byte {
	dst = append(dst, byte(m.Type))
	switch m.Type {
	case RecordLocked, RecordYielded:
		dst = append(dst, m.Attempt)
	case RecordBusy:
		dst = append(dst, m.Attempt)
		dst = m.Holder.Append(dst)
		dst = appendString(dst, m.Name)
	case RecordRefused, RecordFailed:
		dst = appendString(dst, m.Text)
	case RecordWant:
		dst = binary.AppendUvarint(dst, uint64(m.Batch))
		dst = appendBits(dst, m.Data)
		dst = appendBits(dst, m.Change)
	case RecordStaged:
		dst = binary.BigEndian.AppendUint64(dst, m.Digest)
		dst = m.Counts.append(dst)
	case RecordDone:
		dst = m.Counts.append(dst)
		dst = binary.BigEndian.AppendUint32(dst, micros(m.Took))
	}
	return dst
}

// appendBits writes a bit set without its trailing zero bytes.
func appendBits(dst, p []byte) []byte {
	for len(p) > 0 && p[len(p)-1] == 0 {
		p = p[:len(p)-1]
	}
	return appendBytes(dst, p)
}

func (r *reader) bits(what string) []byte {
	p := r.bytes(MaxBatch/8, what)
	if r.err == nil && len(p) > 0 && p[len(p)-1] == 0 {
		r.fail("%s: ends in a zero byte", what)
	}
	return append([]byte(nil), p...)
}

func (c *Counts) append(dst []byte) []byte {
	for _, v := range [...]uint64{c.Changed, c.Deleted, c.Errors, c.Warnings, c.Bytes} {
		dst = binary.AppendUvarint(dst, v)
	}
	return dst
}

func (r *reader) counts() Counts {
	const top = 1 << 62
	return Counts{Changed: r.uvarint(top, "changed"), Deleted: r.uvarint(top, "deleted"), Errors: r.uvarint(top, "errors"),
		Warnings: r.uvarint(top, "warnings"), Bytes: r.uvarint(top, "bytes")}
}

// ParseReport parses the body; nothing aliases the input.
func ParseReport(b []byte) (Report, error) {
	r := reader{b: b}
	m := Report{Origin: Session(r.u64("origin")), Stream: r.u32("stream"), First: r.u32("first record")}
	for r.err == nil && len(r.b) > 0 {
		if len(m.Records) == MaxRecords {
			r.fail("more than %d records", MaxRecords)
			break
		}
		m.Records = append(m.Records, r.record())
	}
	if err := r.done("report"); err != nil {
		return Report{}, err
	}
	return m, nil
}

func (r *reader) record() Record {
	m := Record{Type: RecordType(r.u8("record type"))}
	switch m.Type {
	case RecordLocked, RecordYielded:
		m.Attempt = r.u8("attempt")
	case RecordBusy:
		m.Attempt = r.u8("attempt")
		m.Holder = r.pushID()
		m.Name = r.str(MaxName, "holder")
	case RecordRefused, RecordFailed:
		m.Text = r.str(MaxText, "text")
	case RecordWant:
		m.Batch = uint32(r.uvarint(1<<32-1, "batch"))
		m.Data = r.bits("data bits")
		m.Change = r.bits("change bits")
	case RecordStaged:
		m.Digest = r.u64("digest")
		m.Counts = r.counts()
	case RecordDone:
		m.Counts = r.counts()
		m.Took = time.Duration(r.u32("took")) * time.Microsecond
	default:
		r.fail("record type %d", m.Type)
	}
	return m
}
