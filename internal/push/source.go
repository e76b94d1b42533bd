package push

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"

	"makuo/internal/push/order"
	"makuo/internal/tree"
	"makuo/protocol"
	"makuo/transfer"
)

// source is the origin's disk side of one push: a goroutine that scans and one
// that reads wanted files. Both hand blocks to the loop through channels, so
// that a full window holds them back.
type source struct {
	module  *tree.Module
	header  *protocol.PushHeader
	filter  *tree.Filter
	content int // bytes of content of a full data block
	room    int // bytes of content that any block holds
	problem func(path, text string, warning bool)
	unsent  func(path string) // the content of a wanted file goes to nobody
	wake    func()

	scanned chan scanItem
	read    chan readItem
	jobs    *queue[readJob]
	spool   *spool
	linked  tree.LinkedFiles
	decides *order.Entries // what the push decides; nil: all that is at or below its paths

	entries atomic.Uint64 // scanned
	ahead   atomic.Bool   // of the wire, see aheadTime
	late    string        // whom a late push serves; it is empty in others
}

// aheadTime is how long the wire is to be busy with what is read already for
// further blocks to be compressed. If it is less, reading and compressing can't
// keep up with the wire: the content goes as it is, which fills the wire sooner.
// So as much is compressed as the processor has time for.
const aheadTime = 30 * time.Millisecond

// pace says how many encoded bytes wait for a wire of that rate (bytes a second).
func (s *source) pace(unsent, rate int64) {
	s.ahead.Store(float64(unsent) >= float64(rate)*aheadTime.Seconds())
}

// scanItem is a batch, or the end of the scan.
type scanItem struct {
	batch  *protocol.Batch
	block  transfer.Block
	end    bool
	digest uint64
	err    error
}

// readJob asks for the wanted entries of a batch; a job without batch says
// that it was the last.
type readJob struct {
	batch *protocol.Batch
	data  []byte
}

// readItem is a data block, a batch that is read, or the end.
type readItem struct {
	block     *transfer.Block
	content   uint64 // bytes of files in it
	batchRead bool
	end       bool
	err       error
}

func newSource(m *tree.Module, h *protocol.PushHeader, symbolSize int) (*source, error) {
	f, err := tree.NewFilter(h.Rules)
	if err != nil {
		return nil, err
	}
	k := min((128<<10)/symbolSize, protocol.MaxSymbols)
	return &source{module: m, header: h, filter: f, content: k*symbolSize - transfer.HashLen,
		room:    min(protocol.MaxSymbols*symbolSize, protocol.MaxBlock) - transfer.HashLen,
		scanned: make(chan scanItem, 4), read: make(chan readItem, 8), jobs: newQueue[readJob]()}, nil
}

func (s *source) close() {
	if s.spool != nil {
		s.spool.close()
	}
}

// send hands v over unless the push has ended.
func send[T any](ctx context.Context, c chan<- T, v T) error {
	select {
	case c <- v:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// scan walks the pushed paths and hands out their batches; it ends when the
// walk is over or ctx ends.
func (s *source) scan(ctx context.Context) {
	var digest uint64
	spec := tree.ScanSpec{Header: s.header, Filter: s.filter, Problem: s.problem, Room: s.room}
	s.end(ctx, &digest, s.module.Scan(ctx, spec, func(b *protocol.Batch) error {
		content := b.Append(nil)
		if len(content) > protocol.MaxContent {
			return fmt.Errorf("the manifest batch at %q is %d bytes long, the limit is %d", b.Entries[0].Path, len(content), protocol.MaxContent)
		}
		if s.spool != nil {
			if err := s.spool.addBatch(content); err != nil {
				return spoolError(err)
			}
		}
		return s.batch(ctx, b, content, &digest)
	}))
}

// replay hands out the manifest that the spool holds: the same tree as
// before, for members that were parked.
func (s *source) replay(ctx context.Context) {
	var digest uint64
	var err error
	for n := 0; n < s.spool.count() && err == nil; n++ {
		var b *protocol.Batch
		var content []byte
		if b, content, err = s.spool.batch(n); err == nil {
			err = s.batch(ctx, b, content, &digest)
		}
	}
	s.end(ctx, &digest, err)
}

// batch hands out one batch.
func (s *source) batch(ctx context.Context, b *protocol.Batch, content []byte, digest *uint64) error {
	if s.decides != nil {
		s.decides.AddBatch(b)
	}
	s.linked.AddBatch(b)
	*digest = protocol.ChainDigest(*digest, content)
	kind, enc, err := transfer.EncodeBlock(protocol.BlockManifest, content, takeBytes())
	if err != nil {
		return err
	}
	s.entries.Add(uint64(len(b.Entries)))
	err = send(ctx, s.scanned, scanItem{batch: b, block: transfer.Block{Kind: kind, First: b.First, Count: uint32(len(b.Entries)), Encoded: enc}})
	s.wake()
	return err
}

func (s *source) end(ctx context.Context, digest *uint64, err error) {
	if send(ctx, s.scanned, scanItem{end: true, digest: *digest, err: err}) == nil {
		s.wake()
	}
}

// reader reads wanted files and packs them into blocks until the job without
// batch; files that changed while they were read are tried once more then.
func (s *source) reader(ctx context.Context) {
	p := &packer{s: s, ctx: ctx, scratch: make([]byte, s.content), part: make([]byte, s.content)}
	var again []retry
	for {
		job, ok := s.jobs.take()
		if !ok {
			return
		}
		if job.batch == nil {
			break
		}
		for i := range job.batch.Entries {
			if i/8 >= len(job.data) || job.data[i/8]>>(i%8)&1 == 0 {
				continue
			}
			e := s.linked.Content(&job.batch.Entries[i])
			if e == nil {
				continue
			}
			if n := job.batch.First + uint32(i); p.file(n, e, 0) {
				again = append(again, retry{n, *e})
			}
		}
		if s.jobs.len() == 0 {
			p.flush()
		}
		p.give(readItem{batchRead: true})
	}
	for i := range again {
		p.file(again[i].index, &again[i].entry, 1)
	}
	p.flush()
	p.give(readItem{end: true})
}

type retry struct {
	index uint32
	entry protocol.Entry
}

// packer collects data records into blocks.
type packer struct {
	s       *source
	ctx     context.Context
	buf     []byte
	carried uint64 // bytes of files in buf
	first   uint32
	last    uint32
	scratch []byte // a whole file, or a part of one
	part    []byte // a piece of a whole file
}

func (p *packer) give(it readItem) {
	if send(p.ctx, p.s.read, it) == nil {
		p.s.wake()
	}
}

func (p *packer) flush() {
	if len(p.buf) == 0 {
		return
	}
	encode := transfer.StoreBlock
	if p.s.ahead.Load() {
		encode = transfer.EncodeBlock
	}
	kind, enc, err := encode(protocol.BlockData, p.buf, takeBytes())
	if err != nil {
		p.give(readItem{err: err})
		return
	}
	p.give(readItem{block: &transfer.Block{Kind: kind, First: p.first, Count: p.last - p.first + 1, Encoded: enc}, content: p.carried})
	p.buf, p.carried = p.buf[:0], 0
}

// add appends a record, in a new block if this one has no room.
func (p *packer) add(m *protocol.Piece) {
	if len(p.buf)+protocol.PieceOverhead+len(m.Data) > p.s.content {
		p.flush()
	}
	if len(p.buf) == 0 {
		p.first, p.last = m.Entry, m.Entry
	}
	p.first, p.last = min(p.first, m.Entry), max(p.last, m.Entry)
	p.buf = m.Append(p.buf)
	p.carried += uint64(len(m.Data))
}

// file sends one file; it reports whether the file is to be tried once more.
func (p *packer) file(n uint32, e *protocol.Entry, attempt uint8) (again bool) {
	started, err := p.content(n, e, attempt)
	switch {
	case err == nil:
		return false
	case errors.Is(err, tree.ErrChanged) && attempt == 0:
		if started {
			p.add(&protocol.Piece{Type: protocol.PieceVoid, Entry: n, Attempt: attempt})
		}
		return true
	}
	p.add(&protocol.Piece{Type: protocol.PieceFail, Entry: n})
	p.s.unsent(e.Path)
	switch {
	case errors.Is(err, tree.ErrVanished):
		if p.s.late != "" { // the others have it
			p.s.problem(e.Path, "vanished before it could be sent to "+p.s.late+"; push it again", false)
			return false
		}
		p.s.problem(e.Path, "vanished after the scan; members keep what they have", true)
	case errors.Is(err, tree.ErrChanged):
		p.s.problem(e.Path, "changed while it was read, twice; members keep what they have: push it again", false)
	default:
		p.s.problem(e.Path, err.Error(), false)
	}
	return false
}

// content sends the bytes of one file; started says that records of this
// attempt are on their way.
func (p *packer) content(n uint32, e *protocol.Entry, attempt uint8) (started bool, err error) {
	f, err := p.s.module.Open(e)
	if err != nil {
		return false, err
	}
	defer f.Close()
	room := p.s.content - protocol.PieceOverhead
	if e.Size <= uint64(room) {
		return false, p.whole(f, n, e)
	}
	var hash protocol.FileHash
	var end uint64 // of the last part
	for {
		got, off, err := f.Next(p.scratch[:room])
		if got > 0 {
			started = true
			// A part has a block to itself: its hash is the block's.
			p.flush()
			p.add(&protocol.Piece{Type: protocol.PiecePart, Entry: n, Attempt: attempt, Offset: uint64(off), Hole: uint64(off) - end, Data: p.scratch[:got]})
			hash.Add(uint64(off), xxhash.Sum64(p.buf))
			end = uint64(off) + uint64(got)
			p.flush()
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return started, err
		}
		if p.ctx.Err() != nil {
			return started, p.ctx.Err()
		}
	}
	if err := f.Verify(); err != nil {
		return started, err
	}
	p.add(&protocol.Piece{Type: protocol.PieceEnd, Entry: n, Attempt: attempt, Size: e.Size, Hash: hash.Sum()})
	return true, nil
}

// whole sends a file that fits a record. Holes in it are sent as zeros.
func (p *packer) whole(f *tree.File, n uint32, e *protocol.Entry) error {
	whole := p.scratch[:e.Size]
	clear(whole)
	for done := false; !done; {
		got, off, err := f.Next(p.part)
		if off+int64(got) > int64(len(whole)) {
			return tree.ErrChanged
		}
		copy(whole[off:], p.part[:got])
		if done = errors.Is(err, io.EOF); err != nil && !done {
			return err
		}
	}
	if err := f.Verify(); err != nil {
		return err
	}
	p.add(&protocol.Piece{Type: protocol.PieceWhole, Entry: n, Data: whole})
	return nil
}
