package tree

import (
	"os"
	"path/filepath"
	"testing"

	"makuo/protocol"
)

// TestOwnIsNotPushed: the origin's state and socket stay out of the manifest
// without a word, and what members have at the same paths stays there.
func TestOwnIsNotPushed(t *testing.T) {
	src, dst := tempTree(t), tempTree(t)
	plant(t, src, 2000, "var/lib/state/secret 1", "var/lib/state2 1", "run/sock |", "a 1")
	plant(t, dst, 1000, "var/lib/state/theirs 1", "var/lib/gone 1", "run/gone 1")
	must(t, os.Symlink("var/lib", filepath.Join(src, "link")))
	own := func(c *ModuleConfig) {
		c.Own = []string{filepath.Join(src, "link/state"), filepath.Join(src, "run/sock"), filepath.Join(src, "nowhere/x"), src, "/elsewhere"}
	}
	p := &pusher{src: openTestModule(t, src, own), dst: openTestModule(t, dst), options: recursiveDelete}
	if o := p.push(t); len(o.problems) > 0 || len(o.deleted) != 2 {
		t.Errorf("problems %q, deleted %q", problemsOf(o), o.deleted)
	}
	for path, want := range map[string]bool{"var/lib/state/secret": false, "run/sock": false, "var/lib/gone": false, "run/gone": false,
		"var/lib/state/theirs": true, "var/lib/state2": true, "a": true} {
		if exists(dst, path) != want {
			t.Errorf("%s is there: %v", path, !want)
		}
	}
	if o := p.push(t); o.counts != (protocol.Counts{}) {
		t.Errorf("pushed again: %+v", o.counts)
	}
	must(t, os.RemoveAll(filepath.Join(src, "run")))
	if p.push(t); exists(dst, "run") {
		t.Error("what is not at the origin is kept")
	}
	for _, path := range []string{"var/lib/state", "var/lib/state/secret"} {
		got := scanTree(t, p.src, ScanSpec{Header: header(protocol.OptRecursive, path)})
		if len(got.problems) != 1 || len(got.entries) != 1 || got.entries[0].Type != protocol.EntryFailed {
			t.Errorf("named %s: %q, %+v", path, got.problems, got.entries)
		}
	}
}

// TestOwnIsNotTouched: no push changes, replaces or deletes a member's state.
func TestOwnIsNotTouched(t *testing.T) {
	for name, lines := range map[string][]string{
		"deleted": {"a 1"}, "replaced": {"a 1", "var/state file"}, "its directory replaced": {"a 1", "var file"},
		"changed": {"a 1", "var/state/db changed", "run/sock file"},
	} {
		src, dst := tempTree(t), tempTree(t)
		plant(t, src, 2000, lines...)
		plant(t, dst, 1000, "var/state/db old", "run/sock |", "gone 1")
		p := &pusher{src: openTestModule(t, src), dst: openTestModule(t, dst, func(c *ModuleConfig) {
			c.Own = []string{filepath.Join(dst, "var/state"), filepath.Join(dst, "run/sock")}
		}), options: recursiveDelete}
		p.push(t)
		b, err := os.ReadFile(filepath.Join(dst, "var/state/db"))
		fi, err2 := os.Lstat(filepath.Join(dst, "run/sock"))
		if err != nil || string(b) != "old" || err2 != nil || fi.Mode()&os.ModeNamedPipe == 0 {
			t.Errorf("%s: %q, %v, %v", name, b, err, err2)
		}
		if !exists(dst, "a") || exists(dst, "gone") && name != "its directory replaced" {
			t.Errorf("%s: the rest was not pushed", name)
		}
	}
}
