package tree

import (
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"makuo/internal/fsroot"
	"makuo/protocol"
)

// plainFixture is a tree on a file system with attributes whose change times
// are known to move.
func plainFixture(t *testing.T, dir string) string {
	t.Helper()
	must(t, os.MkdirAll(dir+"/d/e", 0o755))
	for _, name := range [...]string{"/d/a", "/d/b", "/d/e/c"} {
		must(t, os.WriteFile(dir+name, []byte("x"), 0o644))
	}
	if err := unix.Setxattr(dir+"/d/a", "user.probe", []byte("x"), 0); err != nil {
		t.Skip("this file system has no attributes: ", err)
	}
	must(t, unix.Removexattr(dir+"/d/a", "user.probe"))
	waitTick(t, dir)
	return dir
}

// waitTick returns when a file that is touched now gets a later time than all
// that were touched before.
func waitTick(t *testing.T, dir string) {
	t.Helper()
	var st unix.Stat_t
	must(t, os.WriteFile(dir+"/tick", nil, 0o600))
	must(t, unix.Lstat(dir+"/tick", &st))
	must(t, os.Remove(dir+"/tick"))
	for fsroot.FileClock() <= st.Ctim.Nano() {
	}
}

func inodeAt(t *testing.T, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Lstat(path, &st))
	return st.Ino
}

func needMovingCtime(t *testing.T, m *Module) {
	t.Helper()
	if !m.Root.CtimeMoves() {
		t.Skip("the change time of files on this file system is not relied upon")
	}
}

func TestScanAsksChangedFilesForAttributes(t *testing.T) {
	base := plainFixture(t, t.TempDir())
	outside := plainFixture(t, t.TempDir())
	m := openModule(t, base)
	needMovingCtime(t, m)
	xattrs := func(path string) int {
		return len(scanTree(t, m, ScanSpec{Header: header(protocol.OptRecursive, ".")}).find(path).Xattrs)
	}
	if n := xattrs("d/a"); n != 0 {
		t.Fatalf("%d attributes", n)
	}
	if m.plain.since(plainScan, "d", inodeAt(t, base+"/d")) == 0 {
		t.Fatal("nothing is remembered of a directory without attributes")
	}
	must(t, unix.Setxattr(base+"/d/a", "user.new", []byte("1"), 0))
	if n := xattrs("d/a"); n != 1 {
		t.Errorf("set after the first scan: %d attributes", n)
	}
	// What comes in with attributes and an old time is asked.
	must(t, unix.Setxattr(outside+"/d/e/c", "user.old", []byte("1"), 0))
	must(t, unix.Setxattr(outside+"/d/b", "user.old", []byte("1"), 0))
	must(t, os.Rename(base+"/d/e", base+"/was"))
	must(t, os.Rename(outside+"/d/e", base+"/d/e"))
	if n := xattrs("d/e/c"); n != 1 {
		t.Errorf("in a directory that took another's place: %d attributes", n)
	}
	must(t, os.Rename(outside+"/d/b", base+"/d/b"))
	if n := xattrs("d/b"); n != 1 {
		t.Errorf("moved in: %d attributes", n)
	}
}

// TestScanTrustsRecords sees that files are not asked: by a record that is wrong.
func TestScanTrustsRecords(t *testing.T) {
	base := plainFixture(t, t.TempDir())
	must(t, unix.Setxattr(base+"/d/a", "user.new", []byte("1"), 0))
	m := openModule(t, base)
	needMovingCtime(t, m)
	m.plain.start(m.Root)
	m.plain.note(plainScan, "d", inodeAt(t, base+"/d"), math.MaxInt64)
	if x := scanTree(t, m, ScanSpec{Header: header(protocol.OptRecursive, ".")}).find("d/a").Xattrs; len(x) != 0 {
		t.Errorf("was asked: %v", x)
	}
}

func TestScanRemembersOnlyWhatItSaw(t *testing.T) {
	base := plainFixture(t, t.TempDir())
	m := openModule(t, base)
	needMovingCtime(t, m)
	f, err := NewFilter([]protocol.Rule{{Pattern: "b"}})
	must(t, err)
	scanTree(t, m, ScanSpec{Header: header(protocol.OptRecursive, "."), Filter: f})
	if m.plain.since(plainScan, "d", inodeAt(t, base+"/d")) != 0 {
		t.Error("a directory is remembered of which a file was excluded")
	}
	if m.plain.since(plainScan, "d/e", inodeAt(t, base+"/d/e")) == 0 {
		t.Error("a directory is not remembered of which all files were seen")
	}
}

func TestCompareAsksChangedFilesForAttributes(t *testing.T) {
	src, dst := plainFixture(t, t.TempDir()), t.TempDir()
	p := &pusher{src: openTestModule(t, src), dst: openTestModule(t, dst), options: recursiveDelete}
	needMovingCtime(t, p.dst)
	p.push(t)
	for _, d := range [...]string{"d", "d/e"} {
		if p.dst.plain.since(plainCompare, d, inodeAt(t, filepath.Join(dst, d))) == 0 {
			t.Errorf("nothing is remembered of %s, which was just made", d)
		}
	}
	must(t, unix.Setxattr(dst+"/d/a", "user.new", []byte("1"), 0))
	if o := p.push(t); len(o.change) != 1 || o.change[0] != "d/a" {
		t.Errorf("changed %q where an attribute was to be removed", o.change)
	}
	// A record that is wrong shows that a file with an old time is not asked.
	must(t, unix.Setxattr(dst+"/d/a", "user.new", []byte("1"), 0))
	p.dst.plain.note(plainCompare, "d", inodeAt(t, dst+"/d"), math.MaxInt64)
	if o := p.push(t); len(o.change) != 0 {
		t.Errorf("changed %q", o.change)
	}
	must(t, unix.Setxattr(src+"/d/a", "user.new", []byte("1"), 0))
	must(t, unix.Setxattr(src+"/d/b", "user.new", []byte("1"), 0))
	if o := p.push(t); len(o.change) != 1 || o.change[0] != "d/b" {
		t.Errorf("changed %q where the origin has an attribute more", o.change)
	}
}

func TestPlainForgetsWhenTheClockGoesBack(t *testing.T) {
	p := plainDirs{ok: true}
	p.watch(time.Hour)
	p.note(plainScan, "d", 1, 5)
	p.watch(time.Hour - clockSlack)
	if p.since(plainScan, "d", 1) != 5 {
		t.Fatal("forgotten without need")
	}
	if p.since(plainCompare, "d", 1) != 0 || p.since(plainScan, "e", 1) != 0 || p.since(plainScan, "d", 2) != 0 {
		t.Error("a record was taken for another's")
	}
	p.watch(2 * time.Hour)
	p.watch(2*time.Hour - 2*clockSlack)
	if p.since(plainScan, "d", 1) != 0 {
		t.Error("remembered over a clock that went back")
	}
}

func TestPlainIsBounded(t *testing.T) {
	p := plainDirs{ok: true}
	const n = 2 * maxPlain
	for i := range n {
		p.note(plainScan, "d", uint64(i), int64(i+1))
	}
	if len(p.slots) != maxPlain {
		t.Errorf("%d slots", len(p.slots))
	}
	found := 0
	for i := n - 1000; i < n; i++ {
		if at := p.since(plainScan, "d", uint64(i)); at == int64(i+1) {
			found++
		} else if at != 0 {
			t.Fatalf("record %d has the time %d", i, at)
		}
	}
	if found < 900 {
		t.Errorf("of the last thousand records %d are left", found)
	}
}
