package tree

import (
	"os"
	"path/filepath"
	"testing"

	"makuo/protocol"
)

// Holes are neither content nor space that a member needs: a file of 10 GB with
// 2 MiB in it fits a file system of 24 MiB.
func TestSparseFileNeedsWhatItHolds(t *testing.T) {
	p, src, dst := pair(t)
	base := filepath.Join(dst, "fs")
	mountTmpfs(t, base, "size=24m")
	p.dst = openTestModule(t, base)
	f, err := os.Create(filepath.Join(src, "image"))
	must(t, err)
	const size, data = 10_000_000_000, 2 << 20
	_, err = f.WriteAt(make([]byte, data), 5_000_000_000)
	must(t, err)
	must(t, f.Truncate(size))
	must(t, f.Close())
	p.header(t)
	e := manifestOf(t, p)
	for i := range e {
		if e[i].Path == "image" && (e[i].Size != size || e[i].Content() < data || e[i].Content() > 2*data) {
			t.Fatalf("%d of %d bytes are content", e[i].Content(), e[i].Size)
		}
	}
	tg, err := p.dst.Begin(protocol.PushID{Start: 1}, p.header(t))
	must(t, err)
	defer tg.Close()
	if _, _, err := tg.Compare(&protocol.Batch{Entries: e}); err != nil {
		t.Fatal(err)
	}
	must(t, tg.Discard(false))
}
