package tree

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"makuo/protocol"
)

// across makes d and what is below it lie across a border.
func across(t *testing.T) {
	borderHook = func(path string) bool { return path != "d" && protocol.Within(path, "d") }
	t.Cleanup(func() { borderHook = nil })
}

var beyondTree = []string{
	"d/file new", "d/replaced new", "d/link -> file", "d/fifo |", "d/first one", "d/second = d/first",
	"d/tree/a 1", "d/tree/sub/b 2", "d/tree/c = d/tree/a", "d/tree/l -> a", "d/was/x 3", "here 4",
}

func noBesides(t *testing.T, dir string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(d.Name(), protocol.StageName) {
			t.Errorf("left: %s", path)
		}
		return err
	}))
}

func sameInode(t *testing.T, a, b string) {
	t.Helper()
	x, err := os.Stat(a)
	must(t, err)
	y, err := os.Stat(b)
	must(t, err)
	if !os.SameFile(x, y) {
		t.Errorf("%s and %s are two files", a, b)
	}
}

// TestAcrossBorder: what rename can't move from the stage is copied beside its
// target, with all attributes and links.
func TestAcrossBorder(t *testing.T) {
	for _, noExchange := range []bool{false, true} {
		exchangeOff.Store(noExchange)
		defer exchangeOff.Store(false)
		across(t)
		p, src, dst := pair(t)
		plant(t, src, 2000, beyondTree...)
		must(t, os.Chmod(filepath.Join(src, "d/tree"), 0o2750))
		must(t, os.Chmod(filepath.Join(src, "d/file"), 0o4751))
		must(t, unix.Setxattr(filepath.Join(src, "d/tree/sub/b"), "user.x", []byte("y"), 0))
		plant(t, dst, 1000, "d/replaced old", "d/was file", "d/gone x")
		if o := p.push(t); len(o.problems) > 0 {
			t.Fatal(o.problems)
		}
		sameTrees(t, describe(t, src), describe(t, dst))
		sameInode(t, filepath.Join(dst, "d/first"), filepath.Join(dst, "d/second"))
		sameInode(t, filepath.Join(dst, "d/tree/a"), filepath.Join(dst, "d/tree/c"))
		noBesides(t, dst)
		if o := p.push(t); len(o.change)+len(o.data)+len(o.deleted)+len(o.problems) > 0 {
			t.Errorf("not stable: %+v", o)
		}
	}
}

// TestAcrossBorderCrash: wherever a commit stops, every live name is the old or
// the new one, and the repeated commit finishes and leaves nothing.
func TestAcrossBorderCrash(t *testing.T) {
	across(t)
	defer func() { commitHook = nil }()
	for stop := 1; ; stop++ {
		p, src, dst := pair(t)
		plant(t, src, 2000, beyondTree...)
		plant(t, dst, 1000, "d/replaced old", "d/was file")
		tg, _ := p.stage(t)
		n := 0
		commitHook = func(what, path string) error {
			if n++; n == stop {
				return errors.New("stopped")
			}
			return nil
		}
		_, _, err := tg.Commit()
		commitHook = nil
		if b, rerr := os.ReadFile(filepath.Join(dst, "d/replaced")); rerr != nil || string(b) != "old" && string(b) != "new" {
			t.Errorf("stop %d: %q %v", stop, b, rerr)
		}
		done := err == nil
		if !done {
			if _, _, err := tg.Commit(); err != nil {
				t.Fatalf("stop %d: %v", stop, err)
			}
		}
		tg.Close()
		sameTrees(t, describe(t, src), describe(t, dst))
		noBesides(t, dst)
		if t.Failed() {
			t.Fatalf("stop %d", stop)
		}
		if done {
			return
		}
	}
}

// TestAcrossBorderDirectory: a directory with contents can't make room there;
// the path says why, and everything stays.
func TestAcrossBorderDirectory(t *testing.T) {
	across(t)
	p, src, dst := pair(t)
	plant(t, src, 2000, "d/x file", "d/y 1")
	plant(t, dst, 1000, "d/x/old 1")
	o := p.push(t)
	if e := o.errors(); len(e) == 0 || !strings.Contains(strings.Join(e, " "), "subvolume") {
		t.Errorf("%q", e)
	}
	if !exists(dst, "d/x/old") || !exists(dst, "d/y") {
		t.Error("lost, or not there")
	}
	noBesides(t, dst)
}

// TestBesideIsNoContent: what has the name of a copy is neither pushed nor
// deleted, and a planted directory is not emptied.
func TestBesideIsNoContent(t *testing.T) {
	p, src, dst := pair(t)
	plant(t, src, 2000, "d/a 1", "d/"+protocol.BesidePrefix+"x/f 1")
	plant(t, dst, 1000, "d/b 1", "d/"+protocol.BesidePrefix+"y/g 1")
	if o := p.push(t); len(o.errors()) > 0 {
		t.Fatal(o.problems)
	}
	if exists(dst, "d/"+protocol.BesidePrefix+"x") || !exists(dst, "d/"+protocol.BesidePrefix+"y/g") || exists(dst, "d/b") {
		t.Error("pushed, or deleted")
	}
}

// TestSubvolume pushes into a btrfs subvolume.
func TestSubvolume(t *testing.T) {
	dst := loopFS(t, 200<<20, "mkfs.btrfs", "-q")
	for _, name := range []string{"d", "e"} {
		if out, err := exec.Command("btrfs", "subvolume", "create", filepath.Join(dst, name)).CombinedOutput(); err != nil {
			t.Skipf("%v: %s", err, out)
		}
	}
	src := tempTree(t)
	proof := tempTree(t)
	p := &pusher{src: openTestModule(t, src), options: recursiveDelete}
	m, err := OpenModule(ModuleConfig{Name: "default", Proof: filepath.Join(proof, "stage"), Base: dst, Devices: true})
	must(t, err)
	defer m.Close()
	p.dst = m
	plant(t, src, 2000, append([]string{"e/f 1"}, beyondTree...)...)
	plant(t, dst, 1000, "d/replaced old", "d/was file", "d/gone x")
	if o := p.push(t); len(o.problems) > 0 {
		t.Fatal(o.problems)
	}
	sameTrees(t, describe(t, src), describe(t, dst))
	sameInode(t, filepath.Join(dst, "d/first"), filepath.Join(dst, "d/second"))
	noBesides(t, dst)
	if o := p.push(t); len(o.change)+len(o.data)+len(o.deleted)+len(o.problems) > 0 {
		t.Errorf("not stable: %+v", o)
	}
}
