package fsroot

import (
	"cmp"
	"encoding/binary"
	"slices"
	"sync"
	"unsafe"
)

// Names are the names of one directory, sorted bytewise, each once.
//
// They lie in chunks of an arena, as (type, length, bytes), with four bytes of
// order for each: a million names of 20 bytes take 26 MB, and nothing is moved
// while they are read.
type Names struct {
	chunks [][]byte
	order  []uint32 // chunk<<chunkBits | offset in it
}

const (
	chunkBits  = 16
	chunkSize  = 1 << chunkBits
	firstChunk = 1 << 10
	// A Names that grew beyond this is not worth keeping for the next directory.
	keepChunks = 4
)

// Len returns the number of names.
func (n *Names) Len() int { return len(n.order) }

// Name returns name i. It shares the arena's memory: it stays valid until the
// Names is given to ReadNames again, and must be copied to live longer.
func (n *Names) Name(i int) string {
	p := n.at(n.order[i])
	return unsafe.String(unsafe.SliceData(p), len(p))
}

// Type returns the type of entry i as the directory has it, one of the Type
// constants, or 0 where the file system does not say.
func (n *Names) Type(i int) uint32 {
	o := n.order[i]
	return uint32(n.chunks[o>>chunkBits][o&(chunkSize-1)]) << 12 // DT_x is S_IFx >> 12
}

func (n *Names) at(o uint32) []byte {
	c := n.chunks[o>>chunkBits]
	i := int(o & (chunkSize - 1))
	return c[i+2 : i+2+int(c[i+1])]
}

// Reset drops all names, and memory that is too large to keep for the next
// directory.
func (n *Names) Reset() {
	if len(n.chunks) > keepChunks {
		*n = Names{}
		return
	}
	for i := range n.chunks {
		n.chunks[i] = n.chunks[i][:0]
	}
	n.chunks, n.order = n.chunks[:min(1, len(n.chunks))], n.order[:0]
}

func (n *Names) add(typ uint8, name []byte) error {
	if len(name) > maxName {
		return ErrName
	}
	last := len(n.chunks) - 1
	if last < 0 || len(n.chunks[last])+2+len(name) > chunkSize {
		size := chunkSize
		if last < 0 {
			size = firstChunk
		}
		n.chunks = append(n.chunks, make([]byte, 0, size))
		last++
	}
	c := n.chunks[last]
	n.order = append(n.order, uint32(last)<<chunkBits|uint32(len(c)))
	n.chunks[last] = append(append(c, typ, uint8(len(name))), name...)
	return nil
}

// sort orders the names and drops repetitions: a directory that changes while
// it is read can show a name twice.
func (n *Names) sort() {
	slices.SortFunc(n.order, func(a, b uint32) int { return compareBytes(n.at(a), n.at(b)) })
	n.order = slices.CompactFunc(n.order, func(a, b uint32) bool { return string(n.at(a)) == string(n.at(b)) })
}

func compareBytes(a, b []byte) int {
	if len(a) >= 8 && len(b) >= 8 {
		if x, y := binary.BigEndian.Uint64(a), binary.BigEndian.Uint64(b); x != y {
			return cmp.Compare(x, y)
		}
	}
	return cmp.Compare(string(a), string(b))
}

// direntBuf is what one getdents call fills.
const direntBuf = 64 << 10

var direntBufs = sync.Pool{New: func() any { return new([direntBuf]byte) }}

// parseDirents adds the entries of one getdents64 call, except "." and "..".
//
//	ino (8) off (8) reclen (2) type (1) name NUL padding
func (n *Names) parseDirents(b []byte) error {
	for len(b) > 19 {
		size := int(binary.NativeEndian.Uint16(b[16:]))
		if size < 20 || size > len(b) {
			return errDirent
		}
		name := b[19:size]
		end := slices.Index(name, 0)
		if end < 0 {
			return errDirent
		}
		name = name[:end]
		if s := string(name); s != "." && s != ".." {
			if err := n.add(b[18], name); err != nil {
				return err
			}
		}
		b = b[size:]
	}
	return nil
}
