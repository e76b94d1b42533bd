package push

import (
	"bytes"
	"context"
	"testing"

	"makuo/protocol"
	"makuo/transfer"
)

// What compresses is sent as it is while the wire waits for the reader, and
// compressed once the reader is ahead of it.
func TestCompressionYieldsToTheWire(t *testing.T) {
	const rate = 12_500_000 // 30 ms of it are 375,000 bytes
	text := bytes.Repeat([]byte("the same again, "), 4096)
	for _, c := range []struct {
		unsent int64
		want   bool
	}{{0, false}, {374_999, false}, {375_000, true}, {10 << 20, true}} {
		s := &source{read: make(chan readItem, 1), wake: func() {}}
		s.pace(c.unsent, rate)
		p := &packer{s: s, ctx: context.Background()}
		p.buf = append(p.buf, text...)
		p.flush()
		it := <-s.read
		if it.err != nil {
			t.Fatal(it.err)
		}
		if got := it.block.Kind&protocol.BlockZstd != 0; got != c.want {
			t.Errorf("%d bytes are ahead: compressed is %v", c.unsent, got)
		}
		content, _, err := transfer.DecodeBlock(it.block.Kind, it.block.Encoded, nil)
		if err != nil || !bytes.Equal(content, text) {
			t.Errorf("%d bytes are ahead: the block holds something else, %v", c.unsent, err)
		}
	}
}
