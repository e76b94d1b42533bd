package protocol

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrMalformed is wrapped by every parse error: the packet is to be dropped
// and counted; it says nothing about the peer.
var ErrMalformed = errors.New("malformed message")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// reader takes fields off a byte slice. The first failure sticks: later reads
// return zero values, and err says what was missing.
type reader struct {
	b     []byte
	err   error
	short bool // err is that b ended too early
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = malformed(format, args...)
	}
	r.b = nil
}

func (r *reader) take(n int, what string) []byte {
	if r.err != nil {
		return nil
	}
	if n < 0 || len(r.b) < n {
		r.short = true
		r.fail("%s: %d bytes wanted, %d left", what, n, len(r.b))
		return nil
	}
	p := r.b[:n:n]
	r.b = r.b[n:]
	return p
}

func (r *reader) u8(what string) uint8 {
	if p := r.take(1, what); p != nil {
		return p[0]
	}
	return 0
}

func (r *reader) u16(what string) uint16 {
	if p := r.take(2, what); p != nil {
		return binary.BigEndian.Uint16(p)
	}
	return 0
}

func (r *reader) u32(what string) uint32 {
	if p := r.take(4, what); p != nil {
		return binary.BigEndian.Uint32(p)
	}
	return 0
}

func (r *reader) u64(what string) uint64 {
	if p := r.take(8, what); p != nil {
		return binary.BigEndian.Uint64(p)
	}
	return 0
}

// uvarint refuses values over max and encodings longer than needed, so that
// one value has one encoding.
func (r *reader) uvarint(max uint64, what string) uint64 {
	if r.err != nil {
		return 0
	}
	if len(r.b) > 0 && r.b[0] < 0x80 && uint64(r.b[0]) <= max {
		v := uint64(r.b[0])
		r.b = r.b[1:]
		return v
	}
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.short = n == 0
		r.fail("%s: no varint", what)
		return 0
	}
	if n > 1 && r.b[n-1] == 0 {
		r.fail("%s: padded varint", what)
		return 0
	}
	if v > max {
		r.fail("%s: %d is over the limit of %d", what, v, max)
		return 0
	}
	r.b = r.b[n:]
	return v
}

// bytes reads a varint length of at most max and then that many bytes,
// as an alias of the input.
func (r *reader) bytes(max int, what string) []byte {
	n := r.uvarint(uint64(max), what)
	return r.take(int(n), what)
}

func (r *reader) str(max int, what string) string { return string(r.bytes(max, what)) }

// count reads a varint that announces items of at least size bytes each, and
// refuses more than max or than the remaining bytes can hold.
func (r *reader) count(max, size int, what string) int {
	n := int(r.uvarint(uint64(max), what))
	if r.err == nil && n*size > len(r.b) {
		r.fail("%s: %d items announced in %d bytes", what, n, len(r.b))
		return 0
	}
	return n
}

// done refuses left-over bytes and returns the sticky error with the
// message's name.
func (r *reader) done(name string) error {
	if r.err == nil && len(r.b) != 0 {
		r.fail("%d bytes left over", len(r.b))
	}
	if r.err != nil {
		return fmt.Errorf("%s: %w", name, r.err)
	}
	return nil
}

func appendBytes(dst, p []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(p)))
	return append(dst, p...)
}

func appendString(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}
