package tree

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"makuo/internal/fsroot"
	"makuo/protocol"
)

// TestListingChanges: a directory that changed while it was read is read again,
// and counts as incomplete when it never stands still.
func TestListingChanges(t *testing.T) {
	for _, c := range []struct {
		changes int // listings during which it changes
		whole   bool
	}{{0, true}, {1, true}, {2, true}, {3, false}, {100, false}} {
		p, src, dst := pair(t)
		plant(t, src, 1000, "d/a 1", "d/b 1", "e/x 1")
		plant(t, dst, 1000, "d/a 1", "d/z 1", "e/z 1")
		n := 0
		p.src.whileListed = func(d *fsroot.Dir) {
			if _, err := d.Lstat("a"); err == nil && n < c.changes {
				n++
				must(t, os.WriteFile(filepath.Join(src, "d", fmt.Sprint("n", n)), nil, 0o644))
			}
		}
		o := p.push(t)
		if exists(dst, "d/z") == c.whole || exists(dst, "e/z") {
			t.Errorf("%d changes: deleted %q", c.changes, o.deleted)
		}
		if whole := len(o.srcProblems) == 0; whole != c.whole || !whole && !strings.HasPrefix(o.srcProblems[0], "d: changed") {
			t.Errorf("%d changes: problems %q", c.changes, o.srcProblems)
		}
		if c.whole && c.changes > 0 && !exists(dst, fmt.Sprint("d/n", c.changes)) {
			t.Errorf("%d changes: the last listing was not taken", c.changes)
		}
	}
}

// TestReplacedAllTheTime: files that are replaced by rename while a directory
// of a tmpfs is read are there at each moment, and no complete listing lacks one.
func TestReplacedAllTheTime(t *testing.T) {
	base, err := os.MkdirTemp("/dev/shm", "makuo")
	if err != nil {
		t.Skip("no tmpfs: ", err)
	}
	defer os.RemoveAll(base)
	const files = 5000
	write := func(i int, as string) {
		must(t, os.WriteFile(filepath.Join(base, as), []byte("x"), 0o644))
		must(t, os.Rename(filepath.Join(base, as), fmt.Sprintf("%s/f%040d", base, i)))
	}
	for i := range files {
		write(i, ".new")
	}
	m := openModule(t, base)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				write(i*7%files, ".new")
				if i%50 == 0 {
					time.Sleep(15 * time.Millisecond) // quiet enough for some listings to be complete
				}
			}
		}
	})
	for range 25 {
		got := scanTree(t, m, ScanSpec{Header: header(protocol.OptRecursive, ".")})
		have := 0
		for i := range got.entries {
			if strings.HasPrefix(got.entries[i].Path, "f") {
				have++
			}
		}
		if have < files && got.entries[0].Flags&protocol.EntryIncomplete == 0 {
			t.Errorf("a complete listing has %d of %d files", have, files)
		}
	}
	close(stop)
	wg.Wait()
}
