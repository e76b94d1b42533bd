//go:build linux

package trees

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"time"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/sys/unix"
)

// Entry is everything about one name in a tree that a push carries.
type Entry struct {
	Mode    fs.FileMode // type, permissions, setuid, setgid, sticky
	UID     uint32
	GID     uint32
	ModTime time.Time
	Size    int64             // regular files
	Content uint64            // regular files: hash of the content
	Target  string            // symbolic links
	Device  uint64            // device nodes
	Links   string            // hard links: the first name of the same file, in order of names
	Xattrs  map[string]string // extended attributes and ACLs
	Blocks  int64             // regular files: bytes on disk; not compared, see Diff
}

// Snapshot is a tree by path, relative to its root; "." is the root.
type Snapshot map[string]Entry

// Read reads the tree at root. Names for which skip is true are left out, with
// all below them; skip may be nil. It needs to be able to read everything.
func Read(root string, skip func(path string) bool) (Snapshot, error) {
	s := Snapshot{}
	first := map[[2]uint64]string{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		path, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		if skip != nil && skip(path) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		e, err := readEntry(name, path, first)
		if err != nil {
			return err
		}
		s[path] = e
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the tree at %s: %w", root, err)
	}
	return s, nil
}

// readEntry reads one name; first has the first path of each file with links.
func readEntry(name, path string, first map[[2]uint64]string) (Entry, error) {
	info, err := os.Lstat(name)
	if err != nil {
		return Entry{}, err
	}
	st := info.Sys().(*syscall.Stat_t)
	e := Entry{Mode: info.Mode(), UID: st.Uid, GID: st.Gid, ModTime: info.ModTime(), Blocks: st.Blocks * 512}
	if !info.IsDir() && st.Nlink > 1 {
		id := [2]uint64{st.Dev, st.Ino}
		if first[id] == "" {
			first[id] = path
		}
		e.Links = first[id]
	}
	switch info.Mode().Type() {
	case 0:
		e.Size = info.Size()
		e.Content, err = hashFile(name)
	case fs.ModeSymlink:
		e.Target, err = os.Readlink(name)
	case fs.ModeDevice, fs.ModeDevice | fs.ModeCharDevice:
		e.Device = st.Rdev
	}
	if err == nil {
		e.Xattrs, err = readXattrs(name)
	}
	return e, err
}

func hashFile(name string) (uint64, error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	h := xxhash.New()
	_, err = io.Copy(h, f)
	return h.Sum64(), err
}

func readXattrs(name string) (map[string]string, error) {
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(name, buf)
	if errors.Is(err, unix.ENOTSUP) || n == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing extended attributes of %s: %w", name, err)
	}
	out := map[string]string{}
	value := make([]byte, 64<<10)
	for key := range strings.SplitSeq(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		m, err := unix.Lgetxattr(name, key, value)
		if err != nil {
			return nil, fmt.Errorf("reading extended attribute %s of %s: %w", key, name, err)
		}
		out[key] = string(value[:m])
	}
	return out, nil
}

// Diff says what makes b another tree than a, one line a difference, in order of
// names. Equal trees give none. A file that is mostly holes in a and takes more
// than twice its room in b is a difference too.
func Diff(a, b Snapshot) []string {
	names := make([]string, 0, len(a))
	for name := range a {
		names = append(names, name)
	}
	for name := range b {
		if _, ok := a[name]; !ok {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	var out []string
	for _, name := range names {
		x, inA := a[name]
		y, inB := b[name]
		switch {
		case !inB:
			out = append(out, fmt.Sprintf("%s: lacking, should be %v", name, x.Mode))
		case !inA:
			out = append(out, fmt.Sprintf("%s: %v, should not be there", name, y.Mode))
		default:
			out = append(out, diffEntry(name, x, y)...)
		}
	}
	return out
}

func diffEntry(name string, a, b Entry) []string {
	var out []string
	say := func(what string, x, y any) {
		if x != y {
			out = append(out, fmt.Sprintf("%s: %s is %v, should be %v", name, what, y, x))
		}
	}
	say("mode", a.Mode, b.Mode)
	say("owner", fmt.Sprintf("%d:%d", a.UID, a.GID), fmt.Sprintf("%d:%d", b.UID, b.GID))
	say("time", a.ModTime.Format(time.RFC3339Nano), b.ModTime.Format(time.RFC3339Nano))
	say("size", a.Size, b.Size)
	say("content", a.Content, b.Content)
	say("link target", a.Target, b.Target)
	say("device", a.Device, b.Device)
	say("first of its hard links", a.Links, b.Links)
	say("attributes", fmt.Sprintf("%q", a.Xattrs), fmt.Sprintf("%q", b.Xattrs))
	const slack = 64 << 10 // file systems differ in what they call a block
	if a.Blocks < a.Size/2 && b.Blocks > 2*a.Blocks+slack {
		out = append(out, fmt.Sprintf("%s: takes %d bytes on disk, should be a file with holes of %d", name, b.Blocks, a.Blocks))
	}
	return out
}
