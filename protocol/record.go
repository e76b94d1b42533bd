package protocol

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

// PieceType is the type of a data record.
type PieceType uint8

// Types of data records.
const (
	PieceWhole PieceType = 1 // the whole content of a regular file
	PiecePart  PieceType = 2 // a part of it
	PieceEnd   PieceType = 3 // all parts of this attempt are sent; what no part covers is a hole
	PieceVoid  PieceType = 4 // forget this attempt, another follows
	PieceFail  PieceType = 5 // the origin cannot send this file: the old one stays
)

// Piece is one record of a data block.
type Piece struct {
	Type    PieceType
	Entry   uint32 // index in the manifest
	Attempt uint8  // Part, End, Void: counts from 0
	Offset  uint64 // Part
	Hole    uint64 // Part: bytes before Offset, up to the part before or the beginning, that no part covers
	Size    uint64 // End: size of the file
	Hash    uint64 // End: FileHash over the parts in order of offset
	Data    []byte // Whole, Part: alias of the input
}

// PieceOverhead is an upper bound of the bytes of a piece beside its data.
const PieceOverhead = 1 + 5 + 1 + 9 + 9 + 4

// Append appends the record.
func (m *Piece) Append(dst []byte) []byte {
	dst = append(dst, byte(m.Type))
	dst = binary.AppendUvarint(dst, uint64(m.Entry))
	switch m.Type {
	case PieceWhole:
		dst = appendBytes(dst, m.Data)
	case PiecePart:
		dst = append(dst, m.Attempt)
		dst = binary.AppendUvarint(dst, m.Offset)
		dst = binary.AppendUvarint(dst, m.Hole)
		dst = appendBytes(dst, m.Data)
	case PieceEnd:
		dst = append(dst, m.Attempt)
		dst = binary.AppendUvarint(dst, m.Size)
		dst = binary.BigEndian.AppendUint64(dst, m.Hash)
	case PieceVoid:
		dst = append(dst, m.Attempt)
	}
	return dst
}

// ParsePieces parses all records of a data block. Data aliases the input.
func ParsePieces(b []byte) ([]Piece, error) {
	r := reader{b: b}
	var ps []Piece
	for r.err == nil && len(r.b) > 0 {
		ps = append(ps, r.piece())
	}
	if err := r.done("data block"); err != nil {
		return nil, err
	}
	return ps, nil
}

func (r *reader) piece() Piece {
	const top = 1<<63 - 1
	m := Piece{Type: PieceType(r.u8("piece type")), Entry: uint32(r.uvarint(1<<32-1, "entry"))}
	switch m.Type {
	case PieceWhole:
		m.Data = r.bytes(MaxContent, "content")
	case PiecePart:
		m.Attempt = r.u8("attempt")
		m.Offset = r.uvarint(top, "offset")
		m.Hole = r.uvarint(top, "hole")
		m.Data = r.bytes(MaxContent, "content")
		if r.err == nil && (len(m.Data) == 0 || m.Offset > top-uint64(len(m.Data))) {
			r.fail("part of %d bytes at %d", len(m.Data), m.Offset)
		}
		if r.err == nil && m.Hole > m.Offset {
			r.fail("hole of %d bytes before a part at %d", m.Hole, m.Offset)
		}
	case PieceEnd:
		m.Attempt = r.u8("attempt")
		m.Size = r.uvarint(top, "size")
		m.Hash = r.u64("hash")
	case PieceVoid:
		m.Attempt = r.u8("attempt")
	case PieceFail:
	default:
		r.fail("piece type %d", m.Type)
	}
	return m
}

// FileHash is the running hash of a file sent in parts: xxhash64 over the
// (offset, block hash) of each part in order of offset.
type FileHash struct{ d *xxhash.Digest }

// Add takes the next part.
func (h *FileHash) Add(offset, blockHash uint64) {
	if h.d == nil {
		h.d = xxhash.New()
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], offset)
	binary.BigEndian.PutUint64(b[8:], blockHash)
	h.d.Write(b[:])
}

// Sum returns the hash of the parts so far.
func (h *FileHash) Sum() uint64 {
	if h.d == nil {
		return xxhash.Sum64(nil)
	}
	return h.d.Sum64()
}
