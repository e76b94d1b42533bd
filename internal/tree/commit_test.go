package tree

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"makuo/protocol"
)

const recursiveDelete = protocol.OptRecursive | protocol.OptDelete

// plant makes files: "d/" a directory, "p -> t" a link, "p | " a fifo,
// "p = q" a hard link, "p text" a file. All get the time of the tree.
func plant(t testing.TB, dir string, stamp int64, lines ...string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, l := range lines {
		name, rest, _ := strings.Cut(l, " ")
		path := filepath.Join(dir, name)
		must(os.MkdirAll(filepath.Dir(path), 0o755))
		switch {
		case strings.HasSuffix(name, "/"):
			must(os.MkdirAll(path, 0o755))
		case strings.HasPrefix(rest, "-> "):
			must(os.Symlink(rest[3:], path))
		case rest == "|":
			must(syscall.Mkfifo(path, 0o644))
		case strings.HasPrefix(rest, "= "):
			must(os.Link(filepath.Join(dir, rest[2:]), path))
		default:
			must(os.WriteFile(path, []byte(rest), 0o644))
		}
	}
	filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		ts := []unix.Timespec{{Sec: stamp}, {Sec: stamp, Nsec: 123}}
		return unix.UtimesNanoAt(unix.AT_FDCWD, path, ts, unix.AT_SYMLINK_NOFOLLOW)
	})
}

func pair(t testing.TB, change ...func(*ModuleConfig)) (*pusher, string, string) {
	t.Helper()
	src, dst := tempTree(t), tempTree(t)
	return &pusher{src: openTestModule(t, src), dst: openTestModule(t, dst, change...), options: recursiveDelete}, src, dst
}

// TestTypes replaces every type by every other.
func TestTypes(t *testing.T) { everyType(t) }

// TestTypesWithoutExchange is the same where names can't be exchanged.
func TestTypesWithoutExchange(t *testing.T) {
	exchangeOff.Store(true)
	defer exchangeOff.Store(false)
	everyType(t)
}

func everyType(t *testing.T) {
	kinds := map[string][]string{
		"file": {"x file"}, "empty": {"x"}, "dir": {"x/"}, "full": {"x/a 1", "x/b/c 2", "x/l -> a"}, "link": {"x -> y"}, "fifo": {"x |"},
		"hard": {"w one", "x = w"}, "none": {"other z"},
	}
	for from, old := range kinds {
		for to, now := range kinds {
			t.Run(from+"-"+to, func(t *testing.T) {
				p, src, dst := pair(t)
				plant(t, dst, 1000, old...)
				plant(t, src, 2000, now...)
				if o := p.push(t); len(o.problems) > 0 {
					t.Fatal(o.problems)
				}
				sameTrees(t, describe(t, src), describe(t, dst))
				if o := p.push(t); len(o.change)+len(o.deleted) > 0 {
					t.Errorf("not stable: %q %q", o.change, o.deleted)
				}
			})
		}
	}
}

// TestCrashWithoutExchange: between the two renames the name is absent, and
// the next start puts the new one there.
func TestCrashWithoutExchange(t *testing.T) {
	exchangeOff.Store(true)
	defer exchangeOff.Store(false)
	defer func() { commitHook = nil }()
	for n := 1; ; n++ {
		p, src, dst := pair(t)
		plant(t, dst, 1000, "swap/in side", "back file")
		plant(t, src, 2000, "swap file", "back/x 1")
		tg, _ := p.stage(t)
		steps := 0
		commitHook = func(what, path string) error {
			if steps++; steps == n {
				return errors.New("crash")
			}
			return nil
		}
		_, _, err := tg.Commit()
		marked := tg.marked
		tg.Close()
		commitHook = nil
		if err == nil {
			return
		}
		m := openTestModule(t, dst)
		if _, err := m.Recover(); err != nil {
			t.Fatal(err)
		}
		if marked {
			sameTrees(t, describe(t, src), describe(t, dst))
		}
	}
}

// TestCrash stops a commit before each of its changes, starts again, and finds
// the old tree if nothing was marked and the new one otherwise. At every moment
// each path that both have holds the one or the other.
func TestCrash(t *testing.T) {
	defer func() { commitHook = nil }()
	errCrash := errors.New("crash")
	for n := 1; ; n++ {
		p, src, dst := pair(t)
		old := []string{"a old", "b old", "d/e old", "d/f/g old", "gone/x 1", "gone/y/z 2", "l -> old", "swap/in side", "back file", "h1 old", "h2 = h1"}
		now := []string{"a new", "b old", "d/e new1", "new/1 one", "new/s/2 two", "l -> new", "swap file", "back/x 1", "h1 new", "h2 = h1", "h3 = h1", "s suid"}
		plant(t, dst, 1000, old...)
		plant(t, src, 2000, now...)
		if err := os.Chmod(filepath.Join(src, "s"), 0o4755); err != nil {
			t.Fatal(err)
		}
		before, after := describe(t, dst), describe(t, src)
		tg, _ := p.stage(t)
		steps := 0
		commitHook = func(what, path string) error {
			oldOrNew(t, dst, map[string][2]string{"a": {"old", "new"}, "d/e": {"old", "new1"}, "h1": {"old", "new"}, "h2": {"old", "new"}, "b": {"old", "old"}})
			if l, err := os.Readlink(filepath.Join(dst, "l")); err != nil || (l != "old" && l != "new") {
				t.Errorf("before %s %s: link l is %q: %v", what, path, l, err)
			}
			for _, name := range []string{"swap", "back"} {
				if _, err := os.Lstat(filepath.Join(dst, name)); err != nil {
					t.Errorf("before %s %s: %v", what, path, err)
				}
			}
			if steps++; steps == n {
				return errCrash
			}
			return nil
		}
		_, _, err := tg.Commit()
		marked := tg.marked
		tg.Close()
		commitHook = nil
		if err == nil {
			if n < 15 {
				t.Fatalf("only %d steps", n)
			}
			sameTrees(t, after, describe(t, dst))
			break
		}
		if !errors.Is(err, errCrash) {
			t.Fatal(err)
		}
		m := openTestModule(t, dst)
		pending, err := m.Recover()
		if err != nil {
			t.Fatal(err)
		}
		if marked {
			if len(pending) > 0 {
				t.Fatal("a marked push is pending")
			}
			sameTrees(t, after, describe(t, dst))
		} else {
			if len(pending) != 1 || pending[0].Since.IsZero() || !slices.Equal(pending[0].Paths, []string{"."}) {
				t.Fatalf("pending: %v", pending)
			}
			if err := pending[0].Discard(); err != nil {
				t.Fatal(err)
			}
			if n == 1 {
				got := describe(t, dst)
				for k := range got {
					if strings.HasPrefix(k, protocol.StageName) {
						delete(got, k)
					}
				}
				sameTrees(t, before, got)
			}
			p.dst = m
			if o := p.push(t); len(o.data) > 0 || len(o.change) == 0 {
				t.Errorf("what was staged was sent again: %q", o.data)
			}
			sameTrees(t, after, describe(t, dst))
		}
		if t.Failed() {
			t.Fatalf("crash at step %d", n)
		}
	}
}

func oldOrNew(t *testing.T, dir string, paths map[string][2]string) {
	t.Helper()
	for p, want := range paths {
		b, err := os.ReadFile(filepath.Join(dir, p))
		if err != nil || (string(b) != want[0] && string(b) != want[1]) {
			t.Errorf("%s is %q: %v", p, b, err)
		}
	}
}

// TestPendingCommit: a push that was staged before a restart can be committed.
func TestPendingCommit(t *testing.T) {
	p, src, dst := pair(t)
	plant(t, dst, 1000, "a old", "gone 1")
	plant(t, src, 2000, "a new", "n/b 2")
	tg, _ := p.stage(t)
	tg.Close()
	m := openTestModule(t, dst)
	pending, err := m.Recover()
	if err != nil || len(pending) != 1 {
		t.Fatalf("%v %v", pending, err)
	}
	c, _, err := pending[0].Commit()
	if err != nil || c.Changed != 4 || c.Deleted != 1 {
		t.Fatalf("%+v %v", c, err)
	}
	pending[0].Target().Close()
	sameTrees(t, describe(t, src), describe(t, dst))
}

// TestInterrupted: files that were complete when a push was cut off are used by
// the next one, and only if they are what it wants.
func TestInterrupted(t *testing.T) {
	p, src, dst := pair(t)
	plant(t, src, 2000, "a 1", "d/b 2", "d/c 3", "e 4")
	h := p.header(t)
	tg, err := p.dst.Begin(protocol.PushID{Start: 1, Origin: 1}, h)
	if err != nil {
		t.Fatal(err)
	}
	blocks, _ := p.compare(t, tg, h, &outcome{})
	for _, b := range blocks[:3] {
		if err := tg.Store(b.pieces, b.hash); err != nil {
			t.Fatal(err)
		}
	}
	if err := tg.Discard(true); err != nil {
		t.Fatal(err)
	}
	tg.Close()
	plant(t, src, 2000, "d/c changed")
	// The same size at another time is another file.
	plant(t, filepath.Join(src, "x"), 2500, "a 9")
	if err := os.Rename(filepath.Join(src, "x/a"), filepath.Join(src, "a")); err != nil {
		t.Fatal(err)
	}
	o := p.push(t)
	if !slices.Equal(o.data, []string{"a", "d/c", "e"}) || len(o.problems) > 0 {
		t.Errorf("sent again: %q %v", o.data, o.problems)
	}
	sameTrees(t, describe(t, src), describe(t, dst)) // and nothing is left of the stage
}

func TestDiscard(t *testing.T) {
	p, src, dst := pair(t)
	plant(t, dst, 1000, "a old", "gone 1")
	plant(t, src, 2000, "a new", "n/b 2")
	before := describe(t, dst)
	tg, _ := p.stage(t)
	if err := tg.Discard(false); err != nil {
		t.Fatal(err)
	}
	tg.Close()
	sameTrees(t, before, describe(t, dst))
}

func TestReadOnlyDirectories(t *testing.T) {
	p, src, dst := pair(t)
	for i, d := range []string{src, dst} {
		plant(t, d, int64(1000*i+1000), fmt.Sprintf("d/f %d", i), fmt.Sprintf("d/only%d/x 1", i), fmt.Sprintf("d/t%d/in/x 1", i))
		for _, sub := range []string{fmt.Sprintf("d/t%d/in", i), fmt.Sprintf("d/t%d", i), fmt.Sprintf("d/only%d", i), "d"} {
			if err := os.Chmod(filepath.Join(d, sub), 0o555); err != nil {
				t.Fatal(err)
			}
		}
	}
	if o := p.push(t); len(o.problems) > 0 {
		t.Fatal(o.problems)
	}
	sameTrees(t, describe(t, src), describe(t, dst))
}

func TestDryRun(t *testing.T) {
	p, src, dst := pair(t)
	plant(t, dst, 1000, "a old", "gone/x 1", "d/")
	plant(t, src, 2000, "a new", "n/b 2", "d file")
	before := describe(t, dst)
	p.options |= protocol.OptDryRun
	o := p.push(t)
	sameTrees(t, before, describe(t, dst))
	if !slices.Equal(o.data, []string{"a", "d", "n/b"}) || !slices.Equal(o.change, []string{".", "a", "d", "n", "n/b"}) ||
		!slices.Equal(o.deleted, []string{"gone/x", "gone"}) || o.counts.Deleted != 2 {
		t.Errorf("%+v", o)
	}
}

// TestUnchangedTouchesNothing: a push that changes nothing leaves no trace at all.
func TestUnchangedTouchesNothing(t *testing.T) {
	p, src, dst := pair(t)
	plant(t, src, 2000, "a 1", "d/b 2")
	p.push(t)
	var before, after syscall.Stat_t
	if err := syscall.Stat(dst, &before); err != nil {
		t.Fatal(err)
	}
	p.push(t)
	if err := syscall.Stat(dst, &after); err != nil {
		t.Fatal(err)
	}
	if before.Ctim != after.Ctim {
		t.Errorf("the root was touched: %v, %v", time.Unix(before.Ctim.Unix()), time.Unix(after.Ctim.Unix()))
	}
}

// TestStageInside: a stage deep in the module is never deleted or replaced.
func TestStageInside(t *testing.T) {
	src, dst := tempTree(t), tempTree(t)
	plant(t, dst, 1000, "var/x 1", "var/tmp/y 1", "a old")
	plant(t, src, 2000, "a new")
	p := &pusher{src: openTestModule(t, src), options: recursiveDelete}
	p.dst = openTestModule(t, dst, func(c *ModuleConfig) { c.Stage = filepath.Join(dst, "var/tmp/stage") })
	o := p.push(t)
	// The directories above the stage stay.
	if len(o.problems) > 0 || !slices.Equal(o.deleted, []string{"var/tmp/y", "var/x"}) {
		t.Errorf("%q %v", o.deleted, o.problems)
	}
	if o := p.push(t); len(o.deleted)+len(o.change)+len(o.problems) > 0 {
		t.Errorf("not stable: %q %q %v", o.deleted, o.change, o.problems)
	}
	plant(t, src, 2000, "var/tmp file")
	if o := p.push(t); len(o.errors()) != 1 || !exists(dst, "var/tmp") {
		t.Errorf("%v", o.problems)
	}
}

func TestStageElsewhere(t *testing.T) {
	stage := filepath.Join(tempTree(t), "stage")
	p, src, dst := pair(t, func(c *ModuleConfig) { c.Stage = stage })
	plant(t, src, 2000, "a 1", "d/b 2")
	plant(t, dst, 1000, "a/b/c 1")
	if o := p.push(t); len(o.problems) > 0 {
		t.Fatal(o.problems)
	}
	sameTrees(t, describe(t, src), describe(t, dst))
	if _, err := os.Lstat(stage); err == nil {
		t.Error("the stage is still there")
	}
}
