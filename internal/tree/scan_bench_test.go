package tree

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"makuo/protocol"
)

// memoryDir is a directory on tmpfs where there is one: a million entries are
// cheap there.
func memoryDir(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "makuo-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// fill makes dirs directories of n empty files each.
func fill(t testing.TB, base string, dirs, n int) {
	for i := range dirs {
		dir := fmt.Sprintf("%s/dir-%04d", base, i)
		must(t, os.Mkdir(dir, 0o755))
		fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		must(t, err)
		for j := range n {
			must(t, unix.Mknodat(fd, fmt.Sprintf("file-%06d.html", j), unix.S_IFREG|0o644, 0))
		}
		must(t, unix.Close(fd))
	}
}

func ignore(string, string, bool) {}

func benchmarkScan(b *testing.B, dirs, files int) {
	base := memoryDir(b)
	fill(b, base, dirs, files)
	m := openModule(b, base)
	spec := ScanSpec{Header: header(protocol.OptRecursive, "."), Problem: ignore}
	entries := 0
	b.ReportAllocs()
	var before, after unix.Rusage
	must(b, unix.Getrusage(unix.RUSAGE_SELF, &before))
	for b.Loop() {
		must(b, m.Scan(b.Context(), spec, func(batch *protocol.Batch) error {
			entries += len(batch.Entries)
			return nil
		}))
	}
	must(b, unix.Getrusage(unix.RUSAGE_SELF, &after))
	cpu := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
	b.ReportMetric(float64(cpu)/float64(b.N)/1e9, "cpu-s/op")
	b.ReportMetric(float64(entries)/float64(b.N), "entries/op")
}

func BenchmarkScan100kIn100(b *testing.B) { benchmarkScan(b, 100, 1000) }
func BenchmarkScan100kIn10k(b *testing.B) { benchmarkScan(b, 10000, 10) }
func BenchmarkScan100kInOne(b *testing.B) { benchmarkScan(b, 1, 100000) }
