package tree

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/sys/unix"

	"makuo/protocol"
)

// pusher pushes from one module to another in one process.
type pusher struct {
	src, dst *Module
	options  uint32
	max      uint64
	paths    []string
	rules    []protocol.Rule
	shuffle  *rand.Rand // order of blocks; nil: as read
	failing  func(e *protocol.Entry) bool
	partSize int
	id       int64
}

type outcome struct {
	data, change []string // paths
	deleted      []string
	problems     []protocol.Problem
	counts       protocol.Counts
	srcProblems  []string
}

func (o *outcome) errors() (list []string) {
	for _, p := range o.problems {
		if !p.Warning {
			list = append(list, p.Path+": "+p.Text)
		}
	}
	return list
}

func openTestModule(t testing.TB, dir string, change ...func(*ModuleConfig)) *Module {
	t.Helper()
	cfg := ModuleConfig{Name: "default", Base: dir, Devices: true}
	for _, f := range change {
		f(&cfg)
	}
	m, err := OpenModule(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func (p *pusher) header(t testing.TB) *protocol.PushHeader {
	t.Helper()
	paths := p.paths
	if paths == nil {
		paths = []string{"."}
	}
	merged, err := MergePaths(paths, p.options&protocol.OptRecursive != 0)
	if err != nil {
		t.Fatal(err)
	}
	return &protocol.PushHeader{Module: "default", Name: "origin", Options: p.options, MaxDelete: p.max, Paths: merged, Rules: p.rules}
}

type blockOfPieces struct {
	pieces []protocol.Piece
	hash   uint64
}

// compare scans and compares, and returns the blocks to store.
func (p *pusher) compare(t testing.TB, tg *Target, h *protocol.PushHeader, o *outcome) (blocks []blockOfPieces, digest uint64) {
	t.Helper()
	filter, err := NewFilter(h.Rules)
	if err != nil {
		t.Fatal(err)
	}
	spec := ScanSpec{Header: h, Filter: filter, Problem: func(path, text string, warning bool) {
		o.srcProblems = append(o.srcProblems, path+": "+text)
	}}
	err = p.src.Scan(context.Background(), spec, func(b *protocol.Batch) error {
		content := b.Append(nil)
		digest = protocol.ChainDigest(digest, content)
		b, err := protocol.ParseBatch(content)
		if err != nil {
			return err
		}
		data, change, err := tg.Compare(b)
		if err != nil {
			return err
		}
		for i := range b.Entries {
			e := &b.Entries[i]
			if change[i/8]&(1<<(i%8)) != 0 {
				o.change = append(o.change, e.Path)
			}
			if data[i/8]&(1<<(i%8)) != 0 {
				o.data = append(o.data, e.Path)
				blocks = append(blocks, p.read(t, b.First+uint32(i), e)...)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := tg.EndCompare(); err != nil {
		t.Fatal(err)
	}
	return blocks, digest
}

// read makes the blocks of one file.
func (p *pusher) read(t testing.TB, n uint32, e *protocol.Entry) (blocks []blockOfPieces) {
	t.Helper()
	if p.failing != nil && p.failing(e) {
		return []blockOfPieces{{pieces: []protocol.Piece{{Type: protocol.PieceFail, Entry: n}}}}
	}
	if p.options&protocol.OptDryRun != 0 {
		return nil
	}
	f, err := p.src.Open(e)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size := p.partSize
	if size == 0 {
		size = 16 << 10
	}
	var h protocol.FileHash
	for {
		buf := make([]byte, size)
		k, off, err := f.Next(buf)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if off == 0 && uint64(k) == e.Size {
			return []blockOfPieces{{pieces: []protocol.Piece{{Type: protocol.PieceWhole, Entry: n, Data: buf[:k]}}}}
		}
		sum := xxhash.Sum64(buf[:k])
		h.Add(uint64(off), sum)
		blocks = append(blocks, blockOfPieces{pieces: []protocol.Piece{{Type: protocol.PiecePart, Entry: n, Offset: uint64(off), Data: buf[:k]}}, hash: sum})
	}
	return append(blocks, blockOfPieces{pieces: []protocol.Piece{{Type: protocol.PieceEnd, Entry: n, Size: e.Size, Hash: h.Sum()}}})
}

// stage does everything up to Stage.
func (p *pusher) stage(t testing.TB) (*Target, *outcome) {
	t.Helper()
	p.id++
	o := &outcome{}
	h := p.header(t)
	tg, err := p.dst.Begin(protocol.PushID{Start: time.Now().UnixNano() + p.id, Origin: 7}, h)
	if err != nil {
		t.Fatal(err)
	}
	blocks, digest := p.compare(t, tg, h, o)
	if p.options&protocol.OptDryRun == 0 {
		if p.shuffle != nil {
			p.shuffle.Shuffle(len(blocks), func(i, j int) { blocks[i], blocks[j] = blocks[j], blocks[i] })
		}
		for _, b := range blocks {
			if err := tg.Store(b.pieces, b.hash); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := tg.Stage(digest); err != nil {
			t.Fatal(err)
		}
	}
	return tg, o
}

func (p *pusher) push(t testing.TB) *outcome {
	t.Helper()
	tg, o := p.stage(t)
	if p.options&protocol.OptDryRun == 0 {
		if _, _, err := tg.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	o.collect(t, tg)
	tg.Close()
	return o
}

func (o *outcome) collect(t testing.TB, tg *Target) {
	t.Helper()
	o.counts = tg.Counts()
	b := readWholeLog(t, tg, protocol.PageProblems)
	for len(b) > 0 {
		p, rest, ok, err := protocol.ParseProblem(b)
		if err != nil || !ok {
			t.Fatalf("log of problems: %v", err)
		}
		o.problems, b = append(o.problems, p), rest
	}
	b = readWholeLog(t, tg, protocol.PageDeletes)
	for len(b) > 0 {
		d, rest, ok := protocol.ParseDeletedPath(b)
		if !ok {
			t.Fatal("log of deletions is cut off")
		}
		o.deleted, b = append(o.deleted, d.Path), rest
	}
}

func readWholeLog(t testing.TB, tg *Target, kind protocol.PageKind) []byte {
	t.Helper()
	b := make([]byte, tg.LogSize(kind))
	for off := 0; off < len(b); {
		n, err := tg.ReadLog(kind, b[off:min(off+protocol.MaxPage, len(b))], int64(off))
		if err != nil && err != io.EOF {
			t.Fatal(err)
		}
		off += n
	}
	return b
}

// describe lists a tree with everything that counts, by means that share
// nothing with the code under test.
func describe(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	links := make(map[uint64][]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		var st syscall.Stat_t
		if err := syscall.Lstat(path, &st); err != nil {
			return err
		}
		s := fmt.Sprintf("%o %d:%d %d.%09d", st.Mode, st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec)
		switch st.Mode & syscall.S_IFMT {
		case syscall.S_IFREG:
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			s += fmt.Sprintf(" size %d sum %x", len(b), xxhash.Sum64(b))
		case syscall.S_IFLNK:
			l, err := os.Readlink(path)
			if err != nil {
				return err
			}
			s += " -> " + l
		case syscall.S_IFCHR, syscall.S_IFBLK:
			s += fmt.Sprintf(" rdev %x", st.Rdev)
		}
		if st.Mode&syscall.S_IFMT != syscall.S_IFDIR && st.Nlink > 1 {
			links[st.Ino] = append(links[st.Ino], rel)
		}
		all[rel] = s + describeXattrs(path)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, names := range links {
		sort.Strings(names)
		for _, n := range names {
			all[n] += " links " + strings.Join(names, ",")
		}
	}
	return all
}

func describeXattrs(path string) (s string) {
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, buf)
	if err != nil {
		return ""
	}
	names := strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00")
	sort.Strings(names)
	for _, name := range names {
		if name == "" || name == "security.selinux" {
			continue
		}
		v := make([]byte, 64<<10)
		k, err := unix.Lgetxattr(path, name, v)
		if err != nil {
			continue
		}
		s += fmt.Sprintf(" %s=%x", name, v[:k])
	}
	return s
}

func sameTrees(t testing.TB, want, got map[string]string) {
	t.Helper()
	for p, s := range want {
		if g, ok := got[p]; !ok {
			t.Errorf("missing: %s: %s", p, s)
		} else if g != s {
			t.Errorf("differs: %s\n  want %s\n  have %s", p, s, g)
		}
	}
	for p, s := range got {
		if _, ok := want[p]; !ok {
			t.Errorf("surplus: %s: %s", p, s)
		}
	}
}

// forest makes and edits random trees.
type forest struct {
	t    testing.TB
	r    *rand.Rand
	dir  string
	root bool
	seq  int
}

func newForest(t testing.TB, seed uint64) *forest {
	return &forest{t: t, r: rand.New(rand.NewPCG(seed, 1)), dir: tempTree(t), root: os.Geteuid() == 0}
}

// tempTree is a directory that goes whatever modes are in it.
func tempTree(t testing.TB) string {
	dir := t.TempDir()
	t.Cleanup(func() {
		filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if d != nil && d.IsDir() {
				os.Chmod(path, 0o755)
			}
			return nil
		})
	})
	return dir
}

func (f *forest) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

var oddNames = []string{"a", "a.b", "a-b", "b", "ab", " sp ace", "new\nline", "\xff\xfe", "ünï", "z", "index.html", strings.Repeat("n", 255)}

// grow adds things in dir down to a depth.
func (f *forest) grow(dir string, depth int) {
	for _, name := range oddNames {
		if f.r.IntN(2) == 0 {
			f.thing(filepath.Join(dir, name), depth)
		}
	}
}

func (f *forest) thing(path string, depth int) {
	kind := f.r.IntN(14)
	switch {
	case kind < 6:
		f.file(path)
	case kind < 9 && depth > 0:
		f.must(os.Mkdir(path, 0o755))
		f.must(os.Chmod(path, 0o755)) // a default ACL may have taken rights away
		f.grow(path, depth-1)
	case kind == 9:
		f.must(os.Symlink([]string{"target", "/etc/passwd", "..", "a b"}[f.r.IntN(4)], path))
	case kind == 10:
		f.must(syscall.Mkfifo(path, 0o600))
	case kind == 11 && f.root:
		f.must(syscall.Mknod(path, syscall.S_IFCHR|0o600, int(unix.Mkdev(1, uint32(3+f.r.IntN(4))))))
	case kind >= 12:
		if old := f.anyFile(); old != "" {
			f.must(os.Link(old, path))
			return
		}
		f.file(path)
	default:
		f.file(path)
	}
	f.attributes(path)
}

func (f *forest) file(path string) {
	f.seq++
	size := []int{0, 1, 100, 5000, 16 << 10, 70000}[f.r.IntN(6)]
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(f.r.Uint32())
	}
	w, err := os.Create(path)
	f.must(err)
	_, err = w.Write(b)
	f.must(err)
	if f.r.IntN(8) == 0 { // holes in the middle and at the end
		_, err = w.WriteAt([]byte("x"), 300000)
		f.must(err)
		f.must(w.Truncate(600000))
	}
	f.must(w.Close())
}

func (f *forest) anyFile() (found string) {
	n := 0
	filepath.WalkDir(f.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if n++; f.r.IntN(n) == 0 {
				found = path
			}
		}
		return nil
	})
	return found
}

func (f *forest) attributes(path string) {
	var st syscall.Stat_t
	f.must(syscall.Lstat(path, &st))
	dir := st.Mode&syscall.S_IFMT == syscall.S_IFDIR
	link := st.Mode&syscall.S_IFMT == syscall.S_IFLNK
	reg := st.Mode&syscall.S_IFMT == syscall.S_IFREG
	if f.root && f.r.IntN(3) == 0 {
		f.must(os.Lchown(path, f.r.IntN(3)*1000, f.r.IntN(3)*1000))
	}
	if !link {
		f.must(os.Chmod(path, 0o700))
	}
	if (dir || reg) && f.r.IntN(4) == 0 {
		f.must(unix.Lsetxattr(path, "user.makuo", []byte{byte(f.seq), 1}, 0))
		if f.r.IntN(2) == 0 {
			f.setACL(path, aclAccess)
		}
		if dir && f.r.IntN(2) == 0 {
			f.setACL(path, aclDefault)
		}
		if f.root && f.r.IntN(2) == 0 {
			f.must(unix.Lsetxattr(path, "trusted.makuo", []byte("t"), 0))
		}
	}
	if !link {
		modes := []uint32{0o644, 0o755, 0o600, 0o444, 0o4755, 0o2755, 0o1777, 0o640}
		if dir {
			modes = []uint32{0o755, 0o700, 0o555, 0o1777, 0o2755, 0o750}
		}
		f.must(syscall.Chmod(path, modes[f.r.IntN(len(modes))]))
	}
	sec := 1500000000 + f.r.Int64N(1e8)
	if f.r.IntN(10) == 0 {
		sec = -5
	}
	ts := []unix.Timespec{{Sec: 1}, {Sec: sec, Nsec: f.r.Int64N(1e9)}}
	f.must(unix.UtimesNanoAt(unix.AT_FDCWD, path, ts, unix.AT_SYMLINK_NOFOLLOW))
}

// setACL sets one with a named user.
func (f *forest) setACL(path, name string) {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range [][3]uint32{{1, 6, 1<<32 - 1}, {2, 4 + f.r.Uint32N(3), 1000 + f.r.Uint32N(3)}, {4, 4, 1<<32 - 1}, {0x10, 6, 1<<32 - 1}, {0x20, 0, 1<<32 - 1}} {
		b = binary.LittleEndian.AppendUint16(b, uint16(e[0]))
		b = binary.LittleEndian.AppendUint16(b, uint16(e[1]))
		b = binary.LittleEndian.AppendUint32(b, e[2])
	}
	if err := unix.Lsetxattr(path, name, b, 0); err != nil && !errors.Is(err, unix.ENOTSUP) {
		f.t.Fatal(err)
	}
}

// edit changes about a third of everything.
func (f *forest) edit() {
	var paths []string
	filepath.WalkDir(f.dir, func(path string, d fs.DirEntry, err error) error {
		if path != f.dir {
			paths = append(paths, path)
		}
		return nil
	})
	for _, p := range paths {
		if _, err := os.Lstat(p); err != nil {
			continue
		}
		parent := filepath.Dir(p)
		f.must(os.Chmod(parent, 0o755))
		switch f.r.IntN(12) {
		case 0:
			f.removeAll(p)
		case 1:
			f.removeAll(p)
			f.thing(p, 1)
		case 2:
			f.attributes(p)
		case 3:
			if st, err := os.Lstat(p); err == nil && st.IsDir() {
				f.must(os.Chmod(p, 0o755))
				f.grow2(p)
			}
		}
		if f.r.IntN(3) == 0 {
			f.attributes(parent)
		}
	}
	f.must(os.Chmod(f.dir, 0o755))
}

func (f *forest) grow2(dir string) {
	for i := range 3 {
		p := filepath.Join(dir, fmt.Sprintf("new%d", i))
		if _, err := os.Lstat(p); err != nil {
			f.thing(p, 1)
		}
	}
}

func (f *forest) removeAll(p string) {
	filepath.WalkDir(p, func(path string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			os.Chmod(path, 0o755)
		}
		return nil
	})
	f.must(os.RemoveAll(p))
}

// TestModel pushes random trees with random edits, and compares entry by entry.
func TestModel(t *testing.T) {
	n := 25
	if testing.Short() {
		n = 5
	}
	for seed := range n {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { modelRun(t, uint64(seed)) })
	}
}

func modelRun(t *testing.T, seed uint64) {
	f := newForest(t, seed)
	dst := tempTree(t)
	f.grow(f.dir, 3)
	p := &pusher{src: openTestModule(t, f.dir), dst: openTestModule(t, dst),
		options: protocol.OptRecursive | protocol.OptDelete | protocol.OptDevices, shuffle: f.r}
	for round := range 4 {
		if round == 2 {
			p.options |= protocol.OptChecksum
		}
		o := p.push(t)
		if e := o.errors(); len(e) > 0 || len(o.srcProblems) > 0 {
			t.Fatalf("seed %d round %d: problems: %q %q", seed, round, e, o.srcProblems)
		}
		sameTrees(t, describe(t, f.dir), describe(t, dst))
		if uint64(len(o.change)) != o.counts.Changed || uint64(len(o.deleted)) != o.counts.Deleted {
			t.Errorf("counts %+v, but %d changed and %d deleted", o.counts, len(o.change), len(o.deleted))
		}
		again := p.push(t)
		if len(again.change)+len(again.deleted)+len(again.problems) > 0 {
			t.Errorf("seed %d round %d: not stable: %q %q %v", seed, round, again.change, again.deleted, again.problems)
		}
		if t.Failed() {
			t.Fatalf("seed %d round %d", seed, round)
		}
		f.edit()
	}
}

// TestModelUnprivileged runs the model as an ordinary user.
func TestModelUnprivileged(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("is run by an ordinary user already")
	}
	tmp, err := os.MkdirTemp("", "makuo-user-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(tmp) })
	if err := os.Chmod(tmp, 0o777); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(tmp, "tree.test")
	if err := os.WriteFile(exe, b, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run", "^(TestModel|TestTypes|TestCrash|TestReadOnly.*|TestDelete.*|TestInterrupted|TestPendingCommit|TestLinkRace|TestHostile.*)$", "-test.short")
	cmd.Dir, cmd.Env = tmp, append(os.Environ(), "TMPDIR="+tmp, "HOME="+tmp)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, bytes.TrimSpace(out))
	}
}
