//go:build linux

package main

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestProcessFigures(t *testing.T) {
	stat := "7 (a ) b) S 1 7 7 0 -1 4194304 100 200 0 0 150 50 20 5 20 0 9 0 12345 1000000"
	if got, want := parseCPUTime(stat), 2250*time.Millisecond; got != want {
		t.Errorf("processor time is %v, want %v", got, want)
	}
	for _, s := range []string{"", "7 (x", "7 (x) S 1 2"} {
		if got := parseCPUTime(s); got != 0 {
			t.Errorf("processor time of %q is %v", s, got)
		}
	}
	if got := parsePeak("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t1 kB\n"); got != 2<<20 {
		t.Errorf("peak is %d", got)
	}
	if cpuTime(os.Getpid()) < 0 || peakMemory(os.Getpid()) == 0 {
		t.Error("this process's own figures can't be read")
	}
}

func TestDifferencesInMetadataAreTold(t *testing.T) {
	for line, want := range map[string]bool{
		"a: mode is -rw-------, should be -rw-r--r--":                       true,
		"a: mode is drwx------, should be -rwx------":                       false,
		"a: mode is Lrwxrwxrwx, should be -rwxrwxrwx":                       false,
		"a: mode is urwxr-xr-x, should be -rwxr-xr-x":                       true,
		"a: time is 2026-01-01T00:00:00Z, should be 2026-01-01T00:00:00.5Z": true,
		"a: owner is 0:0, should be 1:1":                                    true,
		"a: content is 1, should be 2":                                      false,
		"a: size is 1, should be 2":                                         false,
		"a: lacking, should be -rw-r--r--":                                  false,
		"a: -rw-r--r--, should not be there":                                false,
	} {
		if got := isMetadata(line); got != want {
			t.Errorf("%q: metadata %v, want %v", line, got, want)
		}
	}
}

func TestShareAndMedian(t *testing.T) {
	if got := share(125_000_000, 2, 1000); got != 0.5 {
		t.Errorf("share is %v", got)
	}
	rs := results{{Seconds: 3}, {Seconds: 1}, {Seconds: 2}}
	if v, ok := rs.median(seconds); v != 2 || !ok {
		t.Errorf("median is %v, %v", v, ok)
	}
	if v, ok := append(rs, &result{Seconds: 5}).median(seconds); v != 2.5 || !ok {
		t.Errorf("median of four is %v, %v", v, ok)
	}
	if _, ok := append(rs, &result{Error: "it hung"}).median(seconds); ok {
		t.Error("there is a median though a turn went wrong")
	}
	if _, ok := (results{}).median(seconds); ok {
		t.Error("there is a median of nothing")
	}
}

// made is a good result.
func made(scenario, name, kind string, seconds float64) *result {
	return &result{Scenario: scenario, Contender: name, Kind: kind, Seconds: seconds, Content: 1e9}
}

// stateOf is the state of the verdict whose text has all the words.
func stateOf(t *testing.T, vs []verdict, words ...string) string {
	t.Helper()
next:
	for _, v := range vs {
		for _, w := range words {
			if !strings.Contains(v.What, w) {
				continue next
			}
		}
		return v.State
	}
	t.Errorf("no verdict on %v", words)
	return ""
}

// Trees, rates and losses of one scenario have lines of their own.
func TestRowsAreApart(t *testing.T) {
	a := &result{Scenario: "compare", Tree: "/a", RateMbit: 100, Hosts: 4, Contender: "makuo", Kind: "first push"}
	b, c := *a, *a
	b.Tree, c.RateMbit = "/b", 1000
	if rows := (results{a, &b, &c, a}).rows(); len(rows) != 3 || len(rows[0].all) != 2 {
		t.Errorf("%d rows", len(rows))
	}
}

func TestVerdicts(t *testing.T) {
	rs := results{
		made(goTree, "makuo", first, 2), made(goTree, "rsync", first, 8), made(goTree, "udpcast", first, 6.2),
		{Scenario: goTree, Contender: "uftp", Kind: first, Seconds: 0.1, Error: "it broke"},
		made(goTree, "rsync-zstd", first, 5),
		made(goTree, "makuo", unchanged, 0.5), made(goTree, "rsync", unchanged, 0.4),
		made(goTree, "makuo", tenFiles, 0.6),
		made(smalls, "makuo", first, 2), made(smalls, "bare files", floorRun, 1.5),
	}
	vs := judgeAll(rs)
	for _, c := range []struct {
		state string
		words []string
	}{
		{pass, []string{"gotree, loss 0 %", "best peer"}}, // 6.2 / 2, not the broken one
		{short, []string{"gotree, loss 0 %", "that compresses"}},
		{notMeasured, []string{"gotree, loss 1 %", "best peer"}},
		{short, []string{"gotree, unchanged"}},
		{pass, []string{"10 files changed"}},
		{notMeasured, []string{"commit skew"}},
		{pass, []string{"bare system calls"}},
		{notMeasured, []string{"small, unchanged"}},
	} {
		if got := stateOf(t, vs, c.words...); got != c.state {
			t.Errorf("%v: %s, want %s", c.words, got, c.state)
		}
	}
	for _, v := range vs {
		if strings.HasPrefix(v.What, link100) {
			t.Errorf("a verdict on a scenario that was not run: %v", v)
		}
	}
}

func TestHostsAreJudgedByTheMost(t *testing.T) {
	rs := results{made(manyHost, "makuo", first, 10), made(manyHost, "makuo", first, 10.4)}
	rs[0].Hosts, rs[1].Hosts = 1, 16
	if got := judgeAll(rs)[0]; got.State != pass || !strings.Contains(got.What, "16") {
		t.Errorf("%+v", got)
	}
	rs[1].Seconds = 10.6
	if got := judgeAll(rs)[0]; got.State != short {
		t.Errorf("%+v", got)
	}
	if got := judgeAll(rs[:1])[0]; got.State != notMeasured {
		t.Errorf("%+v", got)
	}
}

func TestOptions(t *testing.T) {
	o, err := parse(strings.Fields("--hosts 1,8 --loss 0,5 --tree small:10 --tree file:1 --peers uftp,rsync --json out.json"), "/somewhere")
	if err != nil {
		t.Fatal(err)
	}
	if len(o.scenarios) != 4 || o.json != "/somewhere/out.json" {
		t.Errorf("%d scenarios, figures to %s", len(o.scenarios), o.json)
	}
	sc := o.scenarios[3]
	if sc.spec.Hosts != 8 || sc.tree.kind != "file" || len(sc.losses) != 2 || len(sc.contenders) != 3 || sc.contenders[1] != contender(uftp{}) {
		t.Errorf("%+v", sc)
	}
	if o, err = parse(strings.Fields("targets --only small --repeats 1"), "/"); err != nil || len(o.scenarios) != 1 || o.scenarios[0].repeats != 1 {
		t.Errorf("%+v, %v", o, err)
	}
	for _, line := range []string{
		"--hosts 0", "--loss 51", "--loss x", "--tree huge", "--tree small:0", "--tree dir:/nowhere", "--peers scp",
		"targets --only nothing", "targets --hosts 2", "quick --loss 1", "extra",
	} {
		if _, err := parse(strings.Fields(line), "/"); err == nil {
			t.Errorf("%q is taken", line)
		}
	}
}

func TestTreesHaveWhatIsAskedFor(t *testing.T) {
	for arg, want := range map[string]treeSize{
		"file:1": {1, 1 << 20}, "many:2500": {2500, 0}, "flat:30": {30, 0}, "small:250": {250, -1},
	} {
		spec, err := parseTree(arg, "/")
		if err != nil {
			t.Fatal(err)
		}
		root := filepath.Join(t.TempDir(), "tree")
		if err := spec.make(root, ""); err != nil {
			t.Fatal(err)
		}
		got, err := measureTree(root)
		if err != nil || got.Files != want.Files || want.Bytes >= 0 && got.Bytes != want.Bytes {
			t.Errorf("%s: %+v, %v", arg, got, err)
		}
		if arg != "small:250" {
			continue
		}
		if per := got.Bytes / 250; per < 1800 || per > 2400 {
			t.Errorf("small files have %d bytes on average", per)
		}
		for _, count := range []int{10, 250} {
			before := got.Bytes
			if err := changeFiles(root, got.Files, count); err != nil {
				t.Fatal(err)
			}
			if got, _ = measureTree(root); got.Bytes != before+int64(count) {
				t.Errorf("%d files were changed, want %d", got.Bytes-before, count)
			}
		}
	}
}

func TestBareTrainIsWrittenWhereItBelongs(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	content := make([]byte, 2*bareContent+100)
	for i := range content {
		content[i] = byte(i * 7)
	}
	if _, err := file.Write(content); err != nil {
		t.Fatal(err)
	}
	var out bareOut
	if n, err := out.fill(file, 0, int64(len(content))); err != nil || n != int64(len(content)) {
		t.Fatalf("filled %d, %v", n, err)
	}
	copied, err := os.Create(filepath.Join(t.TempDir(), "g"))
	if err != nil {
		t.Fatal(err)
	}
	defer copied.Close()
	if n, err := writeTrain(copied, out.data(), nil); err != nil || n != int64(len(content)) {
		t.Fatalf("wrote %d, %v", n, err)
	}
	if got, _ := os.ReadFile(copied.Name()); string(got) != string(content) {
		t.Error("the copy differs")
	}
	binary.BigEndian.PutUint64(out.buf[barePacket:], 5)
	if _, err := writeTrain(copied, out.data(), nil); err == nil {
		t.Error("a train with a gap is taken")
	}
}

func TestGuardReturnsWhatWouldEndATest(t *testing.T) {
	var said strings.Builder
	s := &shell{out: &said}
	closed := 0
	s.Cleanup(func() { closed++ })
	s.Cleanup(func() { s.Fatalf("no %s", "end") })
	if err := guard(func() { s.Fatalf("no %s", "luck") }); err == nil || err.Error() != "no luck" || !s.Failed() {
		t.Errorf("guard says %v", err)
	}
	s.close()
	if closed != 1 || !strings.Contains(said.String(), "no end") {
		t.Errorf("closed %d times, said %q", closed, said.String())
	}
}
