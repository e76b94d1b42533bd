package tree

import (
	"fmt"
	"os"
	"slices"
	"sort"
	"sync"

	"makuo/internal/fsroot"
	"makuo/protocol"
)

// maxOpenParts bounds the descriptors held for files that come in parts.
const maxOpenParts = 64

// partFile is a file that comes in parts. It lies beside the staged entries
// under a name of its own until its hash is verified.
type partFile struct {
	mu      sync.Mutex
	f       *os.File // nil: not open now
	made    bool
	gone    bool // done, failed or dropped
	attempt uint8
	written int64 // bytes

	// Parts name what lies before them. Those that follow each other from the
	// beginning are in the hash and forgotten, so that memory does not grow with
	// the file: only what came too early is kept, which the window bounds.
	hash  protocol.FileHash
	upTo  uint64 // hash covers the file to here
	early []part // by offset
	end   *protocol.Piece
}

// part is one that came before what precedes it.
type part struct {
	from, off, end uint64 // a hole to off, content to end
	hash           uint64
}

// add takes a part that is written.
func (pf *partFile) add(p part) {
	i := pf.search(p.off)
	pf.early = slices.Insert(pf.early, i, p)
	n := 0
	for ; n < len(pf.early) && pf.early[n].from == pf.upTo; n++ {
		pf.hash.Add(pf.early[n].off, pf.early[n].hash)
		pf.upTo = pf.early[n].end
	}
	pf.early = slices.Delete(pf.early, 0, n)
}

// has reports whether the part at off came before.
func (pf *partFile) has(off uint64) bool {
	i := pf.search(off)
	return off < pf.upTo || i < len(pf.early) && pf.early[i].off == off
}

func (pf *partFile) search(off uint64) int {
	return sort.Search(len(pf.early), func(i int) bool { return pf.early[i].off >= off })
}

func (pf *partFile) closeFile() {
	if pf.f != nil {
		pf.f.Close() // what close could report, fsync and the hash at commit would not show either
		pf.f = nil
	}
}

// partOf returns the record of entry n, new if need be.
func (t *Target) partOf(n uint32) (*partFile, want) {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.wants.find(n)
	if w == nil || w.state != wantOpen {
		return nil, want{}
	}
	pf := t.parts[n]
	if pf == nil {
		pf = new(partFile)
		t.parts[n] = pf
	}
	return pf, *w
}

// part takes a Part, End or Void record. Records of an older attempt are passed
// over, the first of a newer one starts anew.
func (t *Target) part(r *planReader, p *protocol.Piece, blockHash uint64) error {
	pf, w := t.partOf(p.Entry)
	if pf == nil {
		return nil
	}
	pf.mu.Lock()
	defer pf.mu.Unlock()
	attempt := p.Attempt
	if p.Type == protocol.PieceVoid {
		attempt++
		if attempt == 0 { // no attempt follows the last one
			return nil
		}
	}
	if pf.gone || attempt < pf.attempt {
		return nil
	}
	err := t.restart(pf, p.Entry, attempt)
	if err == nil {
		switch p.Type {
		case protocol.PiecePart:
			err = t.writePart(pf, p, blockHash)
		case protocol.PieceEnd:
			end := *p
			end.Data = nil
			pf.end = &end
		}
	}
	if err == nil && !pf.complete() {
		return nil
	}
	s, e, lerr := t.load(r, w)
	if lerr != nil {
		return lerr
	}
	return t.endParts(pf, &s, e, err)
}

func (t *Target) restart(pf *partFile, n uint32, attempt uint8) error {
	if attempt == pf.attempt {
		return nil
	}
	t.stored.Add(-pf.written)
	pf.attempt, pf.written, pf.end = attempt, 0, nil
	pf.hash, pf.upTo, pf.early = protocol.FileHash{}, 0, nil
	if !pf.made {
		return nil
	}
	if err := t.openPart(pf, n); err != nil {
		return err
	}
	return pf.f.Truncate(0)
}

func (t *Target) openPart(pf *partFile, n uint32) (err error) {
	if pf.f != nil {
		return nil
	}
	t.limitOpen(pf)
	if !pf.made {
		pf.f, err = t.stage.dir.Create(partName(n), 0o600)
		pf.made = err == nil
		return err
	}
	pf.f, err = t.stage.dir.OpenWrite(partName(n))
	return err
}

// limitOpen closes other part files while too many are open. Those in use at
// this moment are left alone.
func (t *Target) limitOpen(self *partFile) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.parts) <= maxOpenParts {
		return
	}
	open := 0
	for _, pf := range t.parts {
		if pf == self || !pf.mu.TryLock() {
			continue
		}
		if pf.f != nil {
			if open++; open >= maxOpenParts {
				pf.closeFile()
			}
		}
		pf.mu.Unlock()
	}
}

func (t *Target) writePart(pf *partFile, p *protocol.Piece, blockHash uint64) error {
	if pf.has(p.Offset) {
		return nil // a block that came twice
	}
	if err := t.openPart(pf, p.Entry); err != nil {
		return err
	}
	if _, err := pf.f.WriteAt(p.Data, int64(p.Offset)); err != nil {
		return err
	}
	pf.add(part{from: p.Offset - p.Hole, off: p.Offset, end: p.Offset + uint64(len(p.Data)), hash: blockHash})
	pf.written += int64(len(p.Data))
	t.stored.Add(int64(len(p.Data)))
	return nil
}

// complete reports whether the end is known and all parts before it are here.
func (pf *partFile) complete() bool {
	return pf.end != nil && len(pf.early) == 0 && pf.hash.Sum() == pf.end.Hash
}

// endParts makes a complete file a staged one, or a failed one with err.
func (t *Target) endParts(pf *partFile, s *step, e *protocol.Entry, err error) error {
	if _, ok := t.claim(s.entry); !ok {
		return nil
	}
	if err == nil {
		err = t.finishParts(pf, s, e)
	}
	pf.gone = true
	pf.closeFile()
	t.mu.Lock()
	delete(t.parts, s.entry)
	t.mu.Unlock()
	if err != nil && pf.made {
		err = join(err, absentOK(t.stage.dir.Remove(partName(s.entry))))
	}
	return t.settle(s.entry, e.Path, err)
}

func (t *Target) finishParts(pf *partFile, s *step, e *protocol.Entry) error {
	if pf.end.Size != e.Size {
		return fmt.Errorf("%d bytes came where the manifest says %d", pf.end.Size, e.Size)
	}
	if pf.upTo > e.Size {
		return fmt.Errorf("a part ends at %d, behind the end at %d", pf.upTo, e.Size)
	}
	if err := t.openPart(pf, s.entry); err != nil {
		return err
	}
	// What no part covers, at the end too, is a hole.
	if err := pf.f.Truncate(int64(e.Size)); err != nil {
		return err
	}
	dress := func(fd int) error { return t.dress(fd, 0o600&^fsroot.Umask(), s, e) }
	if err := fsroot.WithFD(pf.f, "set the attributes of", dress); err != nil {
		return err
	}
	d, name, err := t.stage.place(s)
	if err != nil {
		return err
	}
	defer d.Close()
	return t.stage.dir.Rename(partName(s.entry), d, name)
}
