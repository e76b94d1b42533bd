package tree

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"makuo/internal/fsroot"
	"makuo/protocol"
)

// chattr sets a flag of chattr(1) until the test ends.
func chattr(t *testing.T, path, flag string) {
	t.Helper()
	if out, err := exec.Command("chattr", "+"+flag, path).CombinedOutput(); err != nil {
		t.Skipf("chattr: %v %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("chattr", "-"+flag, path).Run() })
}

// TestImmutableIsFoundBefore: what can't be changed, replaced or deleted is an
// error of its path before the commit; the rest arrives, and so do later pushes.
func TestImmutableIsFoundBefore(t *testing.T) {
	for _, flag := range []string{"i", "a"} {
		for what, c := range map[string]struct {
			src, dst []string
			set, at  string
		}{
			"replaced":                  {[]string{"f new", "z 2"}, []string{"f old", "z 1"}, "f", "f"},
			"deleted":                   {[]string{"z 2"}, []string{"f old", "z 1"}, "f", "f"},
			"in a replaced directory":   {[]string{"d file", "z 2"}, []string{"d/e/f 1", "z 1"}, "d/e/f", "d"},
			"a replaced directory":      {[]string{"d file", "z 2"}, []string{"d/e/f 1", "z 1"}, "d", "d"},
			"a directory with a change": {[]string{"d/f new", "z 2"}, []string{"d/f old", "z 1"}, "d", "d/f"},
		} {
			t.Run(flag+" "+what, func(t *testing.T) {
				p, src, dst := pair(t)
				plant(t, src, 2000, c.src...)
				plant(t, dst, 1000, c.dst...)
				chattr(t, filepath.Join(dst, c.set), flag)
				for range 2 {
					tg, o := p.stage(t)
					o.collect(t, tg)
					if errs := o.errors(); len(errs) != 1 || !strings.HasPrefix(errs[0], c.at+":") {
						t.Errorf("before the commit: %q", errs)
					}
					if _, _, err := tg.Commit(); err != nil {
						t.Fatal(err)
					}
					tg.Close()
				}
				if got := readText(t, dst, "z"); got != "2" {
					t.Errorf("z is %q", got)
				}
			})
		}
	}
}

// TestRubbish: what can't be removed from the stage is no failed commit, and
// stands in no push's way; it goes when it can.
func TestRubbish(t *testing.T) {
	p, src, dst := pair(t)
	plant(t, src, 2000, "d file", "z 2")
	plant(t, dst, 1000, "d/e/f 1", "z 1")
	tg, o := p.stage(t)
	chattr(t, filepath.Join(dst, "d/e/f"), "i")
	if _, _, err := tg.Commit(); err != nil {
		t.Fatal(err)
	}
	o.collect(t, tg)
	tg.Close()
	if len(o.errors()) > 0 || len(o.problems) != 1 || readText(t, dst, "d") != "file" {
		t.Errorf("problems %v, d is %q", o.problems, readText(t, dst, "d"))
	}
	plant(t, src, 3000, "z 33")
	if o := p.push(t); len(o.problems) > 0 || readText(t, dst, "z") != "33" {
		t.Errorf("the next push: %v", o.problems)
	}
	m := openTestModule(t, dst)
	if pending, err := m.Recover(); err != nil || len(pending) > 0 {
		t.Errorf("Recover: %v %v", pending, err)
	}
	left, _ := filepath.Glob(filepath.Join(dst, protocol.StageName, rubbishPrefix+"*"))
	if len(left) != 1 {
		t.Fatal("set aside: ", left)
	}
	if err := exec.Command("chattr", "-R", "-i", left[0]).Run(); err != nil {
		t.Fatal(err)
	}
	if err := m.DropLeftovers(time.Now()); err != nil {
		t.Fatal(err)
	}
	if exists(dst, protocol.StageName) {
		t.Error("the stage stays")
	}
}

// TestMarkNeedsNoInode: a disk that has no inode left can't stop a commit before
// it begins.
func TestMarkNeedsNoInode(t *testing.T) {
	p, src, dst := pair(t)
	plant(t, src, 2000, "f new")
	tg, _ := p.stage(t)
	defer tg.Close()
	dir := filepath.Join(dst, protocol.StageName, tg.id.String())
	before, err := os.ReadDir(dir)
	must(t, err)
	defer func() { commitHook = nil }()
	commitHook = func(what, path string) error {
		if what != "rename" {
			return nil
		}
		after, err := os.ReadDir(dir)
		must(t, err)
		if len(after) != len(before) || !exists(dir, markName) {
			t.Errorf("%d names were staged, there are %d with the mark", len(before), len(after))
		}
		return nil
	}
	if _, _, err := tg.Commit(); err != nil {
		t.Fatal(err)
	}
}

// TestBaseIsAnother: a base that was moved, replaced, or whose link was
// switched is not pushed from nor to.
func TestBaseIsAnother(t *testing.T) {
	for what, change := range map[string]func(t *testing.T, dir string){
		"moved and made anew": func(t *testing.T, dir string) {
			rename(t, dir, "r1", "old")
			must(t, os.Mkdir(filepath.Join(dir, "r1"), 0o755))
		},
		"gone":          func(t *testing.T, dir string) { rename(t, dir, "r1", "old") },
		"link switched": func(t *testing.T, dir string) { rename(t, dir, "other", "current") },
	} {
		t.Run(what, func(t *testing.T) {
			p, src, _ := pair(t)
			plant(t, src, 1000, "f new")
			dir := tempTree(t)
			must(t, os.Mkdir(filepath.Join(dir, "r1"), 0o755))
			must(t, os.Mkdir(filepath.Join(dir, "r2"), 0o755))
			must(t, os.Symlink("r1", filepath.Join(dir, "current")))
			must(t, os.Symlink("r2", filepath.Join(dir, "other")))
			p.dst = openTestModule(t, filepath.Join(dir, "current"))
			tg, _ := p.stage(t)
			defer tg.Close()
			change(t, dir)
			if _, _, err := tg.Commit(); !errors.Is(err, fsroot.ErrMoved) || !strings.Contains(err.Error(), "restart makuod") {
				t.Errorf("Commit: %v", err)
			}
			if _, err := p.dst.Begin(protocol.PushID{Start: 9}, p.header(t)); !errors.Is(err, fsroot.ErrMoved) {
				t.Errorf("Begin: %v", err)
			}
			if err := p.dst.Scan(t.Context(), ScanSpec{Header: p.header(t)}, nil); !errors.Is(err, fsroot.ErrMoved) {
				t.Errorf("Scan: %v", err)
			}
		})
	}
}
