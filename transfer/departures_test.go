package transfer

import (
	"testing"
	"time"
)

func TestDepartures(t *testing.T) {
	var d departures
	t0 := time.Unix(1000, 0)
	first := uint32(1<<32 - 500) // the numbers wrap
	if _, ok := d.locate(first); ok {
		t.Error("found in nothing")
	}
	const trains, size = 3 * departMarks, 10
	for i := range uint32(trains) {
		d.add(t0.Add(time.Duration(i)*time.Millisecond), first+(i+1)*size)
	}
	for i := range uint32(trains) {
		for _, k := range []uint32{1, 5, size} {
			at, ok := d.locate(first + i*size + k)
			if want := i > trains-departMarks; ok != want && i != trains-departMarks {
				t.Fatalf("train %d: known is %v", i, ok)
			}
			if want := t0.Add(time.Duration(i) * time.Millisecond); ok && !at.Equal(want) {
				t.Fatalf("packet %d of train %d left after %v, want %v", k, i, at.Sub(t0), want.Sub(t0))
			}
		}
	}
	if _, ok := d.locate(first + trains*size + 1); ok {
		t.Error("a packet was found that has not left")
	}
}
