package protocol

import (
	"fmt"
	"testing"
)

func benchData() Data {
	return Data{Stream: 1, Seq: 2, Block: 3, Kind: BlockData, Length: 128 << 10, Count: 4, Symbol: make([]byte, SymbolSize(DefaultPayload))}
}

func BenchmarkDataAppend(b *testing.B) {
	d := benchData()
	buf := make([]byte, 0, MaxPacket)
	b.ReportAllocs()
	b.SetBytes(int64(len(d.Symbol)))
	for b.Loop() {
		buf = d.Append(buf[:0])
	}
}

func BenchmarkDataParse(b *testing.B) {
	d := benchData()
	buf := d.Append(nil)
	b.ReportAllocs()
	b.SetBytes(int64(len(d.Symbol)))
	for b.Loop() {
		if _, err := ParseData(buf); err != nil {
			b.Fatal(err)
		}
	}
}

func benchBatch() Batch {
	var m Batch
	for i := range MaxBatch {
		m.Entries = append(m.Entries, Entry{Path: fmt.Sprintf("usr/share/app/dir%02d/file%04d.html", i/100, i), Type: EntryRegular, Mode: 0o644,
			User: Owner{33, "www-data"}, Group: Owner{33, "www-data"}, Sec: 1700000000 + int64(i), Nsec: 123456789, Size: uint64(i * 100)})
	}
	return m
}

// ns/entry is what counts: a tree of 100,000 files costs a member 100,000 of
// them in each push.
func BenchmarkBatchParse(b *testing.B) {
	m := benchBatch()
	buf := m.Append(nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseBatch(buf); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*MaxBatch), "ns/entry")
}

func BenchmarkBatchAppend(b *testing.B) {
	m := benchBatch()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = m.Append(buf[:0])
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*MaxBatch), "ns/entry")
}

// Data packets come a hundred thousand a second.
func TestDataAllocatesNothing(t *testing.T) {
	d := benchData()
	buf := make([]byte, 0, MaxPacket)
	if n := testing.AllocsPerRun(100, func() {
		buf = d.Append(buf[:0])
		if _, err := ParseData(buf); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
