//go:build linux

package integration

import (
	"fmt"
	"os"
	"sort"
	"strings"
	"testing"
	"time"

	"makuo/integration/lab"
	"makuo/integration/trees"
)

// trio is three hosts on links without a limit; h0 has a small tree, "tree",
// that the others lack.
func trio(t *testing.T, opt lab.Options) (l *lab.Lab, h0, h1, h2 *lab.Host) {
	t.Helper()
	opt.Hosts = 3
	l = lab.New(t, opt)
	for i := range 5 {
		write(t, l.Host(0), fmt.Sprintf("tree/f%d", i), fmt.Sprintf("content %d", i))
	}
	return l, l.Host(0), l.Host(1), l.Host(2)
}

func TestTargets(t *testing.T) {
	t.Parallel()
	l, h0, h1, h2 := trio(t, lab.Options{})
	l.Start()
	wantExit(t, h0.Msync("-r", "-t", "h2", "tree"), 0)
	wantEqual(t, h0, "tree", h2)
	wantAbsent(t, h1, "tree")
	r := h0.Msync("-r", "-t", "nobody-has-this-name", "tree")
	if r.Exit == 0 || r.Exit == 4 {
		t.Errorf("a target that does not exist: %s", r)
	}
	wantNamed(t, r, "nobody-has-this-name")
	wantAbsent(t, h1, "tree")
	wantExit(t, h0.Msync("-r", "-t", "h1", "-t", "h2", "tree"), 0)
	wantEqual(t, h0, "tree", h1, h2)
}

func TestExpect(t *testing.T) {
	t.Parallel()
	l, h0, h1, h2 := trio(t, lab.Options{})
	l.Start()
	wantExit(t, h0.Msync("-r", "--expect", "3", "tree"), 3)
	wantAbsent(t, h1, "tree")
	wantAbsent(t, h2, "tree")
	wantExit(t, h0.Msync("-r", "--expect", "2", "tree"), 0)
	wantEqual(t, h0, "tree", h1, h2)
}

func TestNobodyThere(t *testing.T) {
	t.Parallel()
	_, h0, _, _ := trio(t, lab.Options{})
	h0.Start()
	wantExit(t, h0.Msync("-r", "tree"), 3)
}

func TestNoDaemon(t *testing.T) {
	t.Parallel()
	_, h0, _, _ := trio(t, lab.Options{})
	r := h0.Msync("-r", "tree")
	wantExit(t, r, 1)
	if r.Stderr == "" {
		t.Errorf("no word about the daemon: %s", r)
	}
	wantExit(t, h0.Msync("--no-such-option"), 1)
}

// TestMissingMember has a member that was off when the deploy ran.
func TestMissingMember(t *testing.T) {
	t.Parallel()
	l, h0, h1, h2 := trio(t, lab.Options{})
	l.Start()
	h2.Kill()
	h0.AwaitState("h2", "missing")
	r := h0.Msync("-r", "tree")
	wantExit(t, r, 2)
	wantNamed(t, r, "h2", "missing")
	wantEqual(t, h0, "tree", h1)

	write(t, h0, "tree/more", "more")
	wantExit(t, h0.Msync("-r", "--ignore-missing", "tree"), 0)
	wantEqual(t, h0, "tree", h1)

	t.Run("is remembered by a daemon that starts again", func(t *testing.T) {
		h0.Leave()
		h0.Start()
		h0.AwaitState("h1", "alive")
		r := h0.Msync("-r", "tree")
		wantExit(t, r, 2)
		wantNamed(t, r, "h2", "missing")
	})
	t.Run("comes back", func(t *testing.T) {
		h2.Start()
		l.Settle()
		wantExit(t, h0.Msync("-r", "tree"), 0)
		wantEqual(t, h0, "tree", h1, h2)
	})
	t.Run("is forgotten", func(t *testing.T) {
		h2.Kill()
		h0.AwaitState("h2", "missing")
		wantExit(t, h0.Msync("--forget", "h2"), 0)
		h0.AwaitState("h2", "")
		wantExit(t, h0.Msync("-r", "tree"), 0)
	})
}

// TestStoppedMemberIsAway: a member that was stopped is named by each push, until
// it is back or forgotten.
func TestStoppedMemberIsAway(t *testing.T) {
	t.Parallel()
	l, h0, h1, h2 := trio(t, lab.Options{})
	l.Start()
	h2.Leave()
	h0.AwaitState("h2", "away")
	r := h0.Msync("-r", "tree")
	wantExit(t, r, 2)
	wantNamed(t, r, "h2", "away since", "it was stopped there")
	wantEqual(t, h0, "tree", h1)
	wantExit(t, h0.Msync("-r", "--ignore-missing", "tree"), 0)
	h2.Start()
	h0.AwaitState("h2", "alive")
	wantExit(t, h0.Msync("-r", "tree"), 0)
	wantEqual(t, h0, "tree", h1, h2)
}

// TestSameNameTwice has two members with one name: the push says so, and success
// means that both have the tree.
func TestSameNameTwice(t *testing.T) {
	t.Parallel()
	l := lab.New(t, lab.Options{Hosts: 4, Names: []string{"h0", "h1", "twin", "twin"}})
	h0 := l.Host(0)
	write(t, h0, "tree/file", "content")
	for _, h := range l.Hosts() {
		h.Start()
	}
	h0.AwaitState("h1", "alive")
	h0.AwaitState("twin", "duplicate")
	r := h0.Msync("-r", "tree")
	wantExit(t, r, 0)
	wantNamed(t, r, "twin", "more than one|twice|same name")
	wantEqual(t, h0, "tree", l.Hosts()[1:]...)
}

func TestNoReceive(t *testing.T) {
	t.Parallel()
	l, h0, h1, h2 := trio(t, lab.Options{})
	h0.Start()
	h1.Start()
	h2.Start("--no-receive")
	l.Settle()
	wantExit(t, h0.Msync("-r", "tree"), 0)
	wantEqual(t, h0, "tree", h1)
	wantAbsent(t, h2, "tree")
	wantClean(t, h2)
}

func TestNoSend(t *testing.T) {
	t.Parallel()
	l, h0, h1, _ := trio(t, lab.Options{})
	h0.Start("--no-send")
	h1.Start()
	l.Settle()
	if r := h0.Msync("-r", "tree"); r.Exit == 0 || r.Stderr == "" {
		t.Errorf("a push from a daemon that may not send: %s", r)
	}
	wantAbsent(t, h1, "tree")
}

func TestAllOrNone(t *testing.T) {
	t.Parallel()
	s := newSite(t, lab.Options{BaseSizes: map[int]string{2: fullSize}})
	r := s.push("--all-or-none")
	wantExit(t, r, 4)
	wantNamed(t, r, "h2", "space")
	s.wantOld(s.members...)
	s.members[1].Exec("mount", "-o", "remount,size=1g", lab.BaseDir)
	wantExit(t, s.push("--all-or-none"), 0)
	s.wantEqual(s.members...)
	s.heal()
}

func TestMaxDelete(t *testing.T) {
	t.Parallel()
	l, h0, h1, h2 := trio(t, lab.Options{})
	l.Start()
	for _, m := range []*lab.Host{h1, h2} {
		for i := range 10 {
			write(t, m, fmt.Sprintf("tree/extra%d", i), "extra")
		}
	}
	r := h0.Msync("-r", "--delete", "--max-delete", "3", "tree")
	wantExit(t, r, 2)
	for _, m := range []*lab.Host{h1, h2} {
		wantNamed(t, r, m.Name, "delet")
		if n := len(read(t, m, "tree")); n != 1+5+10 {
			t.Errorf("%s: %d entries are left, want 16: nothing deleted", m.Name, n)
		}
	}
	wantExit(t, h0.Msync("-r", "--delete", "--max-delete", "10", "tree"), 0)
	wantEqual(t, h0, "tree", h1, h2)
}

func TestEmptySource(t *testing.T) {
	t.Parallel()
	l, h0, h1, h2 := trio(t, lab.Options{})
	l.Start()
	wantExit(t, h0.Msync("-r"), 0)
	before := read(t, h1, "tree")
	h0.Shell("rm -r tree")
	if r := h0.Msync("-r", "--delete"); r.Exit == 0 || r.Stderr == "" {
		t.Errorf("an empty source: %s", r)
	}
	for _, m := range []*lab.Host{h1, h2} {
		wantSame(t, m.Name, before, read(t, m, "tree"))
	}
	wantExit(t, h0.Msync("-r", "--delete", "--force-empty"), 0)
	wantEqual(t, h0, "", h1, h2)
}

// TestDryRun shows what a push would do, each line marked, and changes nothing
// anywhere.
func TestDryRun(t *testing.T) {
	t.Parallel()
	s := newSite(t, lab.Options{})
	check(t, os.Remove(s.origin.Base("site/big")))
	var before []string
	for _, m := range s.members {
		before = append(before, inodes(m))
	}
	r := s.push("-n", "-v")
	wantExit(t, r, 0)
	for i, m := range s.members {
		if after := inodes(m); after != before[i] {
			t.Errorf("%s: a dry run changed something", m.Name)
		}
		if !strings.Contains(r.Stdout, "update "+m.Name+":site/d0/f000\n") {
			t.Errorf("nothing is said about %s: %s", m.Name, r)
		}
	}
	r.Stdout = strings.ReplaceAll(r.Stdout, "(dryrun) ", "")
	said, did := pathLines(r), pathLines(s.push("-v"))
	if said != did {
		t.Errorf("a dry run says\n%.1000s\n\nthe push did\n%.1000s", said, did)
	}
	s.wantEqual(s.members...)
}

func pathLines(r lab.Result) string {
	lines := r.Lines("update", "delete")
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

// TestCheck has a file with the right size and time and the wrong content, which
// only a comparison of contents finds.
func TestCheck(t *testing.T) {
	t.Parallel()
	l, h0, h1, h2 := trio(t, lab.Options{})
	l.Start()
	wantExit(t, h0.Msync("-r", "tree"), 0)
	wantExit(t, h0.Msync("-r", "--check", "tree"), 0)
	h2.Shell("touch -r tree/f1 stamp; printf 'CONTENT 1' >tree/f1; touch -r stamp tree/f1; rm stamp")
	before := []string{inodes(h1), inodes(h2)}
	wantExit(t, h0.Msync("-r", "tree"), 0) // looks unchanged
	wantContent(t, h2, "tree/f1", "CONTENT 1")
	r := h0.Msync("-r", "--check", "tree")
	wantExit(t, r, 2)
	if !hasAll(r.Stdout+r.Stderr, []string{"h2", "tree/f1"}) {
		t.Errorf("the wrong file is not named: %s", r)
	}
	for i, m := range []*lab.Host{h1, h2} {
		if inodes(m) != before[i] {
			t.Errorf("%s: a check changed something", m.Name)
		}
	}
	wantExit(t, h0.Msync("-r", "--checksum", "tree"), 0)
	wantEqual(t, h0, "tree", h1, h2)
}

// TestPatterns excludes names, which are then safe from --delete.
func TestPatterns(t *testing.T) {
	t.Parallel()
	l, h0, h1, _ := trio(t, lab.Options{})
	l.Start()
	write(t, h0, "tree/sub/a.txt", "a")
	write(t, h0, "tree/sub/b.log", "b")
	write(t, h1, "tree/sub/mine.log", "stays")
	write(t, h1, "tree/sub/mine.txt", "goes")
	wantExit(t, h0.Msync("-r", "--delete", "--exclude", "*.log", "tree"), 0)
	wantContent(t, h1, "tree/sub/a.txt", "a")
	wantAbsent(t, h1, "tree/sub/b.log")
	wantContent(t, h1, "tree/sub/mine.log", "stays")
	wantAbsent(t, h1, "tree/sub/mine.txt")
}

// TestPathsAndDirectories says what a path means: from inside the base relative
// to the current directory, else relative to the base; without -r a directory
// is its own entry only.
func TestPathsAndDirectories(t *testing.T) {
	t.Parallel()
	l, h0, h1, h2 := trio(t, lab.Options{})
	l.Start()
	write(t, h0, "a/b/file", "content")
	wantExit(t, h0.Msync("a"), 0)
	wantAbsent(t, h1, "a/b")
	if info, err := os.Stat(h1.Base("a")); err != nil || !info.IsDir() {
		t.Errorf("h1: a: %v, %v", info, err)
	}
	wantExit(t, h0.MsyncIn(lab.BaseDir+"/a", "-r", "b"), 0)
	wantContent(t, h1, "a/b/file", "content")
	wantExit(t, h0.MsyncIn("/", "tree/f1"), 0)
	wantContent(t, h2, "tree/f1", "content 1")
	wantAbsent(t, h2, "tree/f2")
	wantExit(t, h0.MsyncIn("/", "-r", lab.BaseDir+"/tree"), 0)
	wantEqual(t, h0, "tree", h1, h2)
	if r := h0.Msync("-r", "../../etc"); r.Exit == 0 {
		t.Errorf("a path outside the base: %s", r)
	}
}

// TestZooReplacesAndIsReplaced pushes one of everything over a tree of other
// types under the same names, and back.
func TestZooReplacesAndIsReplaced(t *testing.T) {
	t.Parallel()
	l := lab.New(t, lab.Options{Hosts: 2, CutTrains: true})
	h0, h1 := l.Host(0), l.Host(1)
	check(t, os.Mkdir(h0.Base("zoo"), 0o755))
	check(t, trees.Zoo(h0.Base("zoo"), true))
	for _, name := range []string{"dir", "empty"} {
		write(t, h1, "zoo/"+name, "a file")
	}
	for _, name := range []string{"file", "link", "fifo", "null", "holes"} {
		write(t, h1, "zoo/"+name+"/inside", "a file in a directory")
	}
	l.Start()
	wantExit(t, h0.Msync("-r", "--delete", "--devices", "zoo"), 0)
	wantEqual(t, h0, "zoo", h1)
	wantClean(t, h1)
}

// TestMembersAndStatus reads what is printed for people.
func TestMembersAndStatus(t *testing.T) {
	t.Parallel()
	l, h0, _, h2 := trio(t, lab.Options{})
	l.Start()
	h2.Kill()
	h0.AwaitState("h2", "missing")
	for _, option := range []string{"--members", "--status"} {
		r := h0.Msync(option)
		wantExit(t, r, 0)
		for _, word := range []string{"h0", "h1", "h2", "10.77.0.12", "missing"} {
			if !strings.Contains(r.Stdout, word) {
				t.Errorf("no word of %s: %s", word, r)
			}
		}
	}
	if r := h0.Msync("--status"); !hasAll(r.Stdout, []string{lab.BaseDir, "eth0", "224.0.0.108"}) {
		t.Errorf("no word of base, interface and group: %s", r)
	}
	if r := h0.Msync("--forget", "h1"); r.Exit == 0 {
		t.Errorf("a member that is there was forgotten: %s", r)
	}
}

// TestMembersAreKnownInTime is the one test that measures time: its limits are
// the promise itself.
func TestMembersAreKnownInTime(t *testing.T) {
	l, h0, h1, h2 := trio(t, lab.Options{})
	h0.Start()
	h1.Start()
	l.Settle()
	h2.Start()
	for _, h := range []*lab.Host{h0, h1} {
		lab.Within(t, 2*time.Second, h.Name+" to know h2", func() error { return wantState(h, "h2", "alive") })
	}
	h2.Leave()
	for _, h := range []*lab.Host{h0, h1} {
		lab.Within(t, time.Second, h.Name+" to see h2 leave", func() error { return wantState(h, "h2", "away") })
	}
	h2.Start()
	l.Settle()
	h2.Kill()
	for _, h := range []*lab.Host{h0, h1} {
		lab.Within(t, 6*time.Second, h.Name+" to miss h2", func() error { return wantState(h, "h2", "missing") })
	}
}

func wantState(h *lab.Host, name, state string) error {
	s, err := h.TryStatus()
	if err == nil && s.State(name) != state {
		err = fmt.Errorf("the state of %s is %q, not %q", name, s.State(name), state)
	}
	return err
}
