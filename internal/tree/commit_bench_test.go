package tree

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"makuo/protocol"
)

const benchFiles = 100_000

func benchTree(b *testing.B) string {
	b.Helper()
	dir := b.TempDir()
	content := []byte("some content of a small file, as there are many in a web tree\n")
	for i := range benchFiles / 100 {
		d := filepath.Join(dir, fmt.Sprintf("d%02d/e%03d", i%50, i))
		if err := os.MkdirAll(d, 0o755); err != nil {
			b.Fatal(err)
		}
		for j := range 100 {
			if err := os.WriteFile(filepath.Join(d, fmt.Sprintf("file-%05d.html", j)), content, 0o644); err != nil {
				b.Fatal(err)
			}
		}
	}
	return dir
}

func benchBatches(b *testing.B, m *Module, h *protocol.PushHeader) (batches []*protocol.Batch) {
	b.Helper()
	err := m.Scan(context.Background(), ScanSpec{Header: h, Problem: func(string, string, bool) {}}, func(x *protocol.Batch) error {
		batches = append(batches, x)
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return batches
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkCompareUnchanged is a member's share of a push that changes nothing.
func BenchmarkCompareUnchanged(b *testing.B) {
	m := openTestModule(b, benchTree(b))
	h := &protocol.PushHeader{Module: "default", Name: "o", Options: recursiveDelete, Paths: []string{"."}}
	batches := benchBatches(b, m, h)
	b.ReportAllocs()
	b.ResetTimer()
	cpu := cpuTime(b)
	for range b.N {
		tg, err := m.Begin(protocol.PushID{Start: 1}, h)
		if err != nil {
			b.Fatal(err)
		}
		for _, x := range batches {
			_, change, err := tg.Compare(x)
			if err != nil {
				b.Fatal(err)
			}
			for _, c := range change {
				if c != 0 {
					b.Fatal("changed")
				}
			}
		}
		if err := tg.EndCompare(); err != nil {
			b.Fatal(err)
		}
		tg.Close()
	}
	b.ReportMetric((cpuTime(b)-cpu).Seconds()/float64(b.N), "cpu-s/op")
}

// BenchmarkStageCommit stores, stages and commits 100,000 new small files.
func BenchmarkStageCommit(b *testing.B) {
	b.ReportAllocs()
	src := openTestModule(b, benchTree(b))
	h := &protocol.PushHeader{Module: "default", Name: "o", Options: recursiveDelete, Paths: []string{"."}}
	batches := benchBatches(b, src, h)
	content := []byte("some content of a small file, as there are many in a web tree\n")
	b.ResetTimer()
	for range b.N {
		b.StopTimer()
		dst := openTestModule(b, b.TempDir())
		tg, err := dst.Begin(protocol.PushID{Start: 1}, h)
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		start, cpu := time.Now(), cpuTime(b)
		lap := func(name string) {
			b.ReportMetric(time.Since(start).Seconds(), name+"-s")
			b.ReportMetric((cpuTime(b) - cpu).Seconds(), name+"-cpu-s")
			start, cpu = time.Now(), cpuTime(b)
		}
		for _, x := range batches {
			data, _, err := tg.Compare(x)
			if err != nil {
				b.Fatal(err)
			}
			var ps []protocol.Piece
			for i := range x.Entries {
				if data[i/8]&(1<<(i%8)) != 0 {
					ps = append(ps, protocol.Piece{Type: protocol.PieceWhole, Entry: x.First + uint32(i), Data: content})
				}
			}
			if err := tg.Store(ps, 0); err != nil {
				b.Fatal(err)
			}
		}
		if err := tg.EndCompare(); err != nil {
			b.Fatal(err)
		}
		lap("store")
		if _, err := tg.Stage(1); err != nil {
			b.Fatal(err)
		}
		lap("stage")
		c, took, err := tg.Commit()
		if err != nil || c.Errors > 0 || c.Changed < benchFiles {
			b.Fatal(c, err)
		}
		b.ReportMetric(took.Seconds(), "renames-s")
		lap("commit")
		tg.Close()
	}
}

// BenchmarkBareCreate is what the same files cost at the very least.
func BenchmarkBareCreate(b *testing.B) {
	content := []byte("some content of a small file, as there are many in a web tree\n")
	for range b.N {
		b.StopTimer()
		dir := b.TempDir()
		b.StartTimer()
		for i := range benchFiles / 100 {
			d := filepath.Join(dir, fmt.Sprintf("d%02d/e%03d", i%50, i))
			if err := os.MkdirAll(d, 0o755); err != nil {
				b.Fatal(err)
			}
			at, err := unix.Open(d, unix.O_DIRECTORY, 0)
			if err != nil {
				b.Fatal(err)
			}
			for j := range 100 {
				fd, err := unix.Openat(at, fmt.Sprintf("file-%05d.html", j), unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, 0o600)
				if err != nil {
					b.Fatal(err)
				}
				unix.Write(fd, content)
				unix.Fchown(fd, 0, 0)
				unix.Fchmod(fd, 0o644)
				unix.UtimesNanoAt(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), []unix.Timespec{{Sec: 1}, {Sec: 2}}, 0)
				unix.Close(fd)
			}
			unix.Close(at)
		}
	}
}
