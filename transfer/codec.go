package transfer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"

	"makuo/protocol"
)

// HashLen is the length of the hash that opens an encoded block.
const HashLen = 8

// ErrContent is wrapped by the errors of DecodeBlock: the block is not what its
// origin encoded, and is to be asked for anew.
var ErrContent = errors.New("block content does not verify")

const (
	zstdWindow  = 256 << 10 // covers protocol.MaxContent
	zstdAtOnce  = 2         // blocks encoded or decoded at the same time, each by one thread
	leastGain   = 20        // compressed only if that saves one part in leastGain
	tooShort    = 256       // shorter frames do not say their length
	sampleRuns  = 16
	sampleRun   = 256
	sampleBytes = sampleRuns * sampleRun
)

// Encoder and decoder are set up once and used from all goroutines: EncodeAll
// and DecodeAll lend out their zstdAtOnce states.
var (
	zstdEncoder = sync.OnceValue(func() *zstd.Encoder {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(zstdAtOnce),
			zstd.WithWindowSize(zstdWindow), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false))
		if err != nil {
			panic(err) // the options are constants: they are right or never were
		}
		return e
	})
	zstdDecoder = sync.OnceValue(func() *zstd.Decoder {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(zstdAtOnce), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(protocol.MaxContent), zstd.WithDecoderMaxWindow(zstdWindow), zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			panic(err)
		}
		return d
	})
)

// EncodeBlock appends the encoding of content to dst: its xxhash64, then the
// content as it is or, where that saves more than a twentieth, as one zstd
// frame. It returns the kind with BlockZstd set accordingly. Content is 1 to
// protocol.MaxContent bytes; it is an error if the encoding is longer than
// protocol.MaxBlock, which content of up to MaxBlock - HashLen never is. Any
// goroutine may call it.
func EncodeBlock(kind protocol.BlockKind, content, dst []byte) (protocol.BlockKind, []byte, error) {
	return encode(kind, content, dst, compressible)
}

// StoreBlock is EncodeBlock without compression: where the processor is what
// holds a stream back, that only costs.
func StoreBlock(kind protocol.BlockKind, content, dst []byte) (protocol.BlockKind, []byte, error) {
	return encode(kind, content, dst, func([]byte) bool { return false })
}

func encode(kind protocol.BlockKind, content, dst []byte, compress func([]byte) bool) (protocol.BlockKind, []byte, error) {
	kind = kind.Base()
	if len(content) == 0 || len(content) > protocol.MaxContent {
		return kind, dst, fmt.Errorf("encode block: %d bytes of content, 1 to %d are possible", len(content), protocol.MaxContent)
	}
	start := len(dst)
	dst = binary.BigEndian.AppendUint64(dst, xxhash.Sum64(content))
	payload := len(dst)
	if compress(content) {
		dst = zstdEncoder().EncodeAll(content, dst)
		if len(dst)-payload < len(content)-len(content)/leastGain {
			kind |= protocol.BlockZstd
		} else {
			dst = dst[:payload]
		}
	}
	if kind&protocol.BlockZstd == 0 {
		dst = append(dst, content...)
	}
	if n := len(dst) - start; n > protocol.MaxBlock {
		return kind, dst[:start], fmt.Errorf("encode block: %d bytes of content need %d, a block holds %d", len(content), n, protocol.MaxBlock)
	}
	return kind, dst, nil
}

// compressible looks at a sample of the content: bytes that are about equally
// frequent are compressed or encrypted already. For uniformly distributed
// bytes the sum of squared counts is near n + n(n-1)/256; the limit is an eighth
// above, near 7.85 bits of entropy a byte.
func compressible(content []byte) bool {
	if len(content) < tooShort {
		return false
	}
	if len(content) < 2*sampleBytes {
		return true // trying is as cheap as looking
	}
	var counts [256]uint32
	step := (len(content) - sampleRun) / (sampleRuns - 1)
	for i := range sampleRuns {
		for _, c := range content[i*step : i*step+sampleRun] {
			counts[c]++
		}
	}
	squares := uint32(0)
	for _, n := range counts {
		squares += n * n
	}
	const uniform = sampleBytes + sampleBytes*(sampleBytes-1)/256
	return squares > uniform+uniform/8
}

// DecodeBlock verifies an encoded block and returns its content and the hash
// of it. Compressed content is appended to dst[:0], which is grown as needed;
// content that was not compressed aliases encoded, and dst is not used. Any
// goroutine may call it. Errors wrap ErrContent.
func DecodeBlock(kind protocol.BlockKind, encoded, dst []byte) (content []byte, hash uint64, err error) {
	if len(encoded) <= HashLen || len(encoded) > protocol.MaxBlock {
		return nil, 0, fmt.Errorf("decode block of %d bytes: %w", len(encoded), ErrContent)
	}
	hash, content = binary.BigEndian.Uint64(encoded), encoded[HashLen:]
	if kind&protocol.BlockZstd != 0 {
		if content, err = decompress(content, dst); err != nil {
			return nil, 0, fmt.Errorf("decode block of %d bytes: %w: %v", len(encoded), ErrContent, err)
		}
	}
	if sum := xxhash.Sum64(content); sum != hash {
		return nil, 0, fmt.Errorf("decode block of %d bytes: %w: hash is %016x, not %016x", len(encoded), ErrContent, sum, hash)
	}
	return content, hash, nil
}

// decompress decodes the one frame that frame is to hold. The length that the
// frame announces is checked before memory is set aside for it.
func decompress(frame, dst []byte) ([]byte, error) {
	var h zstd.Header
	if err := h.Decode(frame); err != nil {
		return nil, err
	}
	if h.Skippable || !h.HasFCS || h.FrameContentSize == 0 || h.FrameContentSize > protocol.MaxContent {
		return nil, fmt.Errorf("a frame of %d bytes", h.FrameContentSize)
	}
	n := int(h.FrameContentSize)
	if cap(dst) < n {
		dst = make([]byte, 0, n)
	}
	out, err := zstdDecoder().DecodeAll(frame, dst[:0:n])
	if err != nil {
		return nil, err
	}
	if len(out) != n {
		return nil, fmt.Errorf("%d bytes in a frame of %d", len(out), n)
	}
	return out, nil
}
