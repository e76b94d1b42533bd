package fsroot

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
)

func TestNamesAgainstReadDir(t *testing.T) {
	r := openRoot(t, t.TempDir())
	rnd := rand.New(rand.NewPCG(3, 4))
	d := openDir(t, r, ".")
	for i := range 3000 {
		name := fmt.Sprintf("%x%s", rnd.IntN(1<<20), bytes.Repeat([]byte{byte(1 + rnd.IntN(40))}, rnd.IntN(200)))
		switch i % 3 {
		case 0:
			_ = d.Mkdir(name, 0o755)
		case 1:
			_ = d.Symlink("x", name)
		default:
			_ = os.WriteFile(r.Path()+"/"+name, nil, 0o644)
		}
	}
	names := new(Names)
	for range 2 { // the second time from the start again, into used memory
		must(t, d.ReadNames(names))
		want, err := os.ReadDir(r.Path())
		must(t, err)
		slices.SortFunc(want, func(a, b fs.DirEntry) int { return bytes.Compare([]byte(a.Name()), []byte(b.Name())) })
		if names.Len() != len(want) {
			t.Fatalf("%d names, want %d", names.Len(), len(want))
		}
		for i, e := range want {
			if names.Name(i) != e.Name() {
				t.Fatalf("name %d: %q, want %q", i, names.Name(i), e.Name())
			}
			typ := map[fs.FileMode]uint32{0: TypeRegular, fs.ModeDir: TypeDir, fs.ModeSymlink: TypeSymlink}[e.Type()]
			if got := names.Type(i); got != typ && got != 0 {
				t.Fatalf("%q: type %o, want %o", e.Name(), got, typ)
			}
		}
	}
}

func dirent(name string, typ byte) []byte {
	size := (19 + len(name) + 1 + 7) &^ 7
	b := make([]byte, size)
	binary.NativeEndian.PutUint16(b[16:], uint16(size))
	b[18] = typ
	copy(b[19:], name)
	return b
}

func TestNamesAreUniqueAndSorted(t *testing.T) {
	var n Names
	var b []byte
	for _, name := range []string{"b", ".", "a.b", "a", "b", "..", "abcdefghi", "abcdefghj", "a", "abcdefgh", "\xff", "A"} {
		b = append(b, dirent(name, 8)...)
	}
	must(t, n.parseDirents(b))
	n.sort()
	var got []string
	for i := range n.Len() {
		got = append(got, n.Name(i))
	}
	if want := []string{"A", "a", "a.b", "abcdefgh", "abcdefghi", "abcdefghj", "b", "\xff"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzParseDirents(f *testing.F) {
	f.Add(append(dirent("a", 8), dirent("b", 4)...))
	f.Add(dirent("", 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		var n Names
		err := n.parseDirents(b)
		n.sort()
		for i := range n.Len() {
			if name := n.Name(i); name == "." || name == ".." || len(name) > maxName || (i > 0 && n.Name(i-1) >= name) {
				t.Fatalf("name %q, %v", name, err)
			}
		}
	})
}

func TestNamesMemory(t *testing.T) {
	const count = 1_000_000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	n := new(Names)
	name := make([]byte, 0, 32)
	for i := range count {
		name = fmt.Appendf(name[:0], "file-name-%06d.html", (i*7919)%count)
		must(t, n.add(8, name))
	}
	n.sort()
	runtime.ReadMemStats(&after)
	if n.Len() != count || n.Name(123456) != "file-name-123456.html" {
		t.Fatalf("%d names, %q", n.Len(), n.Name(123456))
	}
	if used := after.HeapAlloc - before.HeapAlloc; used > 60<<20 {
		t.Errorf("%d MiB in use for a million names", used>>20)
	}
	runtime.KeepAlive(n)
	n.Reset()
	if len(n.chunks) != 0 {
		t.Error("a huge listing is kept for the next directory")
	}
}

// TestNamesAgain lists one open directory twice: the second time it begins anew.
func TestNamesAgain(t *testing.T) {
	dir := t.TempDir()
	r, err := Open(dir)
	must(t, err)
	defer r.Close()
	d, err := r.OpenDir(".")
	must(t, err)
	defer d.Close()
	for _, name := range [...]string{"b", "a"} {
		must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
		names, err := d.Names()
		must(t, err)
		if got := names.Name(0); got != name {
			t.Errorf("the first of %d names is %q after %q was made", names.Len(), got, name)
		}
	}
}
