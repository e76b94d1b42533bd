package tree

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"makuo/protocol"
)

// mountTmpfs mounts a small file system, or skips the test.
func mountTmpfs(t *testing.T, dir, options string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("makuo-test", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("mounting is not permitted here: mount points and full disks are not tested: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
}

func TestMountPoints(t *testing.T) {
	p, src, dst := pair(t)
	plant(t, src, 2000, "d/in/file 1", "k file", "ok 1")
	plant(t, dst, 1000, "gone/x 1", "gone/mnt/", "d/in/", "k/mnt/")
	for _, m := range []string{"gone/mnt", "d/in", "k/mnt"} {
		mountTmpfs(t, filepath.Join(dst, m), "size=1m")
		if err := os.WriteFile(filepath.Join(dst, m, "precious"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	o := p.push(t)
	for _, m := range []string{"gone/mnt", "d/in", "k/mnt"} {
		if !exists(dst, m+"/precious") {
			t.Errorf("%s was entered", m)
		}
	}
	// The three, and that nothing else goes from where one of them is.
	if len(o.errors()) != 4 || len(o.deleted) > 0 || strings.Count(problemsOf(o), "is a mount point") != 3 {
		t.Errorf("%q %q", o.errors(), o.deleted)
	}
	if exists(dst, "d/in/file") || !exists(dst, "ok") {
		t.Error("wrong files")
	}
}

// TestFullDisk: no space is an error of the member, before data and in it, and
// leaves the old tree.
func TestFullDisk(t *testing.T) {
	p, src, dst := pair(t)
	base := filepath.Join(dst, "fs")
	mountTmpfs(t, base, "size=24m")
	p.dst = openTestModule(t, base)
	plant(t, src, 2000, "a "+strings.Repeat("x", 25<<20))
	plant(t, base, 1000, "a old")
	h := p.header(t)
	e := manifestOf(t, p)
	tg, err := p.dst.Begin(protocol.PushID{Start: 1}, h)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = tg.Compare(&protocol.Batch{Entries: e})
	if err == nil || !strings.Contains(err.Error(), "no space") {
		t.Fatalf("%v", err)
	}
	if err := tg.Discard(false); err != nil {
		t.Fatal(err)
	}
	tg.Close()
	// Somebody else takes what was free.
	e[1].Size = 1 << 20
	if tg, err = p.dst.Begin(protocol.PushID{Start: 2}, h); err != nil {
		t.Fatal(err)
	}
	defer tg.Close()
	if _, _, err = tg.Compare(&protocol.Batch{Entries: e}); err != nil {
		t.Fatal(err)
	}
	fill, err := os.Create(filepath.Join(base, "fill"))
	if err != nil {
		t.Fatal(err)
	}
	defer fill.Close()
	for err == nil {
		_, err = fill.Write(make([]byte, 4096))
	}
	err = tg.Store([]protocol.Piece{{Type: protocol.PieceWhole, Entry: 1, Data: make([]byte, 1<<20)}}, 0)
	if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "a: no space is left on the file system of "+base) {
		t.Errorf("%v", err)
	}
	if err := tg.Discard(true); err != nil {
		t.Fatal(err)
	}
	if exists(base, protocol.StageName) {
		t.Error("what filled the disk is kept")
	}
	oldOrNew(t, base, map[string][2]string{"a": {"old", "old"}})
}

// TestFlags: directories that are implied, incomplete, failed.
func TestFlags(t *testing.T) {
	dst := tempTree(t)
	plant(t, dst, 1000, "imp/have/x 1", "inc/x 1", "inc/sub/y 1", "fail/x 1", "whole/x 1")
	m := openTestModule(t, dst)
	h := &protocol.PushHeader{Module: "default", Name: "o", Options: recursiveDelete | protocol.OptForceEmpty, Paths: []string{"fail", "imp/have", "imp/new/p", "inc", "whole"}}
	tg, err := m.Begin(protocol.PushID{Start: 1}, h)
	if err != nil {
		t.Fatal(err)
	}
	defer tg.Close()
	own := protocol.Owner{ID: uint32(os.Geteuid())}
	grp := protocol.Owner{ID: uint32(os.Getegid())}
	dir := func(path string, flags uint8) protocol.Entry {
		return protocol.Entry{Path: path, Type: protocol.EntryDirectory, Flags: flags, Mode: 0o711, Sec: 7, User: own, Group: grp}
	}
	const rec = protocol.EntryRecurse
	_, change, err := tg.Compare(&protocol.Batch{Entries: []protocol.Entry{
		{Path: "fail", Type: protocol.EntryFailed},
		dir("imp", protocol.EntryImplied), dir("imp/have", rec), dir("imp/new", protocol.EntryImplied), dir("imp/new/p", rec),
		dir("inc", rec|protocol.EntryIncomplete), dir("inc/sub", rec), dir("whole", rec),
	}})
	if err != nil {
		t.Fatal(err)
	}
	if want := byte(0b11111100); change[0] != want {
		t.Errorf("change %08b", change[0])
	}
	if err := tg.EndCompare(); err != nil {
		t.Fatal(err)
	}
	o := finishPush(t, tg)
	if len(o.problems) > 0 || !slices.Equal(o.deleted, []string{"imp/have/x", "inc/sub/y", "whole/x"}) {
		t.Errorf("%v %q", o.problems, o.deleted)
	}
	for path, want := range map[string]os.FileMode{"imp": 0o755, "imp/have": 0o711, "imp/new": 0o711, "imp/new/p": 0o711, "fail": 0o755} {
		st, err := os.Stat(filepath.Join(dst, path))
		if err != nil || st.Mode().Perm() != want {
			t.Errorf("%s: %v %v", path, st, err)
		}
	}
}

// TestTwoPushesAtOnce share the staging directory.
func TestTwoPushesAtOnce(t *testing.T) {
	p, src, dst := pair(t)
	plant(t, src, 2000, "a/x 1", "b/y 2")
	q := *p
	p.paths, q.paths, q.id = []string{"a"}, []string{"b"}, 1000
	one, _ := p.stage(t)
	two, _ := q.stage(t)
	for _, tg := range []*Target{one, two} {
		if _, _, err := tg.Commit(); err != nil {
			t.Fatal(err)
		}
		tg.Close()
	}
	if !exists(dst, "a/x") || !exists(dst, "b/y") || exists(dst, protocol.StageName) {
		t.Error("wrong tree")
	}
}

// TestRecoverLeavesStrangers: only what pushes made is removed from the stage.
func TestRecoverLeavesStrangers(t *testing.T) {
	dst := tempTree(t)
	ownStage(t, dst)
	plant(t, dst, 1000, protocol.StageName+"/mine/x 1", protocol.StageName+"/"+protocol.PushID{Start: 1}.String()+"/e1 rubbish",
		protocol.StageName+"/keep-"+protocol.PushID{Start: 2}.String()+"/e1 rubbish")
	m := openTestModule(t, dst)
	if pending, err := m.Recover(); err != nil || len(pending) > 0 {
		t.Fatal(pending, err)
	}
	es, err := os.ReadDir(filepath.Join(dst, protocol.StageName))
	if err != nil || len(es) != 1 || es[0].Name() != "mine" {
		t.Errorf("%v %v", es, err)
	}
	if err := os.RemoveAll(filepath.Join(dst, protocol.StageName, "mine")); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Recover(); err != nil || exists(dst, protocol.StageName) {
		t.Error("the empty stage is still there", err)
	}
}

// TestRecoverDamagedPlan: a push whose commit had begun is never dropped in
// silence, and keeps neither the others nor a newer push from their work.
func TestRecoverDamagedPlan(t *testing.T) {
	for what, damage := range map[string]func(plan string) error{
		"cut":    func(plan string) error { return os.Truncate(plan, 200) },
		"header": func(plan string) error { return os.Truncate(plan, 20) },
		"magic":  func(plan string) error { return os.WriteFile(plan, []byte("something else"), 0o600) },
		"flipped": func(plan string) error {
			b, err := os.ReadFile(plan)
			if err == nil {
				b[len(b)-20] ^= 1
				err = os.WriteFile(plan, b, 0o600)
			}
			return err
		},
	} {
		p, src, dst := pair(t)
		q := *p
		p.paths, q.paths, q.id = []string{"a"}, []string{"b"}, 1000
		plant(t, dst, 1000, "a/x old")
		plant(t, src, 2000, "a/x new", "a/y 1", "b/z 2")
		var dirs []string
		for _, p := range []*pusher{p, &q} {
			tg, _ := p.stage(t)
			stopAt(t, 3)
			if _, _, err := tg.Commit(); !errors.Is(err, errStop) {
				t.Fatal(err)
			}
			dirs = append(dirs, filepath.Join(dst, protocol.StageName, tg.id.String()))
			tg.Close()
		}
		commitHook = nil
		must(t, damage(filepath.Join(dirs[0], planName)))
		m := openTestModule(t, dst)
		pending, err := m.Recover()
		if err == nil || !strings.Contains(err.Error(), dirs[0]) || strings.Contains(err.Error(), dirs[1]) || len(pending) > 0 {
			t.Errorf("%s: %v %v", what, pending, err)
		}
		if _, err := os.Lstat(filepath.Join(dirs[0], markName)); err != nil || !exists(dst, "b/z") || exists(dst, protocol.StageName+"/"+filepath.Base(dirs[1])) {
			t.Errorf("%s: the damaged push is gone or the other is not finished: %v", what, err)
		}
		p.dst = m
		p.push(t)
		if !exists(dst, "a/y") {
			t.Errorf("%s: nothing can be pushed any more", what)
		}
	}
}
