package transfer

import "math/bits"

// slots is a set of block ids within a span of MaxAhead, which can name its
// oldest member in constant time: a bit for each slot (id modulo MaxAhead) and
// a summary bit for each word.
type slots struct {
	sum   uint64
	words [MaxAhead / 64]uint64
}

func (s *slots) add(id uint32) {
	i := id % MaxAhead
	s.words[i/64] |= 1 << (i % 64)
	s.sum |= 1 << (i / 64)
}

func (s *slots) remove(id uint32) {
	i := id % MaxAhead
	s.words[i/64] &^= 1 << (i % 64)
	if s.words[i/64] == 0 {
		s.sum &^= 1 << (i / 64)
	}
}

func (s *slots) empty() bool { return s.sum == 0 }

// first returns the smallest id in the set; all are in base..base+MaxAhead-1.
func (s *slots) first(base uint32) (uint32, bool) {
	if s.sum == 0 {
		return 0, false
	}
	i := base % MaxAhead
	w, b := i/64, i%64
	if m := s.words[w] >> b; m != 0 {
		return base + uint32(bits.TrailingZeros64(m)), true
	}
	// The words after w, round to w itself, whose low bits are the newest ids.
	for _, m := range [2]uint64{s.sum &^ (1<<(w+1) - 1), s.sum & (1<<(w+1) - 1)} {
		if m != 0 {
			w = uint32(bits.TrailingZeros64(m))
			at := w*64 + uint32(bits.TrailingZeros64(s.words[w]))
			return base + (at-i)%MaxAhead, true
		}
	}
	return 0, false
}

// symbolSet is a set of symbol indices below MaxSymbols.
type symbolSet [2]uint64

func (s symbolSet) has(i int) bool { return s[i>>6&1]>>(i&63)&1 != 0 }
func (s *symbolSet) add(i int)     { s[i>>6&1] |= 1 << (i & 63) }
func (s *symbolSet) remove(i int)  { s[i>>6&1] &^= 1 << (i & 63) }
func (s symbolSet) empty() bool    { return s[0]|s[1] == 0 }
func (s symbolSet) len() int       { return bits.OnesCount64(s[0]) + bits.OnesCount64(s[1]) }

func (s symbolSet) without(t symbolSet) symbolSet { return symbolSet{s[0] &^ t[0], s[1] &^ t[1]} }
func (s symbolSet) union(t symbolSet) symbolSet   { return symbolSet{s[0] | t[0], s[1] | t[1]} }
func (s symbolSet) common(t symbolSet) symbolSet  { return symbolSet{s[0] & t[0], s[1] & t[1]} }

func (s symbolSet) first() int {
	if s[0] != 0 {
		return bits.TrailingZeros64(s[0])
	}
	return 64 + bits.TrailingZeros64(s[1])
}

// below returns the set of all indices under n, for n of 0 to 128.
func below(n int) symbolSet {
	switch {
	case n <= 0:
		return symbolSet{}
	case n < 64:
		return symbolSet{1<<n - 1}
	case n < 128:
		return symbolSet{^uint64(0), 1<<(n-64) - 1}
	}
	return symbolSet{^uint64(0), ^uint64(0)}
}

// parseMissing reads the bits of a Nak.
func parseMissing(b []byte) (s symbolSet) {
	for i, v := range b[:min(len(b), 16)] {
		s[i/8] |= uint64(v) << (i % 8 * 8)
	}
	return s
}

// appendMissing writes the bits of a Nak, without zero bytes at the end.
func (s symbolSet) appendMissing(dst []byte) []byte {
	n := len(dst)
	for i := range 16 {
		dst = append(dst, byte(s[i/8]>>(i%8*8)))
	}
	for len(dst) > n && dst[len(dst)-1] == 0 {
		dst = dst[:len(dst)-1]
	}
	return dst
}
