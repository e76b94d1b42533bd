package tree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

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
