package transfer

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/reedsolomon"

	"makuo/protocol"
)

// encodeAll returns the block cut into all its 255 symbols, padded.
func encodeAll(block []byte, size int) [][]byte {
	k := symbols(len(block), size)
	all := make([][]byte, protocol.MaxIndex+1)
	for i := range all {
		all[i] = make([]byte, size)
		if i < k {
			copy(all[i], block[i*size:])
		}
	}
	encodeParity(block, size, k, all[k:])
	return all
}

// rebuildFrom rebuilds a block from any k of its symbols.
func rebuildFrom(r *rebuilder, all [][]byte, k, size int, chosen []int) []byte {
	buf := make([]byte, k*size)
	missing, holds := below(k), make([]uint8, k)
	for _, x := range chosen {
		if x < k {
			missing.remove(x)
			copy(buf[x*size:], all[x])
		}
	}
	free := missing
	for _, x := range chosen {
		if x >= k {
			y := free.first()
			free.remove(y)
			holds[y] = uint8(x)
			copy(buf[y*size:], all[x])
		}
	}
	r.rebuild(buf, size, k, missing, holds)
	return buf
}

func TestAnyKSymbolsRebuildTheBlock(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 8))
	var r rebuilder
	for _, k := range []int{2, 3, 20, 64, 92, 115, 127, 128} {
		const size = 45
		block := noise((k-1)*size+1+rng.IntN(size), uint64(k))
		all := encodeAll(block, size)
		check := func(chosen []int) {
			t.Helper()
			if got := rebuildFrom(&r, all, k, size, chosen); !bytes.Equal(got[:len(block)], block) {
				t.Fatalf("k %d: not rebuilt from %v", k, chosen)
			}
		}
		for lost := range min(k, 20) + 1 {
			for range 10 { // as many random sources lost, random parity
				chosen := append(rng.Perm(k)[lost:], make([]int, lost)...)
				for i, x := range rng.Perm(protocol.MaxIndex + 1 - k)[:lost] {
					chosen[k-lost+i] = k + x
				}
				check(chosen)
			}
		}
		for range 20 { // any symbols
			check(rng.Perm(protocol.MaxIndex + 1)[:k])
		}
	}
}

// The field is the library's, and the inverse is one.
func TestFieldIsTheLibrarys(t *testing.T) {
	in, out := make([]byte, 256), make([]byte, 256)
	for i := range in {
		in[i] = byte(i)
	}
	for c := range 256 {
		field.GalMulSlice(byte(c), in, out)
		for i := range in {
			if gfMul(byte(c), byte(i)) != out[i] {
				t.Fatalf("%d times %d is %d, not %d", c, i, out[i], gfMul(byte(c), byte(i)))
			}
			if i > 0 && gfDiv(out[i], byte(i)) != byte(c) {
				t.Fatalf("%d divided by %d is not %d", out[i], i, c)
			}
		}
	}
	for k := 2; k <= 128; k++ {
		for y := range k {
			if coefficient(k, k, y) != 1 {
				t.Fatalf("the first parity symbol of %d is not the sum", k)
			}
		}
	}
}

func FuzzRebuild(f *testing.F) {
	f.Add([]byte("0123456789"), uint8(3), uint64(1))
	f.Add(noise(1000, 2), uint8(8), uint64(2))
	f.Fuzz(func(t *testing.T, block []byte, size uint8, seed uint64) {
		size = max(1, size)
		k := symbols(len(block), int(size))
		if k < 2 || k > 128 {
			return
		}
		var r rebuilder
		chosen := rand.New(rand.NewPCG(seed, 0)).Perm(protocol.MaxIndex + 1)[:k]
		if got := rebuildFrom(&r, encodeAll(block, int(size)), k, int(size), chosen); !bytes.Equal(got[:len(block)], block) {
			t.Fatalf("%d symbols of %d: not rebuilt from %v", k, size, chosen)
		}
	})
}

func BenchmarkParity(b *testing.B) {
	const size = 1424
	block := noise(benchBlock, 1)
	for _, n := range []int{1, 2, 3, 8} {
		b.Run(fmt.Sprintf("encode %d of 92", n), func(b *testing.B) {
			dst := make([][]byte, n)
			for i := range dst {
				dst[i] = make([]byte, size)
			}
			b.ReportAllocs()
			b.SetBytes(int64(len(block)))
			for b.Loop() {
				encodeParity(block, size, 93, dst)
			}
		})
	}
	for _, c := range []struct{ k, lost int }{{92, 1}, {92, 2}, {92, 6}, {128, 6}, {128, 64}} {
		block := noise(c.k*size, 1)
		all := encodeAll(block, size)
		b.Run(fmt.Sprintf("rebuild %d of %d", c.lost, c.k), func(b *testing.B) {
			var r rebuilder
			missing, holds, buf := below(c.lost), make([]uint8, c.k), bytes.Clone(block)
			b.ReportAllocs()
			b.SetBytes(int64(len(block)))
			for b.Loop() {
				for i := range c.lost {
					holds[i] = uint8(c.k + i)
					copy(buf[i*size:], all[c.k+i])
				}
				r.rebuild(buf, size, c.k, missing, holds)
			}
		})
	}
	b.Run("plain reconstruction 6 of 128", func(b *testing.B) {
		enc, err := reedsolomon.New(128, 16)
		if err != nil {
			b.Fatal(err)
		}
		all := make([][]byte, 144)
		for i := range all {
			all[i] = make([]byte, size)
		}
		enc.Encode(all)
		b.ReportAllocs()
		for b.Loop() {
			for i := range 6 {
				all[i] = all[i][:0]
			}
			if err := enc.ReconstructData(all); err != nil {
				b.Fatal(err)
			}
		}
	})
}
