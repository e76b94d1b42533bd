package tree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"makuo/protocol"
)

// The plan is the journal of what one push does at one member: steps in the
// order of the manifest, each with its length and checksum, appended while the
// member compares and read in sequence by every later phase. It is never in
// memory as a whole, and what is not complete at its end never happened.
//
//	magic | step*
//	step: length (4) crc32c (4) | op (1) flags (1) entry, top, keep: uvarint | path | identities | rest
//
// The first step is the header; hold steps and a staged step close a plan that
// may be committed.
const planMagic = "makuo plan 2\n"

// planFixed is the length of a step's frame.
const planFixed = 8

// maxStep bounds one step: a push header is the longest.
const maxStep = protocol.MaxHeaderLen + 8<<10

type stepOp uint8

const (
	opHeader  stepOp = 1  // rest: planHeader
	opTree    stepOp = 2  // a wholly new directory, staged as a directory under its entry number
	opFile    stepOp = 3  // a new or replaced regular file
	opNode    stepOp = 4  // a new or replaced symbolic link, fifo or device
	opLink    stepOp = 5  // a further name of a file
	opAttr    stepOp = 6  // attributes of what is there; not a directory
	opDirAttr stepOp = 7  // attributes of a directory, after everything in it
	opDelete  stepOp = 8  // one name that goes; contents come before their directory
	opGone    stepOp = 9  // one name that goes with the directory that entry replaces
	opHold    stepOp = 10 // a directory in which an entry had an error: delete nothing from it
	opStaged  stepOp = 11 // everything before is on disk. rest: digest (8), options of commit, counts
)

// Flags of a step.
const (
	stepExists  uint8 = 1 << iota // the name is taken by something that is replaced
	stepWasDir                    // ... which is a directory: the contents go
	stepInTree                    // lies in the new directory top, and comes with it
	stepTop                       // opDirAttr of a new directory itself
	stepTouched                   // opDirAttr: only the time, which our own changes moved
	stepLate                      // setuid or setgid, set just before the rename
	stepDir                       // opDelete: is a directory
	stepPlain                     // opDirAttr of a new directory: no file in it has extended attributes
)

// stepSymlink marks the opNode of a symbolic link.
const stepSymlink = stepDir

// step is one record of a plan.
type step struct {
	op    stepOp
	flags uint8
	entry uint32 // number in the manifest
	top   uint32 // with stepInTree: entry of the new directory it lies in
	keep  int    // with stepInTree: length of top's path; opDelete: length of the path of the directory it goes from
	path  string
	dir   ident  // of the directory whose name it changes, as it was when that was judged
	was   ident  // of what is changed, replaced or deleted; opDirAttr of a new directory: of that
	at    int64  // where it begins in the plan; not written
	rest  []byte // valid until the next read
}

func (s *step) has(f uint8) bool { return s.flags&f != 0 }

// parent returns the path of the directory that s deletes from.
func (s *step) deletesFrom() string {
	if s.keep == 0 {
		return "."
	}
	return s.path[:s.keep]
}

// appendEntry codes an entry as a batch of one.
func appendEntry(dst []byte, n uint32, e *protocol.Entry) []byte {
	b := protocol.Batch{First: n, Entries: []protocol.Entry{*e}}
	return b.Append(dst)
}

// manifestEntry returns the entry that s carries.
func (s *step) manifestEntry() (*protocol.Entry, error) {
	b, err := protocol.ParseBatch(s.rest)
	if err != nil {
		return nil, fmt.Errorf("plan: entry %d %q: %w", s.entry, s.path, err)
	}
	return &b.Entries[0], nil
}

var crcTable = crc32.MakeTable(crc32.Castagnoli)

func (s *step) append(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, planFixed)...)
	dst = append(dst, byte(s.op), s.flags)
	dst = binary.AppendUvarint(dst, uint64(s.entry))
	dst = binary.AppendUvarint(dst, uint64(s.top))
	dst = binary.AppendUvarint(dst, uint64(s.keep))
	dst = binary.AppendUvarint(dst, uint64(len(s.path)))
	dst = append(dst, s.path...)
	dst = appendIdents(dst, &s.dir, &s.was)
	dst = append(dst, s.rest...)
	body := dst[start+planFixed:]
	binary.BigEndian.PutUint32(dst[start:], uint32(len(body)))
	binary.BigEndian.PutUint32(dst[start+4:], crc32.Checksum(body, crcTable))
	return dst
}

var errStep = errors.New("plan: a step is damaged")

// parseStep takes one step off b. It returns io.ErrUnexpectedEOF if b ends
// inside it. The step aliases b but for its path.
func parseStep(b []byte) (s step, n int, err error) {
	if len(b) < planFixed {
		return step{}, 0, io.ErrUnexpectedEOF
	}
	size := int(binary.BigEndian.Uint32(b))
	if size < 6 || size > maxStep {
		return step{}, 0, errStep
	}
	if len(b)-planFixed < size {
		return step{}, 0, io.ErrUnexpectedEOF
	}
	body := b[planFixed : planFixed+size]
	if crc32.Checksum(body, crcTable) != binary.BigEndian.Uint32(b[4:]) {
		return step{}, 0, errStep
	}
	s.op, s.flags = stepOp(body[0]), body[1]
	rest := body[2:]
	var v [4]uint64
	for i := range v {
		x, k := binary.Uvarint(rest)
		if k <= 0 {
			return step{}, 0, errStep
		}
		v[i], rest = x, rest[k:]
	}
	if v[0] > 1<<32-1 || v[1] > 1<<32-1 || v[3] > uint64(len(rest)) || v[2] > v[3] {
		return step{}, 0, errStep
	}
	s.entry, s.top, s.keep = uint32(v[0]), uint32(v[1]), int(v[2])
	s.path = string(rest[:v[3]])
	if s.rest, err = parseIdents(rest[v[3]:], &s.dir, &s.was); err != nil {
		return step{}, 0, err
	}
	if s.path != "" && !protocol.ValidPath(s.path) {
		return step{}, 0, errStep
	}
	return s, planFixed + size, nil
}

// plan is an open plan file.
type plan struct {
	f    *os.File
	buf  []byte // not yet written
	size int64  // written
}

func newPlan(f *os.File) *plan { return &plan{f: f, buf: []byte(planMagic)} }

// add appends s and returns its offset.
func (p *plan) add(s *step) (off int64, err error) {
	off = p.size + int64(len(p.buf))
	p.buf = s.append(p.buf)
	if len(p.buf) >= 256<<10 {
		err = p.flush()
	}
	return off, err
}

func (p *plan) flush() error {
	if len(p.buf) == 0 {
		return nil
	}
	if _, err := p.f.WriteAt(p.buf, p.size); err != nil {
		return err
	}
	p.size += int64(len(p.buf))
	p.buf = p.buf[:0]
	return nil
}

// planReader reads steps, in sequence or near each other.
type planReader struct {
	f    *os.File
	buf  []byte
	data []byte // of the file, what was read last
	have []byte // of it, from off on
	off  int64
}

func newPlanReader(f *os.File) *planReader {
	return &planReader{f: f, off: int64(len(planMagic))}
}

const planWindow = 64 << 10

// next returns the next step, io.EOF after the last whole one.
func (r *planReader) next() (step, error) {
	s, n, err := parseStep(r.have)
	if err == io.ErrUnexpectedEOF {
		if err = r.fill(r.off); err != nil {
			return step{}, err
		}
		s, n, err = parseStep(r.have)
	}
	if err != nil {
		return step{}, err
	}
	s.at = r.off
	r.have, r.off = r.have[n:], r.off+int64(n)
	return s, nil
}

// at returns the step at off.
func (r *planReader) at(off int64) (step, error) {
	// The same step is asked for again and again for the names of one file.
	if d := off - r.off + int64(len(r.data)-len(r.have)); d >= 0 && d <= int64(len(r.data)) {
		r.have, r.off = r.data[d:], off
	} else {
		r.data, r.have, r.off = nil, nil, off
	}
	return r.next()
}

// fill reads from off on: a window, or the whole of a longer step.
func (r *planReader) fill(off int64) error {
	want := planWindow
	if len(r.have) >= planFixed {
		want = max(want, planFixed+int(binary.BigEndian.Uint32(r.have)))
	}
	r.data, r.have, r.off = nil, nil, off // nothing is left of them if reading fails
	for {
		if cap(r.buf) < want {
			r.buf = make([]byte, want)
		}
		n, err := r.f.ReadAt(r.buf[:want], off)
		if err != nil && err != io.EOF {
			return err
		}
		r.data, r.have = r.buf[:n], r.buf[:n]
		if n < planFixed {
			return io.EOF
		}
		size := planFixed + int(binary.BigEndian.Uint32(r.have))
		if size <= n || size > maxStep {
			return nil
		}
		if n < want { // ends inside the step: it was never completely written
			return io.EOF
		}
		want = size
	}
}

// planHeader is what a plan says about its push.
type planHeader struct {
	id     protocol.PushID
	boot   string // of the kernel that wrote it
	header *protocol.PushHeader
}

func (h *planHeader) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.id.Start))
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.id.Origin))
	dst = append(dst, byte(len(h.boot)))
	dst = append(dst, h.boot...)
	return h.header.Append(dst)
}

func parsePlanHeader(b []byte) (h planHeader, err error) {
	if len(b) < 17 || len(b) < 17+int(b[16]) {
		return h, errStep
	}
	h.id.Start = int64(binary.BigEndian.Uint64(b))
	h.id.Origin = protocol.Session(binary.BigEndian.Uint64(b[8:]))
	h.boot = string(b[17 : 17+int(b[16])])
	h.header, err = protocol.ParsePushHeader(b[17+int(b[16]):])
	return h, err
}

// planStaged is the last step of a plan that may be committed.
type planStaged struct {
	digest   uint64
	noDelete bool
	counts   protocol.Counts
}

func (p *planStaged) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, p.digest)
	no := byte(0)
	if p.noDelete {
		no = 1
	}
	dst = append(dst, no)
	c := &p.counts
	for _, v := range [...]uint64{c.Changed, c.Deleted, c.Errors, c.Warnings, c.Bytes} {
		dst = binary.BigEndian.AppendUint64(dst, v)
	}
	return dst
}

func parsePlanStaged(b []byte) (p planStaged, err error) {
	if len(b) != 9+5*8 {
		return p, errStep
	}
	p.digest, p.noDelete = binary.BigEndian.Uint64(b), b[8] == 1
	for i, v := range [...]*uint64{&p.counts.Changed, &p.counts.Deleted, &p.counts.Errors, &p.counts.Warnings, &p.counts.Bytes} {
		*v = binary.BigEndian.Uint64(b[9+8*i:])
	}
	return p, nil
}

// openPlan checks the magic and reads the header. What is damaged is errStep.
func openPlan(f *os.File) (h planHeader, r *planReader, err error) {
	b := make([]byte, len(planMagic))
	if _, err := f.ReadAt(b, 0); err != nil && err != io.EOF {
		return h, nil, err
	}
	if string(b) != planMagic {
		return h, nil, fmt.Errorf("%w: the file is no plan of this version", errStep)
	}
	r = newPlanReader(f)
	s, err := r.next()
	if err == io.EOF {
		err = errStep
	}
	if err != nil {
		return h, nil, err
	}
	if s.op != opHeader {
		return h, nil, errStep
	}
	if h, err = parsePlanHeader(s.rest); err != nil {
		return h, nil, fmt.Errorf("%w: header: %w", errStep, err)
	}
	return h, r, nil
}
