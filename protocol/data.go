package protocol

import "encoding/binary"

// Limits of blocks.
const (
	MaxBlock   = 160 << 10 // encoded bytes of a block
	MaxContent = 192 << 10 // bytes of a block once decompressed
	MaxSymbols = 128       // source symbols of a block
	MaxIndex   = 254       // of a symbol: source and parity symbols of a block are at most 255
)

// DataOverhead is the number of bytes in a Data packet beside its symbol.
const DataOverhead = PrefixLen + dataFixed + CheckLen

const dataFixed = 4 + 4 + 4 + 1 + 1 + 3 + 4 + 3

// SymbolSize returns the bytes of block that one packet of the given UDP
// payload carries.
func SymbolSize(payload int) int { return payload - DataOverhead }

// BlockKind tells what a block holds and how it is encoded.
type BlockKind uint8

// Kinds of blocks. The high bit says that the content is one zstd frame.
const (
	BlockHeader   BlockKind = 1 // PushHeader; block 0 of each push
	BlockManifest BlockKind = 2 // one manifest batch
	BlockData     BlockKind = 3 // data records
	BlockZstd     BlockKind = 0x80
)

// Base returns the kind without the encoding.
func (k BlockKind) Base() BlockKind { return k &^ BlockZstd }

// Data carries one symbol of a block. Index 0 .. K-1 are source symbols, which
// have the same size but the last, which holds the rest; K .. 254 are parity
// symbols, which all have that size: the symbol size is the body's length
// behind the fixed part in any packet but the last source symbol's. A block of
// one symbol has no parity: its symbol itself is sent again. So no symbol is
// longer than its block.
type Data struct {
	Stream uint32
	Seq    uint32 // counts the Data packets of the stream, repairs too
	Block  uint32
	Index  uint8
	Kind   BlockKind
	Length uint32 // encoded bytes of the block, 1..MaxBlock; 3 bytes on the wire
	First  uint32 // first manifest entry the block touches
	Count  uint32 // entries from First on that it may touch; 3 bytes on the wire
	Symbol []byte // alias of the input
}

// Append appends the body to dst.
func (m *Data) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, m.Stream)
	dst = binary.BigEndian.AppendUint32(dst, m.Seq)
	dst = binary.BigEndian.AppendUint32(dst, m.Block)
	dst = append(dst, m.Index, byte(m.Kind), byte(m.Length>>16), byte(m.Length>>8), byte(m.Length))
	dst = binary.BigEndian.AppendUint32(dst, m.First)
	dst = append(dst, byte(m.Count>>16), byte(m.Count>>8), byte(m.Count))
	return append(dst, m.Symbol...)
}

// ParseData parses the body of a data packet.
func ParseData(b []byte) (Data, error) {
	r := reader{b: b}
	m := Data{Stream: r.u32("stream"), Seq: r.u32("seq"), Block: r.u32("block"), Index: r.u8("index"), Kind: BlockKind(r.u8("kind")),
		Length: uint32(r.u8("length"))<<16 | uint32(r.u16("length")), First: r.u32("first entry"),
		Count: uint32(r.u8("entry count"))<<16 | uint32(r.u16("entry count"))}
	if r.err != nil {
		return Data{}, r.done("data")
	}
	m.Symbol = r.b
	switch k := m.Kind.Base(); {
	case k < BlockHeader || k > BlockData:
		r.fail("block kind %d", m.Kind)
	case m.Length == 0 || m.Length > MaxBlock:
		r.fail("block of %d bytes", m.Length)
	case len(m.Symbol) == 0 || len(m.Symbol) > int(m.Length):
		r.fail("symbol of %d bytes in a block of %d", len(m.Symbol), m.Length)
	case m.Index > MaxIndex:
		r.fail("symbol %d", m.Index)
	case (m.Block == 0) != (k == BlockHeader):
		r.fail("block %d is of kind %d", m.Block, m.Kind)
	}
	if r.err != nil {
		return Data{}, r.done("data")
	}
	return m, nil
}
