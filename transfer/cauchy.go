package transfer

import (
	"github.com/klauspost/reedsolomon"

	"makuo/protocol"
)

// Parity: a systematic maximum distance separable code over GF(2^8), in the
// manner of RFC 5052 and RFC 5510, but with a Cauchy matrix (Bloemer et al., "An
// XOR-based erasure-resilient coding scheme", 1995) instead of a Vandermonde
// matrix, because that gives a closed form for every inverse.
//
//  1. A block of k source symbols has the parity symbols k .. 254. Symbol x
//     is the sum over all source symbols y of coefficient(k, x, y) times source
//     y, byte by byte; the last source symbol counts as padded with zeros.
//  2. coefficient(k, x, y) = (k + y) / (x + y), + being exclusive or: a Cauchy
//     matrix with columns scaled so that the first parity symbol is the plain
//     exclusive or of all. Every square part of it is invertible, so any k
//     of the symbols determine the block.
//  3. With L sources lost and L parity symbols there, each parity symbol less
//     what the sources present contribute is a syndrome; the syndromes are an
//     L x L Cauchy matrix times the lost sources. Its inverse costs L x L steps, and
//     the whole rebuilding L x k multiplications of symbols, whatever L is.

// field is the library's multiplication of a slice by a constant.
var field reedsolomon.LowLevel

// The field has the polynomial x^8+x^4+x^3+x^2+1 with generator 2, which is the
// library's. expTable is doubled, so that sums of two logarithms need no
// reduction.
var expTable, logTable = func() (exp [510]byte, log [256]byte) {
	v := 1
	for i := range 255 {
		exp[i], exp[i+255], log[v] = byte(v), byte(v), byte(i)
		if v <<= 1; v >= 256 {
			v ^= 0x11d
		}
	}
	return exp, log
}()

func gfMul(a, b byte) byte {
	if a == 0 || b == 0 {
		return 0
	}
	return expTable[int(logTable[a])+int(logTable[b])]
}

// gfDiv returns a/b; b is not 0.
func gfDiv(a, b byte) byte {
	if a == 0 {
		return 0
	}
	return expTable[int(logTable[a])+255-int(logTable[b])]
}

// coefficient returns the factor of source y in parity symbol x of a block of
// k symbols, y < k <= x.
func coefficient(k, x, y int) byte { return gfDiv(byte(k^y), byte(x^y)) }

// encodeParity writes parity symbols first, first+1, ... of a block in symbols
// of size bytes to dst, one to each slice, which have that size. Several at
// once are cheaper: the block is read once.
func encodeParity(block []byte, size, first int, dst [][]byte) {
	k := symbols(len(block), size)
	for y := range k {
		src := block[y*size : min(len(block), (y+1)*size)]
		for j, p := range dst {
			c := coefficient(k, first+j, y)
			if y == 0 {
				clear(p[len(src):])
				field.GalMulSlice(c, src, p[:len(src)])
			} else {
				field.GalMulSliceXor(c, src, p[:len(src)])
			}
		}
	}
}

// rebuilder is the working space of rebuild, for one block at a time.
type rebuilder struct {
	ys, xs  [protocol.MaxIndex]byte // lost sources, parity symbols
	u, v    [protocol.MaxIndex]byte // factors of the inverse's columns and rows
	scratch []byte
}

// rebuild computes the missing sources of a block of k symbols. buf holds k
// symbols of size bytes: the sources present (the last one padded with zeros)
// and, at the place of each missing source y, parity symbol holds[y]; these
// are all different. Afterwards it holds the sources.
func (r *rebuilder) rebuild(buf []byte, size, k int, missing symbolSet, holds []uint8) {
	n := 0
	for m := missing; !m.empty(); n++ {
		y := m.first()
		m.remove(y)
		r.ys[n], r.xs[n] = byte(y), holds[y]
	}
	if len(r.scratch) < n*size {
		r.scratch = make([]byte, n*size)
	}
	r.syndromes(buf, size, k, n, missing)
	r.invert(n)
	for i := range n {
		y := int(r.ys[i])
		dst := buf[y*size : (y+1)*size]
		// The matrix of the syndromes is a plain one with columns scaled by
		// k + y: so are the rows of its inverse, by 1/(k + y).
		v := gfDiv(r.v[i], byte(k^y))
		for j := range n {
			c := gfMul(gfDiv(r.u[j], r.xs[j]^r.ys[i]), v)
			if s := r.scratch[j*size : (j+1)*size]; j == 0 {
				field.GalMulSlice(c, s, dst)
			} else {
				field.GalMulSliceXor(c, s, dst)
			}
		}
	}
}

// syndromes takes what the sources present contribute off the parity symbols.
func (r *rebuilder) syndromes(buf []byte, size, k, n int, missing symbolSet) {
	for j := range n {
		copy(r.scratch[j*size:(j+1)*size], buf[int(r.ys[j])*size:])
	}
	for y := range k {
		if missing.has(y) {
			continue
		}
		src := buf[y*size : (y+1)*size]
		for j := range n {
			field.GalMulSliceXor(coefficient(k, int(r.xs[j]), y), src, r.scratch[j*size:(j+1)*size])
		}
	}
}

// invert computes the factors of the inverse of the Cauchy matrix 1/(x_j +
// y_i), whose element (i, j) is u_j v_i / (x_j + y_i) (Schechter, "On the
// inversion of certain matrices", 1959).
func (r *rebuilder) invert(n int) {
	for i := range n {
		u, v := byte(1), byte(1)
		for j := range n {
			u = gfMul(u, r.xs[i]^r.ys[j])
			v = gfMul(v, r.xs[j]^r.ys[i])
			if j != i {
				u = gfDiv(u, r.xs[i]^r.xs[j])
				v = gfDiv(v, r.ys[i]^r.ys[j])
			}
		}
		r.u[i], r.v[i] = u, v
	}
}
