package tree

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"makuo/internal/fsroot"
	"makuo/protocol"
)

func problemsOf(o *outcome) string { return strings.Join(o.errors(), "\n") }

func wantProblem(t *testing.T, o *outcome, parts ...string) {
	t.Helper()
	if len(o.errors()) != 1 {
		t.Fatalf("problems: %q", o.errors())
	}
	for _, s := range parts {
		if !strings.Contains(problemsOf(o), s) {
			t.Errorf("%q does not say %q", problemsOf(o), s)
		}
	}
}

func exists(dir, path string) bool {
	_, err := os.Lstat(filepath.Join(dir, path))
	return err == nil
}

func TestDeleteKeeps(t *testing.T) {
	p, src, dst := pair(t, func(c *ModuleConfig) { c.Protect = []string{"/keep", "*.local"} })
	p.rules = []protocol.Rule{{Pattern: "*.bak"}, {Pattern: "/logs/"}}
	plant(t, src, 2000, "a 1", "keep other", "s.local src")
	plant(t, dst, 1000, "a.bak 1", "logs/x 1", "keep mine", "d/x.bak 1", "d/y 1", "e/deep/s.local 1", "f/g 1", "s.local mine")
	o := p.push(t)
	if len(o.errors()) > 0 || len(o.problems) != 1 || o.problems[0].Text != "2 paths are protected here and differ" {
		t.Fatal(o.problems)
	}
	if !slices.Equal(o.deleted, []string{"d/y", "f/g", "f"}) {
		t.Errorf("deleted %q", o.deleted)
	}
	for _, path := range []string{"a", "a.bak", "logs/x", "d/x.bak", "e/deep/s.local"} {
		if !exists(dst, path) {
			t.Errorf("%s is gone", path)
		}
	}
	oldOrNew(t, dst, map[string][2]string{"keep": {"mine", "mine"}, "s.local": {"mine", "mine"}})
	if again := p.push(t); len(again.change)+len(again.deleted) > 0 {
		t.Errorf("not stable: %q %q", again.change, again.deleted)
	}
}

func TestDeleteOnlyBelowPushed(t *testing.T) {
	p, src, dst := pair(t)
	p.paths = []string{"www/htdocs", "absent", "file"}
	p.rules = []protocol.Rule{{Pattern: "/htdocs/cache"}}
	p.options |= protocol.OptDeleteMissing
	plant(t, src, 2000, "www/htdocs/a 1", "file 2", "www/none 1")
	plant(t, dst, 1000, "www/other 1", "www/htdocs/old 1", "www/htdocs/cache/x 1", "absent/b/c 1", "beside 1")
	o := p.push(t)
	if len(o.problems) > 0 || !slices.Equal(o.deleted, []string{"absent/b/c", "absent/b", "absent", "www/htdocs/old"}) {
		t.Errorf("%q %v", o.deleted, o.problems)
	}
	for _, path := range []string{"www/other", "www/htdocs/cache/x", "beside", "www/htdocs/a", "file"} {
		if !exists(dst, path) {
			t.Errorf("%s is missing", path)
		}
	}
	if exists(dst, "www/none") {
		t.Error("www/none was not pushed")
	}
}

func TestDeleteMax(t *testing.T) {
	for _, dry := range []bool{false, true} {
		p, src, dst := pair(t)
		p.options |= protocol.OptMaxDelete
		if dry {
			p.options |= protocol.OptDryRun
		}
		p.max = 2
		plant(t, src, 2000, "a 1", "f file")
		plant(t, dst, 1000, "x/y 1", "z 1", "f/full 1")
		o := p.push(t)
		if len(o.deleted) > 0 || !exists(dst, "z") || !exists(dst, "f/full") || !strings.Contains(problemsOf(o), "would delete 4 names, the limit is 2") {
			t.Errorf("%q %q", o.deleted, o.errors())
		}
		if !dry && (len(o.errors()) != 2 || !exists(dst, "a")) {
			t.Errorf("%q", o.errors())
		}
		p.max = 4
		if o := p.push(t); len(o.deleted) != 4 || len(o.errors()) > 0 {
			t.Errorf("%q %q", o.deleted, o.errors())
		}
	}
}

// TestOnlyDeletions: a push that only deletes says before the commit that it
// has something to commit, and one that may not delete says that it has not.
func TestOnlyDeletions(t *testing.T) {
	p, src, dst := pair(t)
	plant(t, src, 1000, "f/a file")
	p.push(t)
	was, err := os.Stat(dst + "/f")
	if err != nil {
		t.Fatal(err)
	}
	for _, allowed := range []uint64{0, 9} {
		plant(t, dst, 1000, "f/extra file")
		if err := os.Chtimes(dst+"/f", was.ModTime(), was.ModTime()); err != nil {
			t.Fatal(err)
		}
		p.options |= protocol.OptMaxDelete
		p.max = allowed
		tg, _ := p.stage(t)
		if c := tg.Counts(); c.Deleted != min(allowed, 1) {
			t.Errorf("max %d: %d deletions are staged", allowed, c.Deleted)
		}
		if _, _, err := tg.Commit(); err != nil {
			t.Fatal(err)
		}
		if c := tg.Counts(); c.Deleted != min(allowed, 1) || exists(dst, "f/extra") != (allowed == 0) {
			t.Errorf("max %d: %d deleted, there: %v", allowed, c.Deleted, exists(dst, "f/extra"))
		}
		tg.Close()
	}
}

func TestDeleteEmptySource(t *testing.T) {
	for _, paths := range [][]string{{"."}, {"a", "d"}} {
		p, _, dst := pair(t)
		p.paths = paths
		p.options |= protocol.OptDeleteMissing
		plant(t, dst, 1000, "a 1", "d/b 1")
		o := p.push(t)
		wantProblem(t, o, "--force-empty")
		if !exists(dst, "d/b") || len(o.deleted) > 0 {
			t.Error("something was deleted")
		}
		p.options |= protocol.OptForceEmpty
		if o := p.push(t); len(o.deleted) != 3 || len(o.problems) > 0 || exists(dst, "a") {
			t.Errorf("%q %v", o.deleted, o.problems)
		}
	}
}

// TestDeleteNothingToPut: a source of which nothing can be put in place is as
// good as empty.
func TestDeleteNothingToPut(t *testing.T) {
	p, src, dst := pair(t, func(c *ModuleConfig) { c.Protect = []string{"*.key"} })
	plant(t, src, 2000, "host.key theirs")
	plant(t, dst, 1000, "a 1", "d/b 1")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	must(t, err)
	defer unix.Close(fd)
	must(t, unix.Bind(fd, &unix.SockaddrUnix{Name: shortPath(t, src) + "/socket"}))
	o := p.push(t)
	if !strings.Contains(problemsOf(o), "--force-empty") || !exists(dst, "d/b") || !exists(dst, "a") || len(o.deleted) > 0 {
		t.Errorf("%q, deleted %q", o.errors(), o.deleted)
	}
	plant(t, src, 2000, "c 1")
	if o := p.push(t); !slices.Equal(o.deleted, []string{"a", "d/b", "d"}) {
		t.Errorf("%q, deleted %q", o.errors(), o.deleted)
	}
}

func TestDeleteHeldByErrors(t *testing.T) {
	p, src, dst := pair(t)
	plant(t, src, 2000, "d/bad new", "d/good new", "e/ok new")
	plant(t, dst, 1000, "d/bad old", "d/good old", "d/gone 1", "d/gonedir/x 1", "e/gone 1")
	p.failing = func(e *protocol.Entry) bool { return e.Path == "d/bad" }
	o := p.push(t)
	wantProblem(t, o, "d: 3 names are not deleted")
	if !slices.Equal(o.deleted, []string{"e/gone"}) {
		t.Errorf("deleted %q", o.deleted)
	}
	oldOrNew(t, dst, map[string][2]string{"d/bad": {"old", "old"}, "d/good": {"new", "new"}, "d/gone": {"1", "1"}})
	p.failing = nil
	if o := p.push(t); len(o.problems) > 0 {
		t.Error(o.problems)
	}
	sameTrees(t, describe(t, src), describe(t, dst))
}

func TestWithoutDelete(t *testing.T) {
	p, src, dst := pair(t)
	p.options = protocol.OptRecursive
	plant(t, src, 2000, "a 1", "full file", "bare file")
	plant(t, dst, 1000, "more 1", "full/x 1", "bare/")
	o := p.push(t)
	wantProblem(t, o, "full: ", "--delete")
	if !exists(dst, "more") || !exists(dst, "full/x") || len(o.deleted) > 0 {
		t.Errorf("deleted: %q", o.deleted)
	}
	oldOrNew(t, dst, map[string][2]string{"bare": {"file", "file"}, "a": {"1", "1"}})
}

func TestReplacedDirectoryIsReported(t *testing.T) {
	p, src, dst := pair(t)
	plant(t, src, 2000, "d file", "k file")
	plant(t, dst, 1000, "d/a/b 1", "d/c 1", "k/x.bak 1", "k/y 1")
	p.rules = []protocol.Rule{{Pattern: "*.bak"}}
	o := p.push(t)
	wantProblem(t, o, "k: ", "exclude or protect")
	if !slices.Equal(o.deleted, []string{"d/a/b", "d/a", "d/c"}) || !exists(dst, "k/y") {
		t.Errorf("deleted %q", o.deleted)
	}
}

// TestLinksAreNotEntered: what a link at the member points to is never reached.
func TestLinksAreNotEntered(t *testing.T) {
	outside := tempTree(t)
	plant(t, outside, 500, "secret 1", "sub/x 1")
	before := describe(t, outside)
	p, src, dst := pair(t)
	plant(t, src, 2000, "d/secret new", "d/sub/x new", "e/a 1")
	for _, name := range []string{"d", "gone", "f"} {
		if err := os.Symlink(outside, filepath.Join(dst, name)); err != nil {
			t.Fatal(err)
		}
	}
	p.paths = []string{"d", "e", "f", "gone"}
	// The parent of a pushed path is a link, too.
	plant(t, src, 2000, "f/sub/x new")
	p.paths = append(p.paths, "f/sub")
	p.options = recursiveDelete | protocol.OptDeleteMissing
	if o := p.push(t); len(o.problems) > 0 {
		t.Fatal(o.problems)
	}
	sameTrees(t, before, describe(t, outside))
	want, got := describe(t, src), describe(t, dst)
	delete(want, ".") // is not pushed
	delete(got, ".")
	sameTrees(t, want, got)
}

// TestLinkRace turns directories into links between staging and commit.
func TestLinkRace(t *testing.T) {
	outside := tempTree(t)
	plant(t, outside, 500, "f 1", "gone 1", "mode 1", "sub/x 1")
	before := describe(t, outside)
	p, src, dst := pair(t)
	plant(t, dst, 1000, "d/f old", "d/gone old", "d/mode m", "d/sub/x 1", "ok old")
	plant(t, src, 2000, "d/f new1", "d/mode m", "d/sub/x 1", "d/new n", "ok new")
	tg, o := p.stage(t)
	if err := os.Rename(filepath.Join(dst, "d"), filepath.Join(dst, "moved")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dst, "d")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := tg.Commit(); err != nil {
		t.Fatal(err)
	}
	o.collect(t, tg)
	tg.Close()
	sameTrees(t, before, describe(t, outside))
	oldOrNew(t, dst, map[string][2]string{"ok": {"new", "new"}})
	if len(o.errors()) == 0 || !strings.Contains(problemsOf(o), "symbolic link") {
		t.Errorf("problems: %q", o.errors())
	}
}

// TestHostileManifest sends what no scan makes.
func TestHostileManifest(t *testing.T) {
	outside := tempTree(t)
	plant(t, outside, 500, "x 1")
	before := describe(t, outside)
	p, _, dst := pair(t)
	plant(t, dst, 1000, "file 1", "other/y 1")
	if err := os.Symlink(outside, filepath.Join(dst, "link")); err != nil {
		t.Fatal(err)
	}
	h := p.header(t)
	tg, err := p.dst.Begin(protocol.PushID{Start: 1, Origin: 1}, h)
	if err != nil {
		t.Fatal(err)
	}
	defer tg.Close()
	reg := func(path string) protocol.Entry {
		return protocol.Entry{Path: path, Type: protocol.EntryRegular, Mode: 0o644}
	}
	b := &protocol.Batch{Entries: []protocol.Entry{
		reg("file/below"), reg("link/x"), {Path: "other/y/z", Type: protocol.EntryHardlink, Link: "nothing"}, reg("unknown/parent/f"), reg("z"),
	}}
	_, change, err := tg.Compare(b)
	if err != nil || change[0] != 1<<4 {
		t.Fatalf("%b %v", change, err)
	}
	if err := tg.EndCompare(); err != nil {
		t.Fatal(err)
	}
	if _, err := tg.Stage(1); err != nil {
		t.Fatal(err)
	}
	if _, _, err := tg.Commit(); err != nil {
		t.Fatal(err)
	}
	o := &outcome{}
	o.collect(t, tg)
	if len(o.errors()) != 4 || !exists(dst, "z") {
		t.Errorf("%q", o.errors())
	}
	sameTrees(t, before, describe(t, outside))
	// Out of order across batches.
	tg2, err := p.dst.Begin(protocol.PushID{Start: 2, Origin: 1}, h)
	if err != nil {
		t.Fatal(err)
	}
	defer tg2.Close()
	if _, _, err := tg2.Compare(&protocol.Batch{Entries: []protocol.Entry{reg("b")}}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := tg2.Compare(&protocol.Batch{Number: 1, First: 1, Entries: []protocol.Entry{reg("a")}}); err == nil {
		t.Error("entries out of order are taken")
	}
	if err := tg2.Discard(false); err != nil {
		t.Fatal(err)
	}
}

// TestSharedInodes: files that are linked here and separate at the origin are
// told apart, once.
func TestSharedInodes(t *testing.T) {
	p, src, dst := pair(t)
	plant(t, src, 2000, "a same", "b same")
	plant(t, dst, 2000, "a same", "b = a")
	if o := p.push(t); !slices.Equal(o.data, []string{"b"}) {
		t.Errorf("%q", o.data)
	}
	sameTrees(t, describe(t, src), describe(t, dst))
}

func TestSameCoarseTime(t *testing.T) {
	for _, c := range []struct {
		sec     int64
		nsec    uint32
		st      fsroot.Stat
		same    bool
		comment string
	}{
		{100, 5, fsroot.Stat{Sec: 100, Nsec: 5, CSec: 7, CNsec: 123456789}, true, "equal"},
		{100, 5, fsroot.Stat{Sec: 100, Nsec: 6, CSec: 7, CNsec: 123456789}, false, "a nanosecond"},
		{100, 999, fsroot.Stat{Sec: 100, CSec: 7, CNsec: 123456789}, false, "cut off on a fine file system"},
		{100, 999, fsroot.Stat{Sec: 100, CSec: 7}, true, "whole seconds"},
		{101, 999, fsroot.Stat{Sec: 100, CSec: 8}, true, "two seconds"},
		{102, 999, fsroot.Stat{Sec: 100, CSec: 8}, false, "another second"},
		{100, 123456789, fsroot.Stat{Sec: 100, Nsec: 123456700, CSec: 8, CNsec: 100}, true, "100 ns"},
		{-1, 5, fsroot.Stat{Sec: -2, CSec: 8}, true, "before 1970"},
	} {
		if got := sameCoarse(&protocol.Entry{Sec: c.sec, Nsec: c.nsec}, &c.st); got != c.same {
			t.Errorf("%s: %v", c.comment, got)
		}
	}
}

func TestSpace(t *testing.T) {
	b := spaceBook{inodes: 1000, bytes: 100 << 20}
	sp := fsroot.Space{Bytes: 110 << 20, AllBytes: 10 << 30, AllInodes: 1, Inodes: 2000}
	if err := b.fits(sp, 0, 0); err == nil || !strings.Contains(err.Error(), "no space") {
		t.Error(err)
	}
	if err := b.fits(sp, 50<<20, 0); err != nil {
		t.Error(err)
	}
	sp.AllBytes = 128 << 20 // a small file system keeps less free
	if err := b.fits(sp, 0, 0); err != nil {
		t.Error(err)
	}
	sp = fsroot.Space{Bytes: 1 << 40, AllBytes: 1 << 40, AllInodes: 1 << 20, Inodes: 100}
	if err := b.fits(sp, 0, 0); err == nil || !strings.Contains(err.Error(), "inodes") {
		t.Error(err)
	}
	if err := b.fits(sp, 0, 990); err != nil {
		t.Error(err)
	}
	sp.AllInodes = 0
	if err := b.fits(sp, 0, 0); err != nil {
		t.Error(err)
	}
}

func TestPageLogSpills(t *testing.T) {
	var l pageLog
	var want []byte
	for i := range 200_000 {
		b := fmt.Appendf(nil, "record %d\n", i)
		l.add(b)
		want = append(want, b...)
	}
	defer l.close()
	got := make([]byte, l.size)
	for off := 0; off < len(got); off += 100_000 {
		if _, err := l.readAt(got[off:min(off+100_000, len(got))], int64(off)); err != nil {
			t.Fatal(err)
		}
	}
	if l.err != nil || l.f == nil || !slices.Equal(got, want) {
		t.Errorf("%v: %d of %d bytes", l.err, len(got), len(want))
	}
}

// TestAbsentParents: what is not there with all its parents is no problem.
func TestAbsentParents(t *testing.T) {
	p, src, dst := pair(t)
	p.paths = []string{"a/b/c", "l/x/y", "z"}
	plant(t, src, 2000, "z 1")
	plant(t, dst, 1000, "l -> z")
	if o := p.push(t); len(o.problems) > 0 || !exists(dst, "z") || !exists(dst, "l") {
		t.Error(o.problems)
	}
}

// TestProtectedFirstName: further names of a file whose first name is protected
// are made from its content, and the protected name is not.
func TestProtectedFirstName(t *testing.T) {
	p, src, dst := pair(t, func(c *ModuleConfig) { c.Protect = []string{"/b"} })
	plant(t, src, 2000, "a 1", "b 2", "c = b")
	if errs := p.push(t).errors(); len(errs) > 0 {
		t.Errorf("errors %q", errs)
	}
	if content, err := os.ReadFile(filepath.Join(dst, "c")); string(content) != "2" {
		t.Errorf("c holds %q, %v", content, err)
	}
	if exists(dst, "b") || !exists(dst, "a") {
		t.Error("wrong tree")
	}
}

// TestProtectedDiffers: a push names what it may not make the same, and a check
// does not call it the same.
func TestProtectedDiffers(t *testing.T) {
	p, src, dst := pair(t, func(c *ModuleConfig) { c.Protect = []string{"/etc/", "*.key"} })
	plant(t, src, 1000, "etc/same 1", "etc/sub/other theirs", "etc/sub/new 1", "a.key theirs", "b.key same", "c 1")
	plant(t, dst, 1000, "etc/same 1", "etc/sub/other mine", "a.key mine", "b.key same", "c 1")
	for _, options := range []uint32{0, protocol.OptDryRun, protocol.OptCheck} {
		p.options = recursiveDelete | options
		o := p.pushOrCheck(t)
		if len(o.problems) != 1 || !o.problems[0].Warning || o.problems[0].Text != "3 paths are protected here and differ" {
			t.Errorf("%#x: %v", options, o.problems)
		}
		var want []string
		if options == protocol.OptCheck {
			want = []string{"a.key", "etc/sub/new", "etc/sub/other"}
		}
		if !slices.Equal(o.change, want) || o.counts.Changed != uint64(len(want)) {
			t.Errorf("%#x: change %q, want %q", options, o.change, want)
		}
	}
}

// pushOrCheck is push, and for a check what comes before the end of one.
func (p *pusher) pushOrCheck(t *testing.T) *outcome {
	t.Helper()
	if p.options&protocol.OptCheck == 0 {
		return p.push(t)
	}
	o, h := &outcome{}, p.header(t)
	tg, err := p.dst.Begin(protocol.PushID{Start: 1}, h)
	must(t, err)
	defer tg.Close()
	p.compare(t, tg, h, o)
	o.collect(t, tg)
	return o
}
