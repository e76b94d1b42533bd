package tree

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"makuo/protocol"
)

// BenchmarkStageReplaced and BenchmarkCommitReplaced share a push that replaces
// 15,000 files in 150 directories: the first counts the members' work until all
// is staged, the second that of making it live, which is what readers notice.
func BenchmarkStageReplaced(b *testing.B)  { benchmarkReplaced(b, false) }
func BenchmarkCommitReplaced(b *testing.B) { benchmarkReplaced(b, true) }

func benchmarkReplaced(b *testing.B, commit bool) {
	const dirs, files = 150, 100
	base := memoryDir(b)
	content := []byte("some content of a small file, as there are many in a web tree\n")
	write := func(dir string, sec int64) {
		for i := range dirs {
			d := filepath.Join(dir, fmt.Sprintf("dir-%03d", i))
			must(b, os.MkdirAll(d, 0o755))
			for j := range files {
				name := filepath.Join(d, fmt.Sprintf("file-%03d.html", j))
				must(b, os.WriteFile(name, content, 0o644))
				must(b, os.Chtimes(name, time.Time{}, time.Unix(sec, 0)))
			}
		}
	}
	write(base+"/src", 1000)
	src := openTestModule(b, base+"/src")
	h := &protocol.PushHeader{Module: "default", Name: "o", Options: recursiveDelete, Paths: []string{"."}}
	batches := benchBatches(b, src, h)
	write(base+"/dst", 0)
	dst := openTestModule(b, base+"/dst")
	var renames time.Duration
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		write(base+"/dst", 0) // other times than the origin's: all are replaced
		if !commit {
			b.StartTimer()
		}
		tg := stageWhole(b, dst, h, batches, content)
		if !commit {
			b.StopTimer()
		} else {
			b.StartTimer()
		}
		c, took, err := tg.Commit()
		if commit {
			b.StopTimer()
		}
		if err != nil || c.Errors > 0 || c.Changed < dirs*files {
			b.Fatal(c, err)
		}
		renames += took
		tg.Close()
		b.StartTimer()
	}
	if commit {
		b.ReportMetric(renames.Seconds()/float64(b.N), "renames-s/op")
	}
	b.ReportMetric(dirs*files, "files/op")
}

// stageWhole compares, stores content for all that is wanted, and stages.
func stageWhole(b *testing.B, m *Module, h *protocol.PushHeader, batches []*protocol.Batch, content []byte) *Target {
	tg, err := m.Begin(protocol.PushID{Start: 1}, h)
	must(b, err)
	var pieces []protocol.Piece
	for _, x := range batches {
		data, _, err := tg.Compare(x)
		must(b, err)
		for i := range x.Entries {
			if data[i/8]&(1<<(i%8)) != 0 {
				pieces = append(pieces, protocol.Piece{Type: protocol.PieceWhole, Entry: x.First + uint32(i), Data: content})
			}
		}
	}
	must(b, tg.EndCompare())
	must(b, tg.Store(pieces, 0))
	_, err = tg.Stage(1)
	must(b, err)
	return tg
}
