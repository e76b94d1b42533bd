package tree

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"makuo/protocol"
)

// interrupted leaves a leftover of the file name with size bytes in m.
func interrupted(t *testing.T, m *Module, start int64, name string, size int) {
	t.Helper()
	tg, err := m.Begin(protocol.PushID{Start: start}, &protocol.PushHeader{Module: "default", Name: "o", Paths: []string{name}})
	must(t, err)
	e := protocol.Entry{Path: name, Type: protocol.EntryRegular, Mode: 0o644, Size: uint64(size)}
	_, _, err = tg.Compare(&protocol.Batch{Entries: []protocol.Entry{e}})
	must(t, err)
	must(t, tg.Store([]protocol.Piece{{Type: protocol.PieceWhole, Data: make([]byte, size)}}, 0))
	must(t, tg.Discard(true))
	tg.Close()
}

func leftoversIn(t *testing.T, base string) int {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(base, protocol.StageName, keptPrefix+"*"))
	must(t, err)
	return len(list)
}

// TestLeftoversGiveWay: what earlier pushes left never keeps a push from a disk.
func TestLeftoversGiveWay(t *testing.T) {
	p, src, dst := pair(t)
	base := filepath.Join(dst, "fs")
	mountTmpfs(t, base, "size=16m")
	p.dst = openTestModule(t, base)
	p.paths = []string{"a"}
	interrupted(t, p.dst, 1, "x", 6<<20)
	interrupted(t, p.dst, 2, "y", 6<<20)
	if n := leftoversIn(t, base); n != 2 {
		t.Fatalf("%d leftovers", n)
	}
	for _, c := range []struct{ size, left int }{{8 << 20, 1}, {14 << 20, 0}} {
		plant(t, src, int64(2000+c.left), "a "+strings.Repeat("x", c.size))
		must(t, os.RemoveAll(filepath.Join(base, "a")))
		if o := p.push(t); len(o.problems) > 0 {
			t.Fatal(o.problems)
		}
		if n := leftoversIn(t, base); n != c.left {
			t.Errorf("%d leftovers, want %d", n, c.left)
		}
	}
}

func TestLeftoversAge(t *testing.T) {
	p, _, dst := pair(t)
	interrupted(t, p.dst, 1, "x", 100)
	now := time.Now()
	for _, c := range []struct {
		after time.Duration
		left  int
	}{{time.Hour, 1}, {maxLeftoverAge - time.Hour, 1}, {maxLeftoverAge + time.Hour, 0}} {
		if err := p.dst.DropLeftovers(now.Add(c.after)); err != nil || leftoversIn(t, dst) != c.left {
			t.Errorf("after %v: %d leftovers, %v", c.after, leftoversIn(t, dst), err)
		}
	}
	if exists(dst, protocol.StageName) {
		t.Error("the empty stage is still there")
	}
	if err := p.dst.DropLeftovers(now); err != nil {
		t.Error(err)
	}
}

// TestFullBeforeNodes: a file system without inodes is not filled up by
// directories and links before the push fails, and the error names the path.
func TestFullBeforeNodes(t *testing.T) {
	p, src, dst := pair(t)
	base := filepath.Join(dst, "fs")
	mountTmpfs(t, base, "size=16m,nr_inodes=1000")
	p.dst = openTestModule(t, base)
	for i := range 1200 {
		must(t, os.Symlink("target", filepath.Join(src, fmt.Sprintf("l%04d", i))))
	}
	tg, err := p.dst.Begin(protocol.PushID{Start: 1}, p.header(t))
	must(t, err)
	defer tg.Close()
	_, _, err = tg.Compare(&protocol.Batch{Entries: manifestOf(t, p)})
	if err == nil || !strings.Contains(err.Error(), "no inodes") || !strings.Contains(err.Error(), "l09") || !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	sp, err := p.dst.Root.Statfs()
	must(t, err)
	if sp.Inodes < 1000/reserveShare {
		t.Errorf("%d inodes are left", sp.Inodes)
	}
	must(t, tg.Discard(true))
	if exists(base, protocol.StageName) {
		t.Error("what filled the disk is kept")
	}
}

func TestErrorTexts(t *testing.T) {
	p, _, _ := pair(t)
	tg, err := p.dst.Begin(protocol.PushID{Start: 1}, p.header(t))
	must(t, err)
	defer tg.Close()
	err = tg.atPath("d/x", memberError{join(os.ErrInvalid, os.ErrClosed)})
	if want := "d/x: the member can't go on: invalid argument; file already closed"; err.Error() != want || !errors.Is(err, os.ErrClosed) || !isFatal(err) {
		t.Errorf("%q", err)
	}
	if err := tg.atPath("above", err); strings.Contains(err.Error(), "above") {
		t.Errorf("two paths: %q", err)
	}
}
