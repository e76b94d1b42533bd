//go:build linux

package trees

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pair makes a tree with one of everything, and a copy of it.
func pair(t *testing.T) (a, b string) {
	t.Helper()
	dir := t.TempDir()
	a, b = filepath.Join(dir, "a"), filepath.Join(dir, "b")
	if err := os.Mkdir(a, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Zoo(a, true); err != nil {
		t.Fatal(err)
	}
	if err := Copy(a, b); err != nil {
		t.Fatal(err)
	}
	return a, b
}

func diff(t *testing.T, a, b string) []string {
	t.Helper()
	x, err := Read(a, nil)
	if err != nil {
		t.Fatal(err)
	}
	y, err := Read(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	return Diff(x, y)
}

func TestACopyIsEqual(t *testing.T) {
	a, b := pair(t)
	if d := diff(t, a, b); len(d) != 0 {
		t.Errorf("a copy by cp -a differs:\n%s", strings.Join(d, "\n"))
	}
}

func TestEveryDifferenceIsSeen(t *testing.T) {
	stamp := func(name string, at time.Time) error {
		ts := unix.NsecToTimespec(at.UnixNano())
		return unix.UtimesNanoAt(unix.AT_FDCWD, name, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
	}
	// keep makes a change and puts the time back
	keep := func(name string, change func() error) error {
		info, err := os.Lstat(name)
		if err != nil {
			return err
		}
		if err := change(); err != nil {
			return err
		}
		return stamp(name, info.ModTime())
	}
	for want, change := range map[string]func(b string) error{
		"time": func(b string) error {
			return stamp(b+"/file", time.Date(2001, 2, 3, 4, 5, 6, 123456788, time.UTC))
		},
		"mode": func(b string) error { return os.Chmod(b+"/program", 0o755) },
		"content": func(b string) error {
			return keep(b+"/file", func() error { return os.WriteFile(b+"/file", []byte("Content\n"), 0o644) })
		},
		"link target": func(b string) error {
			if err := os.Remove(b + "/link-to-dir"); err != nil {
				return err
			}
			return os.Symlink("elsewhere", b+"/link-to-dir")
		},
		"hard links": func(b string) error {
			data, err := os.ReadFile(b + "/hard2")
			if err != nil {
				return err
			}
			if err := os.Remove(b + "/hard2"); err != nil {
				return err
			}
			return os.WriteFile(b+"/hard2", data, 0o644)
		},
		"attributes": func(b string) error { return unix.Setxattr(b+"/dir/private", "user.x", []byte("y"), 0) },
		"holes": func(b string) error {
			return keep(b+"/holes", func() error {
				data, err := os.ReadFile(b + "/holes")
				if err != nil {
					return err
				}
				return os.WriteFile(b+"/holes", data, 0o644)
			})
		},
		"lacking":             func(b string) error { return os.RemoveAll(b + "/fifo") },
		"should not be there": func(b string) error { return os.Mkdir(b+"/more", 0o755) },
	} {
		t.Run(want, func(t *testing.T) {
			a, b := pair(t)
			err := change(b)
			if err == unix.ENOTSUP {
				t.Skip("left out: extended attributes; this file system has none")
			}
			if err != nil {
				t.Fatal(err)
			}
			d := strings.Join(diff(t, a, b), "\n")
			if !strings.Contains(d, want) {
				t.Errorf("no word of %q in the differences:\n%s", want, d)
			}
		})
	}
}

func TestSmallAndRandomFollowTheirSeed(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a", "b"} {
		if err := Small(filepath.Join(dir, name), 250, 7); err != nil {
			t.Fatal(err)
		}
		if err := Random(filepath.Join(dir, name, "random"), 100_000, 7); err != nil {
			t.Fatal(err)
		}
	}
	for _, line := range diff(t, filepath.Join(dir, "a"), filepath.Join(dir, "b")) {
		if !strings.Contains(line, ": time is") {
			t.Error(line)
		}
	}
	s, err := Read(filepath.Join(dir, "a"), func(path string) bool { return path == "random" })
	if err != nil {
		t.Fatal(err)
	}
	if want := 250 + 3 + 1 + 1; len(s) != want {
		t.Errorf("%d entries, want %d", len(s), want)
	}
}
