package tree

import (
	"fmt"
	"runtime"
	"testing"

	"makuo/internal/fsroot"
)

func heap() uint64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// mostLinkMemory is what a million files with several names may take.
const mostLinkMemory = 60 << 20

func TestLinkTableMemory(t *testing.T) {
	const n = 1_000_000
	start := heap()
	var l linkTable
	l.init()
	for i := range n {
		st := fsroot.Stat{Dev: 5, Ino: uint64(i)}
		path := fmt.Sprintf("some/where/in/a/rather/deep/directory/file-%d", i)
		switch {
		case l.taken(&st):
			t.Fatal("taken")
		case i%3 == 0:
			l.stage(path, int64(i))
		default:
			l.keep(path, &st)
		}
	}
	if used := heap() - start; used > mostLinkMemory {
		t.Errorf("%d bytes for %d groups", used, n)
	} else {
		t.Logf("%d KiB", used>>10)
	}
	for _, i := range []int{0, 1, n - 1} {
		st := fsroot.Stat{Dev: 5, Ino: uint64(i)}
		g := l.get(fmt.Sprintf("some/where/in/a/rather/deep/directory/file-%d", i))
		if i%3 == 0 && (g.kind() != linkStaged || g.offset() != int64(i)) || i%3 != 0 && !g.keeps(&st) || !l.taken(&st) {
			t.Errorf("%d: %x", i, g)
		}
	}
	if l.get("none") != linkNone {
		t.Error("a path that is not there is known")
	}
	runtime.KeepAlive(&l)
}

func TestFirstLinks(t *testing.T) {
	const n = 1_000_000
	path := func(i int) string { return fmt.Sprintf("some/where/in/a/rather/deep/directory/file-%d", i) }
	start := heap()
	var l firstLinks
	defer l.close()
	for i := range n {
		must(t, l.add(scanID(i), path(i), uint64(i%3+1)))
	}
	if used := heap() - start; used > mostLinkMemory {
		t.Errorf("%d bytes for %d files", used, n)
	} else {
		t.Logf("%d KiB", used>>10)
	}
	for round := range 4 {
		for _, i := range []int{0, 1, 2, 500_000, n - 1} {
			want := ""
			if round <= i%3 {
				want = path(i)
			}
			if got, err := l.next(scanID(i)); err != nil || got != want {
				t.Errorf("round %d, %d: %q %v", round, i, got, err)
			}
		}
	}
	runtime.KeepAlive(&l)
}

// TestFirstLinksEnd: what is over takes nothing, and a count that is too large
// never ends.
func TestFirstLinksEnd(t *testing.T) {
	var l firstLinks
	for i := range 3 {
		must(t, l.add(1, fmt.Sprint("path", i), 1))
		if p, err := l.next(1); p != fmt.Sprint("path", i) || err != nil || l.paths.size != 0 || len(l.files) != 0 {
			t.Errorf("%q %v, %d bytes are left", p, err, l.paths.size)
		}
	}
	must(t, l.add(2, "many", 1<<30))
	for range linkLeft + 5 {
		if p, err := l.next(2); p != "many" || err != nil {
			t.Fatal(p, err)
		}
	}
}

func TestInodeSet(t *testing.T) {
	var s inodeSet
	want := make(map[inode]bool)
	for k := range 5000 {
		i := inode(k*k%1777 + k%2*1<<40 + 1)
		if s.add(i) == want[i] {
			t.Fatalf("%d: new is %v", i, !want[i])
		}
		want[i] = true
	}
	if s.n != len(want) {
		t.Errorf("%d of %d", s.n, len(want))
	}
}
