package push

import (
	"testing"
	"time"

	"makuo/protocol"
	"makuo/transfer"
)

// departing is a wire whose trains leave as they are told to.
type departing []time.Time

func (d *departing) Departed(dst []time.Time) []time.Time { return append(dst, *d...) }

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
	w := departing{now}
	u.out(&w)
	check("one is out", 1)
	w = nil
	u.out(&w)
	check("nothing has changed", 1)
	w = departing{now, now, now}
	u.out(&w)
	check("all are out", 4)
}
