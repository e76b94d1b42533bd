package push

import (
	"testing"
	"time"

	"makuo/protocol"
	"makuo/transfer"
)

func TestStateTellsOnlyWhatIsOut(t *testing.T) {
	now := time.Unix(1000, 0)
	r := &run{s: transfer.NewSender(transfer.SenderConfig{Stream: 1, Members: 1, SymbolSize: 1000}, now)}
	for i := range uint32(4) {
		kind := protocol.BlockData
		if i == 0 {
			kind = protocol.BlockHeader
		}
		if _, err := r.s.Offer(now, transfer.Block{Kind: kind, First: i, Count: 1, Encoded: make([]byte, 1000)}); err != nil {
			t.Fatal(err)
		}
	}
	var u underWay
	check := func(when string, want uint32) {
		t.Helper()
		if packets, blocks := r.out(); packets != want || blocks != want {
			t.Errorf("%s: %d packets and %d blocks are out, want %d", when, packets, blocks, want)
		}
	}
	check("before", 0)
	for range 4 {
		if _, ok := r.s.Next(r.s.Poll(now)); !ok {
			t.Fatal("no packet")
		}
		u.add(r)
	}
	check("all wait", 0)
	u.out(3)
	check("one is out", 1)
	u.out(3)
	check("nothing has changed", 1)
	u.out(0)
	check("all are out", 4)
}
