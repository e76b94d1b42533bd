package tree

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"testing"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/sys/unix"
)

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
