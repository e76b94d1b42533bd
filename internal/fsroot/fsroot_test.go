package fsroot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestMain starts the runtime's poller, whose descriptors are no leak.
func TestMain(m *testing.M) {
	if r, w, err := os.Pipe(); err == nil {
		r.Close()
		w.Close()
	}
	os.Exit(m.Run())
}

func openRoot(t *testing.T, path string) *Root {
	t.Helper()
	before := countFDs(t)
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if after := countFDs(t); after != before {
			t.Errorf("%d descriptors before, %d after", before, after)
		}
	})
	return r
}

func countFDs(t *testing.T) int {
	t.Helper()
	es, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("descriptors cannot be counted: ", err)
	}
	return len(es)
}

func openDir(t *testing.T, r *Root, path string) *Dir {
	t.Helper()
	d, err := r.OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// bothWays runs a test with openat2 and without.
func bothWays(t *testing.T, f func(t *testing.T, r *Root)) {
	for _, openat2 := range []bool{true, false} {
		t.Run(fmt.Sprintf("openat2=%v", openat2), func(t *testing.T) {
			r := openRoot(t, t.TempDir())
			r.openat2.Store(openat2)
			f(t, r)
		})
	}
}

func TestOpenDirStaysInside(t *testing.T) {
	bothWays(t, func(t *testing.T, r *Root) {
		p := r.Path()
		must(t, os.MkdirAll(p+"/a/b/c", 0o755))
		must(t, os.WriteFile(p+"/a/file", nil, 0o644))
		must(t, os.Symlink("a", p+"/link"))
		must(t, os.Symlink("/", p+"/a/out"))
		must(t, os.Symlink("nowhere", p+"/dangling"))
		for _, c := range []struct {
			path string
			want error
		}{
			{".", nil}, {"a", nil}, {"a/b/c", nil},
			{"link", ErrSymlink}, {"link/b", ErrSymlink}, {"a/out", ErrSymlink}, {"a/out/etc", ErrSymlink}, {"dangling", ErrSymlink},
			{"a/file", ErrNotDir}, {"a/file/x", ErrNotDir},
			{"none", fs.ErrNotExist}, {"a/none/b", fs.ErrNotExist},
			{"", ErrName}, {"..", ErrName}, {"a/..", ErrName}, {"a/../..", ErrName}, {"/", ErrName}, {"/etc", ErrName},
			{"./a", ErrName}, {"a/", ErrName}, {"a//b", ErrName}, {"a\x00", ErrName},
		} {
			d, err := r.OpenDir(c.path)
			if !errors.Is(err, c.want) {
				t.Errorf("OpenDir(%q): %v, want %v", c.path, err, c.want)
			}
			if err == nil {
				if d.Path() != c.path {
					t.Errorf("path %q, want %q", d.Path(), c.path)
				}
				d.Close()
			}
		}
		a := openDir(t, r, "a")
		for name, want := range map[string]error{"b": nil, "out": ErrSymlink, "file": ErrNotDir, "b/c": ErrName, ".": ErrName, "..": ErrName, "": ErrName, "x": fs.ErrNotExist} {
			c, err := a.OpenChild(name)
			if !errors.Is(err, want) {
				t.Errorf("OpenChild(%q): %v, want %v", name, err, want)
			}
			if err == nil {
				if c.Path() != "a/b" {
					t.Errorf("path %q", c.Path())
				}
				c.Close()
			}
		}
	})
}

func TestOpenRefusesRelativeAndFiles(t *testing.T) {
	if _, err := Open("."); err == nil {
		t.Error("a relative root was opened")
	}
	f := filepath.Join(t.TempDir(), "f")
	must(t, os.WriteFile(f, nil, 0o644))
	if _, err := Open(f); !errors.Is(err, ErrNotDir) {
		t.Errorf("a file as root: %v", err)
	}
}

func TestCache(t *testing.T) {
	r := openRoot(t, t.TempDir())
	for i := range cacheSize + 10 {
		must(t, os.MkdirAll(fmt.Sprintf("%s/d%d/e", r.Path(), i), 0o755))
	}
	get := func(path string) *Dir {
		t.Helper()
		d, err := r.Dir(path)
		must(t, err)
		must(t, d.Close())
		return d
	}
	a := get("d0/e")
	if get("d0/e") != a {
		t.Error("the second time was no hit")
	}
	r.Invalidate("d") // another name, not a parent
	if get("d0/e") != a {
		t.Error("Invalidate took a directory that is not below its prefix")
	}
	r.Invalidate("d0")
	if get("d0/e") == a {
		t.Error("Invalidate left a directory below its prefix")
	}
	before := countFDs(t)
	for i := range cacheSize + 10 {
		get(fmt.Sprintf("d%d", i))
	}
	if n := countFDs(t) - before; n > cacheSize {
		t.Errorf("%d descriptors are cached", n)
	}
	held, err := r.Dir("d3")
	must(t, err)
	r.Invalidate(".")
	if _, err := held.Lstat("e"); err != nil {
		t.Errorf("a held directory after Invalidate: %v", err)
	}
	must(t, held.Close())
}

func TestCloseTwicePanics(t *testing.T) {
	r := openRoot(t, t.TempDir())
	d, err := r.OpenDir(".")
	must(t, err)
	must(t, d.Close())
	defer func() {
		if recover() == nil {
			t.Error("the second Close went unnoticed")
		}
	}()
	d.Close()
}
