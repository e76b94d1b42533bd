package tree

import (
	"fmt"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"makuo/protocol"
)

// TestScanMillion walks a million entries: hard links in directories of some
// thousands, and one directory that is large by itself. Beyond what the large
// directory's names take, memory must not grow.
func TestScanMillion(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: a million entries are left out")
	}
	if _, err := os.Stat("/dev/shm"); err != nil {
		t.Skip("a million entries are left out: no tmpfs at /dev/shm")
	}
	const (
		dirs  = 200
		each  = 4500
		large = 100_000
	)
	base := memoryDir(t)
	link := fmt.Sprintf("%s/first", base)
	must(t, os.WriteFile(link, nil, 0o644))
	for i := range dirs {
		linkMany(t, link, fmt.Sprintf("%s/d%03d", base, i), each)
	}
	linkMany(t, link, base+"/large", large)
	m := openModule(t, base)

	var peak, start uint64
	var stats runtime.MemStats
	entries, batches := 0, 0
	runtime.GC()
	runtime.ReadMemStats(&stats)
	start = stats.HeapAlloc
	spec := ScanSpec{Header: header(protocol.OptRecursive, "."), Problem: func(path, text string, _ bool) { t.Error(path, text) }}
	must(t, m.Scan(t.Context(), spec, func(b *protocol.Batch) error {
		entries += len(b.Entries)
		if batches++; batches%20 == 0 {
			runtime.GC()
			runtime.ReadMemStats(&stats)
			peak = max(peak, stats.HeapAlloc)
		}
		return nil
	}))
	if want := 3 + dirs + dirs*each + large; entries != want {
		t.Errorf("%d entries, want %d", entries, want)
	}
	const most = 4 << 20
	if peak > start+most {
		t.Errorf("%d bytes of heap in use, more than %d", peak-start, most)
	}
	t.Logf("%d entries in %d batches, at most %d KiB of heap", entries, batches, (max(peak, start)-start)>>10)
}

func linkMany(t *testing.T, from, dir string, n int) {
	must(t, os.Mkdir(dir, 0o755))
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(fd)
	for i := range n {
		must(t, unix.Linkat(unix.AT_FDCWD, from, fd, fmt.Sprintf("entry-%06d", i), 0))
	}
}
