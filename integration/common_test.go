//go:build linux

package integration

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"makuo/integration/lab"
	"makuo/integration/trees"
)

func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given { // most of a scenario is waiting, on two processors too
		flag.Set("test.parallel", "4")
	}
	os.Exit(lab.Main(m))
}

// stageDir is the directory at a base's root where members stage.
const stageDir = ".makuo-stage"

// size is small by default and full with MAKUO_FULL=1.
func size[T any](small, full T) T {
	if lab.Full {
		return full
	}
	return small
}

// check ends the test on an error of the test's own doing.
func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantExit checks msync's exit status.
func wantExit(t testing.TB, r lab.Result, want int) {
	t.Helper()
	if r.Exit != want {
		t.Errorf("exit status %d, want %d: %s", r.Exit, want, r)
	}
}

// wantNamed checks that one line of what msync says, but for lines about paths
// and progress, has all the words. Words are compared without regard to case; "a|b" is either.
func wantNamed(t testing.TB, r lab.Result, words ...string) {
	t.Helper()
	if !named(r, words...) {
		t.Errorf("no line of the report has all of %q: %s", words, r)
	}
}

func named(r lab.Result, words ...string) bool {
	for line := range strings.Lines(strings.ToLower(r.Stdout + r.Stderr)) {
		report := !strings.HasPrefix(line, "update ") && !strings.HasPrefix(line, "delete ") && !strings.HasPrefix(line, "skip ") &&
			!strings.Contains(line, `"type":"progress"`) && !strings.Contains(line, `"type":"start"`) && !strings.Contains(line, `"type":"path"`)
		if report && hasAll(line, words) {
			return true
		}
	}
	return false
}

func hasAll(line string, words []string) bool {
	for _, word := range words {
		found := false
		for alternative := range strings.SplitSeq(strings.ToLower(word), "|") {
			found = found || strings.Contains(line, alternative)
		}
		if !found {
			return false
		}
	}
	return true
}

// read reads a tree of a host's base.
func read(t testing.TB, h *lab.Host, path string) trees.Snapshot {
	t.Helper()
	s, err := tryRead(h, path)
	check(t, err)
	return s
}

// tryRead reads a tree of a host's base without the staging directory; a path
// that is not there is an empty tree.
func tryRead(h *lab.Host, path string) (trees.Snapshot, error) {
	s, err := trees.Read(h.Base(path), func(p string) bool { return p == stageDir })
	if errors.Is(err, os.ErrNotExist) {
		return trees.Snapshot{}, nil
	}
	return s, err
}

// wantSame checks that a tree is what it should be.
func wantSame(t testing.TB, what string, want, got trees.Snapshot) {
	t.Helper()
	if err := same(want, got); err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

// same is an error that names the first differences of two trees.
func same(want, got trees.Snapshot) error {
	d := trees.Diff(want, got)
	if len(d) == 0 {
		return nil
	}
	const shown = 12
	if n := len(d); n > shown {
		d = append(d[:shown], fmt.Sprintf("... %d in all", n))
	}
	return fmt.Errorf("the tree differs:\n\t%s", strings.Join(d, "\n\t"))
}

// wantEqual checks that a pushed path is the same at members as at the origin,
// by rsync where it is installed, and by the test's own comparison.
func wantEqual(t testing.TB, origin *lab.Host, path string, members ...*lab.Host) {
	t.Helper()
	want := read(t, origin, path)
	for _, m := range members {
		wantSame(t, m.Name, want, read(t, m, path))
		rsyncEqual(t, origin, m, path)
	}
}

var sayNoRsync = sync.OnceFunc(func() {
	fmt.Fprintln(os.Stderr, "rsync is not installed: trees are judged by the tests' own comparison only")
})

// rsyncEqual lets rsync compare a path at two hosts.
func rsyncEqual(t testing.TB, origin, member *lab.Host, path string) {
	t.Helper()
	rsync, err := exec.LookPath("rsync")
	if err != nil {
		sayNoRsync()
		return
	}
	// not through /proc/PID/root: rsync follows no links on its way
	from, to := filepath.Join(lab.BaseDir, path), member.Name+":"+filepath.Join(lab.BaseDir, path)
	if info, err := os.Lstat(origin.Base(path)); err == nil && info.IsDir() {
		from, to = from+"/", to+"/"
	}
	out, err := origin.Command(lab.BaseDir, rsync, "-aHAXn", "--checksum", "--delete", "-i", "--exclude=/"+stageDir,
		"-e", member.RemoteShell(), from, to).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("%s: rsync finds differences in %s: %v\n%.600s", member.Name, path, err, out)
	}
}

// wantClean checks that no member keeps a staging directory; it waits, since a
// member may remove it after it has reported.
func wantClean(t testing.TB, hosts ...*lab.Host) {
	t.Helper()
	for _, h := range hosts {
		lab.WaitFor(t, h.Name+" to remove its staging directory", func() error {
			if _, err := os.Lstat(h.Base(stageDir)); !os.IsNotExist(err) {
				left, _ := exec.Command("find", h.Base(stageDir)).Output()
				return fmt.Errorf("it is there (%v):\n%.1000s", err, left)
			}
			return nil
		})
	}
}

// write writes a file of a host's base.
func write(t testing.TB, h *lab.Host, path, content string) {
	t.Helper()
	check(t, os.MkdirAll(filepath.Dir(h.Base(path)), 0o755))
	check(t, os.WriteFile(h.Base(path), []byte(content), 0o644))
}

// wantContent checks a file of a host's base.
func wantContent(t testing.TB, h *lab.Host, path, want string) {
	t.Helper()
	if data, err := os.ReadFile(h.Base(path)); err != nil || string(data) != want {
		t.Errorf("%s: %s is %.100q, %v, want %q", h.Name, path, data, err, want)
	}
}

// wantAbsent checks that a host's base lacks a name.
func wantAbsent(t testing.TB, h *lab.Host, path string) {
	t.Helper()
	if _, err := os.Lstat(h.Base(path)); !os.IsNotExist(err) {
		t.Errorf("%s: %s is there: %v", h.Name, path, err)
	}
}

// sending holds for a progress event of a push that has sent that much content.
func sending(bytes float64) func(lab.Event) bool {
	return func(e lab.Event) bool {
		sent, _ := e["bytes"].(float64)
		return e.Type() == "progress" && e["stage"] == "send" && sent >= bytes
	}
}

// decided holds for the event that says that the decision to commit is on disk.
func decided(e lab.Event) bool { return e.Type() == "decided" }
