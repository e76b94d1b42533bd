package tree

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"makuo/protocol"
)

// linkAt returns the inode of a file, and its content.
func linkAt(t *testing.T, path string) (uint64, string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	var st unix.Stat_t
	must(t, unix.Lstat(path, &st))
	return st.Ino, string(b)
}

// TestFirstNameCannotBePlaced: the next name that can is the first one then, and
// further names are links to it.
func TestFirstNameCannotBePlaced(t *testing.T) {
	plain := func(*testing.T, string) {}
	for name, c := range map[string]struct {
		protect []string
		rules   []protocol.Rule
		prepare func(t *testing.T, dst string)
		errors  bool
		size    int
	}{
		"protected":           {protect: []string{"/d/a/conf"}, prepare: plain},
		"in parts":            {protect: []string{"/d/a/conf"}, prepare: plain, size: 3},
		"protected directory": {protect: []string{"/d/a/"}, prepare: plain},
		"the next one too":    {protect: []string{"/d/a/conf", "/d/b/conf"}, prepare: plain},
		"mount point": {errors: true, prepare: func(t *testing.T, dst string) {
			must(t, unix.Mount("makuo-test", dst+"/d/a", "tmpfs", 0, "size=1m"))
			t.Cleanup(func() { unix.Unmount(dst+"/d/a", unix.MNT_DETACH) })
			must(t, os.WriteFile(dst+"/d/a/conf", []byte("local"), 0o644))
		}},
		"excluded of another type": {errors: true, rules: []protocol.Rule{{Pattern: "conf/"}}, prepare: func(t *testing.T, dst string) {
			must(t, os.Remove(dst+"/d/a/conf"))
			must(t, os.MkdirAll(dst+"/d/a/conf", 0o755))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			src, dst := t.TempDir(), t.TempDir()
			plant(t, src, 1000, "d/a/conf content", "d/b/conf = d/a/conf", "d/b/more = d/a/conf", "d/c/last = d/a/conf", "d/c/other x")
			plant(t, dst, 1000, "d/a/conf local")
			if name == "mount point" && os.Geteuid() != 0 {
				t.Skip("not root")
			}
			c.prepare(t, dst)
			p := &pusher{src: openTestModule(t, src), options: protocol.OptRecursive, paths: []string{"d"}, rules: c.rules, partSize: c.size}
			p.dst = openTestModule(t, dst, func(cfg *ModuleConfig) { cfg.Protect = c.protect })
			check := func(names ...string) {
				t.Helper()
				first, _ := linkAt(t, filepath.Join(dst, names[0]))
				for _, f := range names {
					if ino, content := linkAt(t, filepath.Join(dst, f)); ino != first || content != "content" {
						t.Errorf("%s: inode %d of %d, content %q", f, ino, first, content)
					}
				}
			}
			names := []string{"d/b/conf", "d/b/more", "d/c/last"}
			if len(c.protect) == 2 {
				names = names[1:]
			}
			for n := range 3 {
				o := p.push(t)
				if c.errors != (len(o.errors()) > 0) {
					t.Errorf("push %d: errors %q", n, o.errors())
				}
				check(names...)
				if b, err := os.ReadFile(dst + "/d/a/conf"); err == nil && string(b) != "local" {
					t.Errorf("the first name holds %q", b)
				}
				switch {
				case n == 0 && !slices.Equal(o.data, []string{names[0], "d/c/other"}):
					t.Errorf("content is wanted of %q", o.data)
				case n == 1 && len(o.change) > 0:
					t.Errorf("the second push changes %q", o.change)
				case n == 1: // a name that is a file of its own
					must(t, os.Remove(dst+"/d/c/last"))
					must(t, os.WriteFile(dst+"/d/c/last", []byte("content"), 0o644))
				case n == 2 && !slices.Equal(o.change, []string{"d/c", "d/c/last"}): // the directory for its time
					t.Errorf("the third push changes %q", o.change)
				}
			}
		})
	}
}
