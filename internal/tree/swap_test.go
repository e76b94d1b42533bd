package tree

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"makuo/protocol"
)

// swapTest is one way to change the tree between compare and commit.
type swapTest struct {
	src, dst []string
	early    func(t *testing.T, src, dst string) // before the push
	swap     func(t *testing.T, dst string)
	at       string // path at which it must be an error
	then     func(t *testing.T, dst string)
}

func (s *swapTest) run(t *testing.T) {
	p, src, dst := pair(t)
	plant(t, src, 2000, s.src...)
	plant(t, dst, 1000, s.dst...)
	if s.early != nil {
		s.early(t, src, dst)
	}
	tg, o := p.stage(t)
	defer tg.Close()
	s.swap(t, dst)
	if _, _, err := tg.Commit(); err != nil {
		t.Fatal(err)
	}
	o.collect(t, tg)
	if errs := strings.Join(o.errors(), "\n"); !strings.Contains(errs, s.at+":") || !strings.Contains(errs, "during the push") {
		t.Errorf("errors: %q, want one of %s", errs, s.at)
	}
	s.then(t, dst)
}

func rename(t *testing.T, dir, from, to string) {
	t.Helper()
	must(t, os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)))
}

func modeIs(t *testing.T, dir, path string, want os.FileMode) {
	t.Helper()
	st, err := os.Lstat(filepath.Join(dir, path))
	must(t, err)
	if st.Mode() != want {
		t.Errorf("%s has mode %v, want %v", path, st.Mode(), want)
	}
}

// sameTimes gives all of the paths one time at both ends.
func sameTimes(t *testing.T, paths ...string) {
	t.Helper()
	for _, p := range paths {
		must(t, os.Chtimes(p, time.Unix(500, 0), time.Unix(500, 0)))
	}
}

// TestSwappedBeforeCommit: a step changes what was compared, and nothing that
// took its name since.
func TestSwappedBeforeCommit(t *testing.T) {
	attrs := func(t *testing.T, src, dst string) {
		must(t, os.Chmod(filepath.Join(src, "d/f"), 0o711))
		sameTimes(t, filepath.Join(src, "d/f"), filepath.Join(dst, "d/f"))
	}
	for name, s := range map[string]*swapTest{
		"attributes of another file": {
			src: []string{"d/f same", "d/x same"}, dst: []string{"d/f same", "d/x same"}, early: attrs,
			swap: func(t *testing.T, dst string) { rename(t, dst, "d/x", "d/f") },
			at:   "d/f", then: func(t *testing.T, dst string) { modeIs(t, dst, "d/f", 0o644) },
		},
		"attributes of a file written since": {
			src: []string{"d/f same"}, dst: []string{"d/f same"}, early: attrs,
			swap: func(t *testing.T, dst string) {
				must(t, os.WriteFile(filepath.Join(dst, "d/f"), []byte("evil"), 0o644))
				sameTimes(t, filepath.Join(dst, "d/f"))
			},
			at: "d/f", then: func(t *testing.T, dst string) { modeIs(t, dst, "d/f", 0o644) },
		},
		"attributes of a link": {
			src: []string{"d/f same", "secret s"}, dst: []string{"d/f same", "secret s"}, early: attrs,
			swap: func(t *testing.T, dst string) {
				must(t, os.Remove(filepath.Join(dst, "d/f")))
				must(t, os.Symlink("../secret", filepath.Join(dst, "d/f")))
			},
			at: "d/f", then: func(t *testing.T, dst string) { modeIs(t, dst, "secret", 0o644) },
		},
		"attributes of another directory": {
			src: []string{"d/e/", "d/x/"}, dst: []string{"d/e/", "d/x/"},
			early: func(t *testing.T, src, dst string) { must(t, os.Chmod(filepath.Join(src, "d/e"), 0o711)) },
			swap:  func(t *testing.T, dst string) { rename(t, dst, "d/e", "d/e.old"); rename(t, dst, "d/x", "d/e") },
			at:    "d/e", then: func(t *testing.T, dst string) { modeIs(t, dst, "d/e", os.ModeDir|0o755) },
		},
		"a file in another directory": {
			src: []string{"d/e/f new"}, dst: []string{"d/e/f old", "d/x/f theirs"},
			swap: func(t *testing.T, dst string) { rename(t, dst, "d/e", "d/e.old"); rename(t, dst, "d/x", "d/e") },
			at:   "d/e/f", then: func(t *testing.T, dst string) {
				if got := readText(t, dst, "d/e/f"); got != "theirs" {
					t.Errorf("d/e/f is %q", got)
				}
			},
		},
		"deletion of another file": {
			src: []string{"d/"}, dst: []string{"d/f old", "keep theirs"},
			swap: func(t *testing.T, dst string) { rename(t, dst, "d/f", "f.old"); rename(t, dst, "keep", "d/f") },
			at:   "d/f", then: func(t *testing.T, dst string) { readText(t, dst, "d/f") },
		},
		"another directory makes room": {
			src: []string{"d file"}, dst: []string{"d/a 1", "x/a theirs"},
			swap: func(t *testing.T, dst string) { rename(t, dst, "d", "d.old"); rename(t, dst, "x", "d") },
			at:   "d", then: func(t *testing.T, dst string) { readText(t, dst, "d/a") },
		},
		"another file in a directory that makes room": {
			src: []string{"d file"}, dst: []string{"d/a 1"},
			swap: func(t *testing.T, dst string) {
				must(t, os.WriteFile(filepath.Join(dst, "d/new"), []byte("theirs"), 0o644))
				rename(t, dst, "d/new", "d/a")
			},
			at: "d", then: func(t *testing.T, dst string) { readText(t, dst, "d/a") },
		},
	} {
		t.Run(name, s.run)
	}
}

// TestSwappedNewDirectory: the attributes of a directory that was just made live
// go to that one.
func TestSwappedNewDirectory(t *testing.T) {
	p, src, dst := pair(t)
	plant(t, src, 2000, "new/f 1", "z 22")
	plant(t, dst, 1000, "theirs/", "z 1")
	must(t, os.Chmod(filepath.Join(dst, "theirs"), 0o700))
	p.options = protocol.OptRecursive
	tg, o := p.stage(t)
	defer tg.Close()
	defer func() { commitHook = nil }()
	commitHook = func(what, path string) error {
		if what == "rename" && path == "z" {
			commitHook = nil
			rename(t, dst, "new", "aside")
			rename(t, dst, "theirs", "new")
		}
		return nil
	}
	if _, _, err := tg.Commit(); err != nil {
		t.Fatal(err)
	}
	o.collect(t, tg)
	modeIs(t, dst, "new", os.ModeDir|0o700)
}

// TestNothingIsLent: who may choose content, size and time of a file can't have
// it made setuid by a push that finds it the same.
func TestNothingIsLent(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	for _, owner := range []int{0, 1234} {
		p, src, dst := pair(t)
		plant(t, src, 2000, "tool good")
		plant(t, dst, 2000, "tool evil")
		file := filepath.Join(dst, "tool")
		must(t, os.Chmod(filepath.Join(src, "tool"), 0o755|os.ModeSetuid))
		must(t, os.Chown(file, owner, owner))
		sameTimes(t, filepath.Join(src, "tool"), file)
		held, err := os.OpenFile(file, os.O_RDWR, 0)
		must(t, err)
		if o := p.push(t); len(o.errors()) > 0 {
			t.Fatal(o.errors())
		}
		modeIs(t, dst, "tool", 0o755|os.ModeSetuid)
		if _, err := held.WriteAt([]byte("EVIL"), 0); err != nil {
			t.Fatal(err)
		}
		held.Close()
		if got := readText(t, dst, "tool"); got != "good" {
			t.Errorf("owner %d: the setuid file is %q", owner, got)
		}
	}
}

// TestLinkToSwappedFile: a further name is linked to the file that was judged.
func TestLinkToSwappedFile(t *testing.T) {
	p, src, dst := pair(t)
	plant(t, src, 1000, "a same")
	plant(t, dst, 1000, "a same", "x theirs")
	must(t, os.Link(filepath.Join(src, "a"), filepath.Join(src, "b")))
	p.options = protocol.OptRecursive
	o := &outcome{}
	h := p.header(t)
	tg, err := p.dst.Begin(protocol.PushID{Start: 5}, h)
	must(t, err)
	defer tg.Close()
	_, digest := p.compare(t, tg, h, o)
	linkHook = func() { rename(t, dst, "x", "a") }
	defer func() { linkHook = nil }()
	if _, err := tg.Stage(digest); err != nil {
		t.Fatal(err)
	}
	if _, _, err := tg.Commit(); err != nil {
		t.Fatal(err)
	}
	o.collect(t, tg)
	if exists(dst, "b") || len(o.errors()) != 1 {
		t.Errorf("b is there: %v; errors %q", exists(dst, "b"), o.errors())
	}
}

// TestRetriedCommitLooksAgain: a directory that an earlier attempt made live is
// not taken for staged by the next one.
func TestRetriedCommitLooksAgain(t *testing.T) {
	p, src, dst := pair(t)
	plant(t, src, 1000, "new/tool good", "old 2")
	plant(t, dst, 900, "old 1")
	must(t, os.Chmod(filepath.Join(src, "new/tool"), 0o755|os.ModeSetuid))
	tg, _ := p.stage(t)
	defer tg.Close()
	defer func() { commitHook = nil }()
	commitHook = func(what, path string) error {
		if path == "old" {
			return errors.New("the disk fails")
		}
		return nil
	}
	if _, _, err := tg.Commit(); err == nil {
		t.Fatal("no error")
	}
	commitHook = nil
	must(t, os.WriteFile(filepath.Join(dst, "new/x"), []byte("evil"), 0o755))
	rename(t, dst, "new/x", "new/tool")
	if _, _, err := tg.Commit(); err != nil {
		t.Fatal(err)
	}
	modeIs(t, dst, "new/tool", 0o755)
}

func TestStepIdentities(t *testing.T) {
	s := step{op: opDelete, path: "a/b", dir: ident{dev: 3, ino: 1 << 60, mode: 0o40000},
		was: ident{dev: 9, ino: 4, mode: 0o100644, size: 1 << 40, sec: -5, nsec: 999_999_999, csec: 1 << 33, cnsec: 7}}
	b := s.append(nil)
	got, n, err := parseStep(b)
	if err != nil || n != len(b) || got.dir != s.dir || got.was != s.was {
		t.Errorf("%+v %d %v", got, n, err)
	}
	ids := appendIdents(nil, &s.dir, &s.was)
	for i := range ids {
		var dir, was ident
		if _, err := parseIdents(ids[:i], &dir, &was); !errors.Is(err, errStep) {
			t.Errorf("%d bytes: %v", i, err)
		}
	}
	if !bytes.Equal(appendIdents(nil, new(ident), new(ident)), []byte{0}) {
		t.Error("what is not known is not one byte")
	}
}
