package tree

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"makuo/internal/fsroot"
	"makuo/protocol"
)

// entryOf scans one file.
func entryOf(t testing.TB, m *Module, path string) *protocol.Entry {
	t.Helper()
	got := scanTree(t, m, ScanSpec{Header: header(0, path)})
	e := got.find(path)
	if e == nil || e.Type != protocol.EntryRegular {
		t.Fatalf("%s: %+v %q", path, e, got.problems)
	}
	return e
}

// readAll puts the parts where they belong and counts their bytes.
func readAll(t *testing.T, f *File, buf []byte) (content []byte, sent int64) {
	t.Helper()
	content = make([]byte, f.Size())
	last := int64(0)
	for {
		n, off, err := f.Next(buf)
		if err == io.EOF {
			return content, sent
		}
		must(t, err)
		if n == 0 || off < last {
			t.Fatalf("%d bytes at %d, after %d", n, off, last)
		}
		copy(content[off:], buf[:n])
		sent += int64(n)
		last = off + int64(n)
	}
}

func TestFileNextAgainstReadFile(t *testing.T) {
	base := t.TempDir()
	rnd := rand.New(rand.NewPCG(7, 7))
	m := openModule(t, base)
	for i := range 60 {
		f, err := os.Create(base + "/f")
		must(t, err)
		for range rnd.IntN(5) {
			part := bytes.Repeat([]byte{1}, rnd.IntN(40000))
			_, err := f.WriteAt(part, int64(rnd.IntN(1<<20)))
			must(t, err)
		}
		if i%3 == 0 { // a hole at the end
			must(t, f.Truncate(1<<20+int64(rnd.IntN(1<<20))))
		}
		must(t, f.Close())
		want, err := os.ReadFile(base + "/f")
		must(t, err)
		file, err := m.Open(entryOf(t, m, "f"))
		must(t, err)
		got, sent := readAll(t, file, make([]byte, 1+rnd.IntN(200000)))
		if !bytes.Equal(got, want) {
			t.Fatalf("file %d: other content", i)
		}
		if holes := bytes.Count(want, make([]byte, 1<<18)); holes > 0 && file.sparse && sent == int64(len(want)) {
			t.Errorf("file %d: %d holes of 256 KiB were read", i, holes)
		}
		must(t, file.Verify())
		must(t, file.Close())
	}
}

func TestFileNextFillsTheBuffer(t *testing.T) {
	base := t.TempDir()
	must(t, os.WriteFile(base+"/f", make([]byte, 10), 0o644))
	m := openModule(t, base)
	f, err := m.Open(entryOf(t, m, "f"))
	must(t, err)
	defer f.Close()
	for _, want := range []int{4, 4, 2} {
		if n, _, err := f.Next(make([]byte, 4)); n != want || err != nil {
			t.Fatalf("%d, %v; want %d", n, err, want)
		}
	}
	for range 2 {
		if n, _, err := f.Next(make([]byte, 4)); n != 0 || err != io.EOF {
			t.Fatalf("%d, %v at the end", n, err)
		}
	}
}

func TestFileAllHole(t *testing.T) {
	base := t.TempDir()
	must(t, os.WriteFile(base+"/f", nil, 0o644))
	must(t, os.Truncate(base+"/f", 1<<30))
	m := openModule(t, base)
	f, err := m.Open(entryOf(t, m, "f"))
	must(t, err)
	defer f.Close()
	if _, sent := readAll(t, f, make([]byte, 1<<20)); sent != 0 {
		t.Errorf("%d bytes of a file that is one hole", sent)
	}
}

func TestOpenChecksTheManifest(t *testing.T) {
	base := t.TempDir()
	must(t, os.Mkdir(base+"/d", 0o755))
	path := base + "/d/f"
	when := time.Unix(1e9, 5)
	write := func() {
		must(t, os.RemoveAll(path))
		must(t, os.WriteFile(path, []byte("hello"), 0o644))
		must(t, os.Chtimes(path, when, when))
	}
	m := openModule(t, base)
	for what, c := range map[string]struct {
		do   func() error
		want error
	}{
		"nothing":       {func() error { return nil }, nil},
		"removed":       {func() error { return os.Remove(path) }, ErrVanished},
		"no dir":        {func() error { return os.RemoveAll(base + "/d") }, ErrVanished},
		"longer":        {func() error { os.WriteFile(path, []byte("longer"), 0o644); return os.Chtimes(path, when, when) }, ErrChanged},
		"other time":    {func() error { return os.Chtimes(path, when, when.Add(time.Nanosecond)) }, ErrChanged},
		"a link":        {func() error { os.Remove(path); return os.Symlink("/etc/passwd", path) }, ErrChanged},
		"a dir":         {func() error { os.Remove(path); return os.Mkdir(path, 0o755) }, ErrChanged},
		"dir is a link": {func() error { os.RemoveAll(base + "/d"); return os.Symlink("/etc", base+"/d") }, ErrChanged},
		"a fifo":        {func() error { os.Remove(path); return mkfifo(path) }, ErrChanged},
	} {
		must(t, os.RemoveAll(base+"/d"))
		must(t, os.Mkdir(base+"/d", 0o755))
		write()
		e := entryOf(t, m, "d/f")
		m.Root.Invalidate(".")
		must(t, c.do())
		f, err := m.Open(e)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
		if err == nil {
			f.Close()
		}
	}
}

func mkfifo(path string) error {
	r, err := fsroot.Open(path[:len(path)-2])
	if err != nil {
		return err
	}
	defer r.Close()
	d, err := r.OpenDir(".")
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Mkfifo("f", 0o600)
}

func TestFileChangesWhileRead(t *testing.T) {
	base := t.TempDir()
	path := base + "/f"
	must(t, os.WriteFile(path, make([]byte, 100), 0o644))
	m := openModule(t, base)
	open := func() *File {
		f, err := m.Open(entryOf(t, m, "f"))
		must(t, err)
		t.Cleanup(func() { f.Close() })
		return f
	}
	f := open()
	must(t, os.Truncate(path, 50))
	if _, _, err := f.Next(make([]byte, 80)); !errors.Is(err, ErrChanged) {
		t.Errorf("a shorter file: %v", err)
	}
	if err := f.Verify(); !errors.Is(err, ErrChanged) {
		t.Errorf("verify a shorter file: %v", err)
	}
	f = open()
	when := time.Unix(f.start.Sec, int64(f.start.Nsec))
	must(t, os.WriteFile(path, bytes.Repeat([]byte{1}, 50), 0o644))
	must(t, os.Chtimes(path, when, when))
	if f.start.CSec == 0 {
		t.Skip("this file system has no change time")
	}
	if err := f.Verify(); !errors.Is(err, ErrChanged) {
		t.Errorf("same size, time set back: %v", err)
	}
}
