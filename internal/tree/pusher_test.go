package tree

import (
	"context"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"

	"makuo/protocol"
)

// pusher pushes from one module to another in one process.
type pusher struct {
	src, dst *Module
	options  uint32
	max      uint64
	paths    []string
	rules    []protocol.Rule
	shuffle  *rand.Rand // order of blocks; nil: as read
	failing  func(e *protocol.Entry) bool
	partSize int
	id       int64
}

type outcome struct {
	data, change []string // paths
	deleted      []string
	problems     []protocol.Problem
	counts       protocol.Counts
	srcProblems  []string
}

func (o *outcome) errors() (list []string) {
	for _, p := range o.problems {
		if !p.Warning {
			list = append(list, p.Path+": "+p.Text)
		}
	}
	return list
}

func openTestModule(t testing.TB, dir string, change ...func(*ModuleConfig)) *Module {
	t.Helper()
	cfg := ModuleConfig{Name: "default", Proof: dir + ".stage", Base: dir, Devices: true}
	for _, f := range change {
		f(&cfg)
	}
	m, err := OpenModule(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func (p *pusher) header(t testing.TB) *protocol.PushHeader {
	t.Helper()
	paths := p.paths
	if paths == nil {
		paths = []string{"."}
	}
	merged, err := MergePaths(paths, p.options&protocol.OptRecursive != 0)
	if err != nil {
		t.Fatal(err)
	}
	return &protocol.PushHeader{Module: "default", Name: "origin", Options: p.options, MaxDelete: p.max, Paths: merged, Rules: p.rules}
}

type blockOfPieces struct {
	pieces []protocol.Piece
	hash   uint64
}

// compare scans and compares, and returns the blocks to store.
func (p *pusher) compare(t testing.TB, tg *Target, h *protocol.PushHeader, o *outcome) (blocks []blockOfPieces, digest uint64) {
	t.Helper()
	filter, err := NewFilter(h.Rules)
	if err != nil {
		t.Fatal(err)
	}
	spec := ScanSpec{Header: h, Filter: filter, Problem: func(path, text string, warning bool) {
		o.srcProblems = append(o.srcProblems, path+": "+text)
	}}
	var linked LinkedFiles
	err = p.src.Scan(context.Background(), spec, func(b *protocol.Batch) error {
		linked.AddBatch(b)
		content := b.Append(nil)
		digest = protocol.ChainDigest(digest, content)
		b, err := protocol.ParseBatch(content)
		if err != nil {
			return err
		}
		data, change, err := tg.Compare(b)
		if err != nil {
			return err
		}
		for i := range b.Entries {
			e := &b.Entries[i]
			if change[i/8]&(1<<(i%8)) != 0 {
				o.change = append(o.change, e.Path)
			}
			if data[i/8]&(1<<(i%8)) != 0 {
				o.data = append(o.data, e.Path)
				blocks = append(blocks, p.read(t, b.First+uint32(i), linked.Content(e))...)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := tg.EndCompare(); err != nil {
		t.Fatal(err)
	}
	return blocks, digest
}

// read makes the blocks of one file.
func (p *pusher) read(t testing.TB, n uint32, e *protocol.Entry) (blocks []blockOfPieces) {
	t.Helper()
	if p.failing != nil && p.failing(e) {
		return []blockOfPieces{{pieces: []protocol.Piece{{Type: protocol.PieceFail, Entry: n}}}}
	}
	if p.options&protocol.OptDryRun != 0 {
		return nil
	}
	f, err := p.src.Open(e)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size := p.partSize
	if size == 0 {
		size = 16 << 10
	}
	var h protocol.FileHash
	end := uint64(0)
	for {
		buf := make([]byte, size)
		k, off, err := f.Next(buf)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if off == 0 && uint64(k) == e.Size {
			return []blockOfPieces{{pieces: []protocol.Piece{{Type: protocol.PieceWhole, Entry: n, Data: buf[:k]}}}}
		}
		sum := xxhash.Sum64(buf[:k])
		h.Add(uint64(off), sum)
		blocks = append(blocks, blockOfPieces{pieces: []protocol.Piece{{Type: protocol.PiecePart, Entry: n, Offset: uint64(off), Hole: uint64(off) - end, Data: buf[:k]}}, hash: sum})
		end = uint64(off) + uint64(k)
	}
	return append(blocks, blockOfPieces{pieces: []protocol.Piece{{Type: protocol.PieceEnd, Entry: n, Size: e.Size, Hash: h.Sum()}}})
}

// stage does everything up to Stage.
func (p *pusher) stage(t testing.TB) (*Target, *outcome) {
	t.Helper()
	p.id++
	o := &outcome{}
	h := p.header(t)
	tg, err := p.dst.Begin(protocol.PushID{Start: time.Now().UnixNano() + p.id, Origin: 7}, h)
	if err != nil {
		t.Fatal(err)
	}
	blocks, digest := p.compare(t, tg, h, o)
	if p.options&protocol.OptDryRun == 0 {
		if p.shuffle != nil {
			p.shuffle.Shuffle(len(blocks), func(i, j int) { blocks[i], blocks[j] = blocks[j], blocks[i] })
		}
		for _, b := range blocks {
			if err := tg.Store(b.pieces, b.hash); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := tg.Stage(digest); err != nil {
			t.Fatal(err)
		}
	}
	return tg, o
}

func (p *pusher) push(t testing.TB) *outcome {
	t.Helper()
	tg, o := p.stage(t)
	if p.options&protocol.OptDryRun == 0 {
		if _, _, err := tg.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	o.collect(t, tg)
	tg.Close()
	return o
}

func (o *outcome) collect(t testing.TB, tg *Target) {
	t.Helper()
	o.counts = tg.Counts()
	b := readWholeLog(t, tg, protocol.PageProblems)
	for len(b) > 0 {
		p, rest, ok, err := protocol.ParseProblem(b)
		if err != nil || !ok {
			t.Fatalf("log of problems: %v", err)
		}
		o.problems, b = append(o.problems, p), rest
	}
	b = readWholeLog(t, tg, protocol.PageDeletes)
	for len(b) > 0 {
		d, rest, ok := protocol.ParseDeletedPath(b)
		if !ok {
			t.Fatal("log of deletions is cut off")
		}
		o.deleted, b = append(o.deleted, d.Path), rest
	}
}

func readWholeLog(t testing.TB, tg *Target, kind protocol.PageKind) []byte {
	t.Helper()
	b := make([]byte, tg.LogSize(kind))
	for off := 0; off < len(b); {
		n, err := tg.ReadLog(kind, b[off:min(off+protocol.MaxPage, len(b))], int64(off))
		if err != nil && err != io.EOF {
			t.Fatal(err)
		}
		off += n
	}
	return b
}
