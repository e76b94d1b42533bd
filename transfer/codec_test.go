package transfer

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"makuo/protocol"
)

func noise(n int, seed uint64) []byte {
	b := make([]byte, n)
	rng := rand.New(rand.NewPCG(seed, 1))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

func prose(n int) []byte {
	return []byte(strings.Repeat("the quick brown fox jumps over the lazy dog; ", n/45+1)[:n])
}

func TestCodecRoundTrip(t *testing.T) {
	for _, n := range []int{1, 2, 255, 256, 257, 4096, 8191, 8192, 128 << 10, protocol.MaxBlock - HashLen} {
		for name, content := range map[string][]byte{"noise": noise(n, 3), "prose": prose(n), "zeros": make([]byte, n)} {
			kind, enc, err := EncodeBlock(protocol.BlockData, content, []byte("xy"))
			if err != nil || string(enc[:2]) != "xy" {
				t.Fatalf("%s of %d: %v", name, n, err)
			}
			enc = enc[2:]
			if packed := kind&protocol.BlockZstd != 0; packed != (name != "noise" && n >= tooShort) || packed && len(enc) >= n {
				t.Errorf("%s of %d: kind %#x, %d bytes", name, n, kind, len(enc))
			}
			got, hash, err := DecodeBlock(kind, enc, nil)
			if err != nil || !bytes.Equal(got, content) || hash == 0 {
				t.Fatalf("%s of %d: came back as %d bytes: %v", name, n, len(got), err)
			}
		}
	}
}

func TestCodecLimits(t *testing.T) {
	if _, _, err := EncodeBlock(protocol.BlockData, nil, nil); err == nil {
		t.Error("empty content was encoded")
	}
	if _, _, err := EncodeBlock(protocol.BlockData, make([]byte, protocol.MaxContent+1), nil); err == nil {
		t.Error("content over the limit was encoded")
	}
	if _, dst, err := EncodeBlock(protocol.BlockData, noise(protocol.MaxContent, 1), nil); err == nil || len(dst) != 0 {
		t.Error("a block over the limit was encoded")
	}
	if kind, _, err := EncodeBlock(protocol.BlockData, prose(protocol.MaxContent), nil); err != nil || kind != protocol.BlockData|protocol.BlockZstd {
		t.Errorf("the largest content: kind %#x, %v", kind, err)
	}
	for _, n := range []int{0, HashLen, protocol.MaxBlock + 1} {
		if _, _, err := DecodeBlock(protocol.BlockData, make([]byte, n), nil); !errors.Is(err, ErrContent) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestCodecRefusesBombsAndSeveralFrames(t *testing.T) {
	bomb := zstdEncoder().EncodeAll(make([]byte, 64<<20), make([]byte, HashLen))
	if _, _, err := DecodeBlock(protocol.BlockData|protocol.BlockZstd, bomb, nil); !errors.Is(err, ErrContent) {
		t.Errorf("a bomb: %v", err)
	}
	_, enc, _ := EncodeBlock(protocol.BlockData, prose(4096), nil)
	two := append(bytes.Clone(enc), enc[HashLen:]...)
	if _, _, err := DecodeBlock(protocol.BlockData|protocol.BlockZstd, two, nil); !errors.Is(err, ErrContent) {
		t.Errorf("two frames: %v", err)
	}
}

func TestCodecFindsEveryChange(t *testing.T) {
	for _, content := range [][]byte{noise(300, 1), prose(3000)} {
		kind, enc, _ := EncodeBlock(protocol.BlockData, content, nil)
		for i := range enc {
			bad := bytes.Clone(enc)
			bad[i] ^= 1 << (i % 8)
			if got, _, err := DecodeBlock(kind, bad, nil); err == nil && !bytes.Equal(got, content) {
				t.Fatalf("a changed byte %d went through", i)
			} else if err != nil && !errors.Is(err, ErrContent) {
				t.Fatalf("byte %d: %v", i, err)
			}
		}
	}
}

func TestCodecConcurrently(t *testing.T) {
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			content := append(prose(20000), noise(20000, uint64(g))...)
			var enc, dst []byte
			for range 20 {
				var kind protocol.BlockKind
				kind, enc, _ = EncodeBlock(protocol.BlockData, content, enc[:0])
				got, _, err := DecodeBlock(kind, enc, dst)
				if err != nil || !bytes.Equal(got, content) {
					t.Errorf("goroutine %d: %v", g, err)
					return
				}
				dst = got
			}
		})
	}
	wg.Wait()
}

func FuzzDecodeBlock(f *testing.F) {
	for _, content := range [][]byte{noise(300, 1), prose(3000), make([]byte, 100000)} {
		kind, enc, _ := EncodeBlock(protocol.BlockData, content, nil)
		f.Add(byte(kind), enc)
	}
	f.Fuzz(func(t *testing.T, kind byte, enc []byte) {
		content, _, err := DecodeBlock(protocol.BlockKind(kind), enc, nil)
		if err != nil && !errors.Is(err, ErrContent) || len(content) > protocol.MaxContent {
			t.Fatalf("%d bytes, %v", len(content), err)
		}
	})
}
