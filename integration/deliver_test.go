//go:build linux

package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"makuo/integration/lab"
	"makuo/integration/trees"
)

// goTree is a real tree: the Go toolchain's, or a part of it.
func goTree(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	check(t, err)
	return filepath.Join(strings.TrimSpace(string(out)), size("src/cmd/go", "."))
}

// TestDelivery pushes a real tree, many small files and one large file to many
// hosts on links of 1 Gbit/s with loss.
func TestDelivery(t *testing.T) {
	type dimension struct {
		hosts int
		loss  float64
	}
	cases := size(
		[]dimension{{4, 0}, {4, 1}, {4, 5}, {8, 1}},
		[]dimension{{4, 0}, {4, 1}, {4, 5}, {8, 0}, {8, 1}, {8, 5}})
	for _, c := range cases {
		t.Run(fmt.Sprintf("%d hosts, %g %% loss", c.hosts, c.loss), func(t *testing.T) {
			l := lab.New(t, lab.Options{Hosts: c.hosts, RateMbit: 1000, LossPercent: c.loss, CutTrains: true, BaseSize: "3g"})
			origin := l.Host(0)
			check(t, trees.Copy(goTree(t), origin.Base("go")))
			check(t, trees.Small(origin.Base("small"), size(2000, 100_000), 1))
			check(t, os.Mkdir(origin.Base("zoo"), 0o755))
			check(t, trees.Zoo(origin.Base("zoo"), false))
			check(t, trees.Random(origin.Base("random"), size[int64](32<<20, 512<<20), 1))
			l.Start()
			for _, path := range []string{"go", "small", "zoo", "random"} {
				deliver(t, l, path)
			}
			wantClean(t, l.Hosts()...)
		})
	}
}

// deliver pushes a path from the first host and compares it at all others.
func deliver(t *testing.T, l *lab.Lab, path string) {
	t.Helper()
	origin := l.Host(0)
	before := origin.Traffic()
	r := origin.Msync("-r", path)
	sent := origin.Traffic().Since(before)
	wantExit(t, r, 0)
	var drops uint64
	for _, h := range l.Hosts() {
		drops += h.PortDrops()
	}
	t.Logf("%s: %.2f s, %.1f MB on the origin's wire, %.0f Mbit/s, %d packets dropped at ports so far; %s",
		path, r.Took.Seconds(), float64(sent.SentBytes)/1e6, float64(sent.SentBytes)*8e-6/r.Took.Seconds(), drops,
		strings.TrimSpace(lastLine(r.Stdout)))
	wantEqual(t, origin, path, l.Hosts()[1:]...)
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return lines[len(lines)-1]
}

// TestUnchanged pushes trees that are the same everywhere already.
func TestUnchanged(t *testing.T) {
	l := lab.New(t, lab.Options{Hosts: 3, RateMbit: 1000, CutTrains: true})
	origin := l.Host(0)
	check(t, trees.Copy(goTree(t), origin.Base("go")))
	check(t, trees.Small(origin.Base("small"), size(5000, 100_000), 1))
	check(t, os.Mkdir(origin.Base("zoo"), 0o755))
	check(t, trees.Zoo(origin.Base("zoo"), false))
	l.Start()
	wantExit(t, origin.Msync("-r"), 0)
	for _, path := range []string{"go", "small", "zoo", ""} {
		args := []string{"-r", "--delete", "-v"}
		if path != "" {
			args = append(args, path)
		}
		pushUnchanged(t, l, path, args)
	}
}

// inodes lists a host's base with what any change would change.
func inodes(h *lab.Host) string {
	return h.Exec("find", ".", "-printf", `%p %i %C@ %T@\n`)
}

func pushUnchanged(t *testing.T, l *lab.Lab, path string, args []string) {
	t.Helper()
	origin, member := l.Host(0), l.Host(1)
	entries := uint64(len(read(t, origin, path)))
	listing, before := inodes(member), origin.Traffic()
	r := origin.Msync(args...)
	sent := origin.Traffic().Since(before).SentBytes
	wantExit(t, r, 0)
	if lines := r.Lines("update", "delete"); len(lines) > 0 {
		t.Errorf("%q: an unchanged tree gives %d lines, the first %q", path, len(lines), lines[0])
	}
	// a manifest entry with its path, owner and times; beacons and state messages
	if limit := entries*120 + 200_000; sent > limit {
		t.Errorf("%q: %d bytes on the wire for %d unchanged entries, more than %d", path, sent, entries, limit)
	}
	if inodes(member) != listing {
		t.Errorf("%q: the push of an unchanged tree changed something at %s", path, member.Name)
	}
	t.Logf("%q: %d unchanged entries: %v, %d bytes on the wire", path, entries, r.Took, sent)
}

// TestAnnouncement is the session that KLab announced makuosan with.
func TestAnnouncement(t *testing.T) {
	t.Parallel()
	l := lab.New(t, lab.Options{Hosts: 2, Names: []string{"src", "dst"}})
	src := l.Host(0)
	for _, h := range l.Hosts() {
		h.StartBare(lab.BaseDir, "-b", "./")
	}
	l.Settle()
	src.Shell("mkdir -p hoge/test1 hoge/test2 hoge/test3; touch hoge/test1/aaa hoge/test1/bbb hoge/test1/ccc hoge/test2/12345")
	r := src.Msync("-rv", "hoge")
	wantExit(t, r, 0)
	wantLines(t, r, "update dst:hoge", "update dst:hoge/test1", "update dst:hoge/test2", "update dst:hoge/test3",
		"update dst:hoge/test1/aaa", "update dst:hoge/test1/bbb", "update dst:hoge/test1/ccc", "update dst:hoge/test2/12345")
	wantEqual(t, src, "hoge", l.Host(1))

	src.Shell("rm -fr hoge/test1")
	r = src.Msync("-rv", "--delete", "hoge")
	wantExit(t, r, 0)
	wantLines(t, r, "update dst:hoge", "delete dst:hoge/test1",
		"delete dst:hoge/test1/aaa", "delete dst:hoge/test1/bbb", "delete dst:hoge/test1/ccc")
	wantEqual(t, src, "hoge", l.Host(1))

	r = src.Msync("-rvv", "--delete", "hoge")
	wantLines(t, r)
	if skips := r.Lines("skip"); len(skips) != 4 {
		t.Errorf("-vv of an unchanged tree of 4 entries: %q", skips)
	}
}

// wantLines checks that the lines about paths are exactly these, in any order.
func wantLines(t *testing.T, r lab.Result, want ...string) {
	t.Helper()
	left := map[string]int{}
	for _, line := range want {
		left[line]++
	}
	for _, line := range r.Lines("update", "delete") {
		if left[line]--; left[line] < 0 {
			t.Errorf("a line too many: %q", line)
		}
	}
	for line, n := range left {
		if n > 0 {
			t.Errorf("no line %q", line)
		}
	}
	if t.Failed() {
		t.Logf("%s", r)
	}
}
