package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cespare/xxhash/v2"

	"makuo/internal/fsroot"
	"makuo/protocol"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// scanned is what a scan said.
type scanned struct {
	entries  []protocol.Entry
	problems []string // "path: text"
	warnings []string
	batches  int
}

func (s *scanned) paths() []string {
	var ps []string
	for _, e := range s.entries {
		ps = append(ps, e.Path)
	}
	return ps
}

func (s *scanned) find(path string) *protocol.Entry {
	for i := range s.entries {
		if s.entries[i].Path == path {
			return &s.entries[i]
		}
	}
	return nil
}

func openModule(t testing.TB, base string, change ...func(*ModuleConfig)) *Module {
	t.Helper()
	cfg := ModuleConfig{Name: "default", Proof: base + ".stage", Base: base}
	for _, f := range change {
		f(&cfg)
	}
	m, err := OpenModule(cfg)
	must(t, err)
	t.Cleanup(func() { m.Close() })
	return m
}

func header(options uint32, paths ...string) *protocol.PushHeader {
	return &protocol.PushHeader{Module: "default", Name: "origin", Options: options, Paths: paths}
}

// scanTree scans and checks what is true of every scan: numbers, order,
// limits, and that the batch survives the wire.
func scanTree(t testing.TB, m *Module, spec ScanSpec) *scanned {
	t.Helper()
	var s scanned
	spec.Problem = func(path, text string, warning bool) {
		if warning {
			s.warnings = append(s.warnings, path+": "+text)
		} else {
			s.problems = append(s.problems, path+": "+text)
		}
	}
	err := m.Scan(context.Background(), spec, func(b *protocol.Batch) error {
		if int(b.Number) != s.batches || int(b.First) != len(s.entries) {
			t.Errorf("batch %d, first %d after %d batches, %d entries", b.Number, b.First, s.batches, len(s.entries))
		}
		content := b.Append(nil)
		if len(content) > protocol.MaxContent {
			t.Errorf("batch of %d bytes", len(content))
		}
		size := 0
		for i := range b.Entries {
			size += b.Entries[i].EncodedSize()
		}
		if size > maxBatchBytes && len(b.Entries) > 1 {
			t.Errorf("batch of %d entries and up to %d bytes", len(b.Entries), size)
		}
		again, err := protocol.ParseBatch(content)
		must(t, err)
		if !reflect.DeepEqual(again, b) {
			t.Errorf("batch %d is another one after the wire", b.Number)
		}
		if n := len(s.entries); n > 0 && protocol.ComparePaths(s.entries[n-1].Path, b.Entries[0].Path) >= 0 {
			t.Errorf("%q after %q", b.Entries[0].Path, s.entries[n-1].Path)
		}
		s.batches++
		s.entries = append(s.entries, b.Entries...)
		return nil
	})
	must(t, err)
	return &s
}

// model is the same walk with the standard library, without batches.
func model(t testing.TB, base string, paths []string, sum bool) []protocol.Entry {
	t.Helper()
	acc := newAccounts("/etc/passwd", "/etc/group")
	acc.refresh()
	var es []protocol.Entry
	first := make(map[uint64]int)
	for _, p := range paths {
		must(t, filepath.WalkDir(filepath.Join(base, p), func(path string, d fs.DirEntry, err error) error {
			must(t, err)
			rel, _ := filepath.Rel(base, path)
			es = append(es, modelEntry(t, acc, path, rel, sum))
			return nil
		}))
	}
	slices.SortFunc(es, func(a, b protocol.Entry) int { return protocol.ComparePaths(a.Path, b.Path) })
	for i := range es {
		info, err := os.Lstat(filepath.Join(base, es[i].Path))
		must(t, err)
		st := info.Sys().(*syscall.Stat_t)
		if info.IsDir() || st.Nlink == 1 {
			continue
		}
		if j, ok := first[st.Ino]; ok {
			es[i] = protocol.Entry{Path: es[i].Path, Type: protocol.EntryHardlink, Link: es[j].Path}
		} else {
			first[st.Ino] = i
			es[i].Flags |= protocol.EntryLinked
		}
	}
	return es
}

func modelEntry(t testing.TB, acc *accounts, path, rel string, sum bool) protocol.Entry {
	info, err := os.Lstat(path)
	must(t, err)
	st := info.Sys().(*syscall.Stat_t)
	e := protocol.Entry{Path: rel, Mode: st.Mode & 0o7777, User: acc.user(st.Uid), Group: acc.group(st.Gid),
		Sec: info.ModTime().Unix(), Nsec: uint32(info.ModTime().Nanosecond())}
	switch info.Mode().Type() {
	case 0:
		e.Type, e.Size = protocol.EntryRegular, uint64(info.Size())
		if sum {
			b, err := os.ReadFile(path)
			must(t, err)
			e.HasSum, e.Sum = true, xxhash.Sum64(b)
		}
	case fs.ModeDir:
		e.Type, e.Flags = protocol.EntryDirectory, protocol.EntryRecurse
	case fs.ModeSymlink:
		e.Type = protocol.EntrySymlink
		e.Link, err = os.Readlink(path)
		must(t, err)
	case fs.ModeNamedPipe:
		e.Type = protocol.EntryFIFO
	}
	return e
}

// grow makes a random tree with names that tempt a wrong order.
func grow(t testing.TB, rnd *rand.Rand, dir string, n int) {
	names := []string{"a", "a.b", "a b", "a-", "a0", "aa", "A", "\x01", "a\xff", "é", "-", "a\nb", "..a", ".h"}
	dirs, files := []string{dir}, []string(nil)
	for range n {
		p := filepath.Join(dirs[rnd.IntN(len(dirs))], names[rnd.IntN(len(names))])
		if _, err := os.Lstat(p); err == nil {
			continue
		}
		switch rnd.IntN(8) {
		case 0, 1:
			must(t, os.Mkdir(p, 0o700|fs.FileMode(rnd.IntN(64))))
			dirs = append(dirs, p)
		case 2:
			must(t, os.Symlink(strings.Repeat("../", rnd.IntN(3))+"x", p))
		case 3:
			must(t, syscall.Mkfifo(p, 0o600))
		case 4:
			if len(files) > 0 {
				must(t, os.Link(files[rnd.IntN(len(files))], p))
				continue
			}
			fallthrough
		default:
			must(t, os.WriteFile(p, make([]byte, rnd.IntN(3000)), 0o600|fs.FileMode(rnd.IntN(64))))
			files = append(files, p)
		}
	}
}

func TestScanAgainstModel(t *testing.T) {
	for seed := range uint64(30) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		base := t.TempDir()
		grow(t, rnd, base, 20<<(seed%6))
		m := openModule(t, base)
		sum := seed%2 == 1
		options := protocol.OptRecursive
		if sum {
			options |= protocol.OptChecksum
		}
		got := scanTree(t, m, ScanSpec{Header: header(options, ".")})
		compare(t, fmt.Sprintf("seed %d", seed), got, model(t, base, []string{"."}, sum))
	}
}

func compare(t *testing.T, what string, got *scanned, want []protocol.Entry) {
	t.Helper()
	if len(got.problems)+len(got.warnings) > 0 {
		t.Errorf("%s: %q %q", what, got.problems, got.warnings)
	}
	if len(got.entries) != len(want) {
		t.Fatalf("%s: %d entries, want %d", what, len(got.entries), len(want))
	}
	for i := range want {
		if !reflect.DeepEqual(got.entries[i], want[i]) {
			t.Fatalf("%s: entry %d\n got %+v\nwant %+v", what, i, got.entries[i], want[i])
		}
	}
}

func TestScanPushedPaths(t *testing.T) {
	base := t.TempDir()
	for _, f := range []string{"a/b/c/f", "a/b/g", "a/b.x/h", "a/i", "z/y/j", "k"} {
		must(t, os.MkdirAll(filepath.Dir(base+"/"+f), 0o755))
		must(t, os.WriteFile(base+"/"+f, []byte(f), 0o644))
	}
	must(t, os.Symlink("a", base+"/link"))
	const (
		r = protocol.OptRecursive
		d = protocol.OptDelete
		m = protocol.OptDeleteMissing
	)
	mod := openModule(t, base)
	for _, c := range []struct {
		options  uint32
		paths    []string
		want     string
		problems int
	}{
		{r, []string{"a/b/c", "a/i"}, "a:p a/b:p a/b/c:r a/b/c/f a/i", 0},
		{r, []string{"a/b", "a/b.x/h", "z/y"}, "a:p a/b:r a/b/c:r a/b/c/f a/b/g a/b.x:p a/b.x/h z:p z/y:r z/y/j", 0},
		{0, []string{".", "a", "a/b/c", "k"}, ".: a: a/b:p a/b/c: k", 0},
		{0, []string{"a/b", "a/b/c", "a/b/c/f"}, "a:p a/b: a/b/c: a/b/c/f", 0},
		{r | d, []string{"none", "none/x"}, "none:failed none/x:failed", 2},
		{m, []string{"a/none", "k/below", "none/x"}, "a:p a/none:absent k/below:absent none/x:absent", 0},
		{r | d, []string{"link"}, "link", 0},
		{r | d, []string{"link/b"}, "link/b:failed", 1},
	} {
		got := scanTree(t, mod, ScanSpec{Header: header(c.options, c.paths...)})
		var words []string
		for _, e := range got.entries {
			w := e.Path
			switch {
			case e.Type == protocol.EntryAbsent:
				w += ":absent"
			case e.Type == protocol.EntryFailed:
				w += ":failed"
			case e.Type != protocol.EntryDirectory:
			case e.Flags == protocol.EntryImplied:
				w += ":p"
			case e.Flags == protocol.EntryRecurse:
				w += ":r"
			case e.Flags == 0:
				w += ":"
			}
			words = append(words, w)
		}
		if s := strings.Join(words, " "); s != c.want {
			t.Errorf("%q:\n got %s\nwant %s", c.paths, s, c.want)
		}
		if len(got.problems) != c.problems {
			t.Errorf("%q: problems %q", c.paths, got.problems)
		}
	}
}

func TestScanFilter(t *testing.T) {
	base := t.TempDir()
	for _, f := range []string{"w/keep/x.o", "w/keep/x.c", "w/.git/config", "w/sub/.git", "v/.git/y"} {
		must(t, os.MkdirAll(filepath.Dir(base+"/"+f), 0o755))
		must(t, os.WriteFile(base+"/"+f, nil, 0o644))
	}
	filter, err := NewFilter([]protocol.Rule{{Pattern: "/w/.git"}, {Pattern: "*.o"}, {Pattern: "sub/"}})
	must(t, err)
	m := openModule(t, base)
	got := scanTree(t, m, ScanSpec{Header: header(protocol.OptRecursive, "."), Filter: filter})
	if want := []string{".", "v", "v/.git", "v/.git/y", "w", "w/keep", "w/keep/x.c"}; !slices.Equal(got.paths(), want) {
		t.Errorf("got %q, want %q", got.paths(), want)
	}
	got = scanTree(t, m, ScanSpec{Header: header(protocol.OptRecursive, "w/keep", "w/sub"), Filter: filter})
	if want := []string{"w", "w/keep", "w/keep/x.c"}; !slices.Equal(got.paths(), want) {
		t.Errorf("got %q, want %q", got.paths(), want)
	}
}

func TestScanLeavesOutTheStage(t *testing.T) {
	base := t.TempDir()
	for _, d := range []string{protocol.StageName + "/x", "a/" + protocol.StageName, "tmp/stage/x", "tmp/stage2"} {
		must(t, os.MkdirAll(base+"/"+d, 0o755))
	}
	m := openModule(t, base, func(c *ModuleConfig) { c.Stage = base + "/tmp/stage" })
	got := scanTree(t, m, ScanSpec{Header: header(protocol.OptRecursive, ".")})
	if want := []string{".", "a", "tmp", "tmp/stage2"}; !slices.Equal(got.paths(), want) {
		t.Errorf("got %q, want %q", got.paths(), want)
	}
	if len(got.problems) != 0 || len(got.warnings) != 1 {
		t.Errorf("problems %q, warnings %q", got.problems, got.warnings)
	}
	got = scanTree(t, m, ScanSpec{Header: header(protocol.OptRecursive, "tmp/stage/x")})
	if len(got.problems) != 1 || len(got.entries) != 1 || got.entries[0].Type != protocol.EntryFailed {
		t.Errorf("%q, %+v", got.problems, got.entries)
	}
}

func TestScanSpecialFiles(t *testing.T) {
	base := t.TempDir()
	must(t, os.MkdirAll(base+"/d", 0o755))
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	must(t, err)
	defer syscall.Close(fd)
	must(t, syscall.Bind(fd, &syscall.SockaddrUnix{Name: shortPath(t, base) + "/d/socket"}))
	device := syscall.Mknod(base+"/d/device", syscall.S_IFCHR|0o600, 1<<8|3) == nil
	if !device {
		t.Log("devices are left out: making one needs root")
	}
	m := openModule(t, base)
	got := scanTree(t, m, ScanSpec{Header: header(protocol.OptRecursive, "d")})
	if e := got.find("d/socket"); e == nil || e.Type != protocol.EntryFailed {
		t.Errorf("socket: %+v", e)
	}
	if e := got.find("d/device"); device && (e == nil || e.Type != protocol.EntryFailed || len(got.warnings) != 2) {
		t.Errorf("device without --devices: %+v, %q", e, got.warnings)
	}
	got = scanTree(t, m, ScanSpec{Header: header(protocol.OptRecursive|protocol.OptDevices, "d")})
	if e := got.find("d/device"); device && (e == nil || e.Type != protocol.EntryChar || e.Rdev != 1<<8|3) {
		t.Errorf("device: %+v", e)
	}
}

// shortPath names a directory by a descriptor, as socket addresses are short.
func shortPath(t *testing.T, dir string) string {
	f, err := os.Open(dir)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	return fmt.Sprintf("/proc/self/fd/%d", f.Fd())
}

func TestScanOwnerMatch(t *testing.T) {
	base := t.TempDir()
	must(t, os.WriteFile(base+"/f", nil, 0o644))
	other := uint32(os.Geteuid() + 1)
	m := openModule(t, base, func(c *ModuleConfig) { c.OwnerMatch, c.UID = true, &other })
	got := scanTree(t, m, ScanSpec{Header: header(protocol.OptRecursive, ".")})
	if e := got.find("f"); e == nil || e.Type != protocol.EntryFailed || len(got.warnings) != 1 || len(got.problems) != 0 {
		t.Errorf("%+v %q %q", e, got.warnings, got.problems)
	}
	if got.entries[0].Type != protocol.EntryDirectory {
		t.Errorf("the directory: %+v", got.entries[0])
	}
	m = openModule(t, base, func(c *ModuleConfig) { c.OwnerMatch = true })
	if e := scanTree(t, m, ScanSpec{Header: header(protocol.OptRecursive, ".")}).find("f"); e.Type != protocol.EntryRegular {
		t.Errorf("own file: %+v", e)
	}
}

func TestScanTooLongPath(t *testing.T) {
	base := t.TempDir()
	m := openModule(t, base)
	d, err := m.Root.OpenDir(".")
	must(t, err)
	name := strings.Repeat("n", 255)
	for range 17 { // 16 of them are 4,095 bytes
		must(t, d.Mkdir(name, 0o755))
		c, err := d.OpenChild(name)
		must(t, err)
		d.Close()
		d = c
	}
	d.Close()
	t.Cleanup(func() { // os.RemoveAll of TempDir can do this too, but not everywhere
		d, err := m.Root.OpenDir(".")
		must(t, err)
		defer d.Close()
		must(t, d.RemoveTree(name))
	})
	got := scanTree(t, m, ScanSpec{Header: header(protocol.OptRecursive, ".")})
	if len(got.entries) != 17 || len(got.problems) != 1 {
		t.Fatalf("%d entries, problems %q", len(got.entries), got.problems)
	}
	for i, e := range got.entries {
		if incomplete := e.Flags&protocol.EntryIncomplete != 0; incomplete != (i == 16) {
			t.Errorf("entry %d: incomplete is %v", i, incomplete)
		}
	}
}

// TestScanBatches: the first batches are small, all are bounded.
func TestScanBatches(t *testing.T) {
	base := t.TempDir()
	for i := range 3000 {
		must(t, os.WriteFile(fmt.Sprintf("%s/%s%04d", base, strings.Repeat("n", 200*(i/2500)), i), nil, 0o644))
	}
	m := openModule(t, base)
	var sizes []int
	spec := ScanSpec{Header: header(protocol.OptRecursive, "."), Problem: ignore}
	must(t, m.Scan(t.Context(), spec, func(b *protocol.Batch) error {
		sizes = append(sizes, len(b.Entries))
		return nil
	}))
	if !slices.Equal(sizes[:4], []int{128, 256, 512, 1024}) {
		t.Errorf("batches of %d", sizes)
	}
	scanTree(t, m, ScanSpec{Header: spec.Header})
}

func TestScanLimitAndCancel(t *testing.T) {
	base := t.TempDir()
	for i := range 50 {
		must(t, os.WriteFile(fmt.Sprint(base, "/", i), nil, 0o644))
	}
	m := openModule(t, base)
	nothing := func(string, string, bool) {}
	spec := ScanSpec{Header: header(protocol.OptRecursive, "."), Problem: nothing, Limit: 50}
	if err := m.Scan(t.Context(), spec, func(*protocol.Batch) error { return nil }); err == nil {
		t.Error("51 entries passed a limit of 50")
	}
	spec.Limit = 51
	must(t, m.Scan(t.Context(), spec, func(*protocol.Batch) error { return nil }))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := m.Scan(ctx, spec, func(*protocol.Batch) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	stop := errors.New("stop")
	if err := m.Scan(t.Context(), spec, func(*protocol.Batch) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("emit failed: %v", err)
	}
}

func TestScanRootReplaced(t *testing.T) {
	base := t.TempDir() + "/m"
	must(t, os.Mkdir(base, 0o755))
	m := openModule(t, base)
	must(t, os.Rename(base, base+".old"))
	must(t, os.Mkdir(base, 0o755))
	err := m.Scan(t.Context(), ScanSpec{Header: header(protocol.OptRecursive, ".")}, nil)
	if !errors.Is(err, fsroot.ErrMoved) {
		t.Errorf("replaced root: %v", err)
	}
	must(t, os.Remove(base))
	must(t, os.Remove(base+".old"))
	if err := m.Scan(t.Context(), ScanSpec{Header: header(protocol.OptRecursive, ".")}, nil); !errors.Is(err, fsroot.ErrMoved) {
		t.Errorf("removed root: %v", err)
	}
}
