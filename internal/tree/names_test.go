package tree

import (
	"os"
	"strings"
	"testing"

	"makuo/protocol"
)

// deepTree makes directories below dir in which dir/NAME/NAME/... has more than
// bytes bytes, with a file in each, and returns the number of levels.
func deepTree(t *testing.T, dir, name string, bytes int) (levels int) {
	t.Helper()
	here, err := os.OpenRoot(dir)
	must(t, err)
	for n := 0; n <= bytes; n += len(name) + 1 {
		must(t, here.WriteFile("file", nil, 0o644))
		must(t, here.Mkdir(name, 0o755))
		next, err := here.OpenRoot(name)
		must(t, err)
		here.Close()
		here = next
		levels++
	}
	here.Close()
	return levels
}

// TestNamesNoPlanHolds: what a plan can't name is an error of that path on a
// member that has it, and the rest goes on.
func TestNamesNoPlanHolds(t *testing.T) {
	p, src, dst := pair(t)
	plant(t, src, 2000, "a 1", "d/e/x 1", "w 1")
	plant(t, dst, 1000, "gone/sub/"+protocol.StageName+"/f 1", "gone/x 1", "d/e/"+protocol.StageName+"/plan 1", "d/e/old 1",
		"w/x 1")
	odd := []string{strings.Repeat("n", 255), "new\nline", "not\xffutf8", " ", "-x"}
	for _, name := range odd {
		plant(t, src, 1000, "odd/"+strings.ReplaceAll(name, " ", "_")+" 1")
		must(t, os.WriteFile(dst+"/d/"+name, nil, 0o644))
	}
	must(t, os.Mkdir(dst+"/deep", 0o755))
	deepTree(t, dst+"/deep", strings.Repeat("l", 250), protocol.MaxPath)
	for range 2 {
		o := p.push(t)
		all := problemsOf(o)
		for _, want := range []string{"gone/sub/" + protocol.StageName + ": is never", "d/e/" + protocol.StageName + ": is never",
			"deep/lll", "longer than the 4095 bytes"} {
			if !strings.Contains(all, want) {
				t.Errorf("%q does not say %q", all, want)
			}
		}
		for _, path := range []string{"gone/x", "d/e/old", "d/" + odd[0], "d/" + odd[1], "d/" + odd[2], "deep/file"} {
			if exists(dst, path) {
				t.Errorf("%q is still there", path)
			}
		}
		for _, path := range []string{"a", "d/e/x", "gone/sub/" + protocol.StageName + "/f", "odd/" + odd[0], "odd/" + odd[1], "odd/" + odd[2]} {
			if !exists(dst, path) {
				t.Errorf("%q is missing", path)
			}
		}
		if b, _ := os.ReadFile(dst + "/w"); string(b) == "" {
			t.Error("w was not replaced")
		}
	}
}

// TestStageNameInTheWay: a directory that gives way may not hold such a name.
func TestStageNameInTheWay(t *testing.T) {
	p, src, dst := pair(t)
	plant(t, src, 2000, "a 1", "v 1")
	plant(t, dst, 1000, "v/sub/"+protocol.StageName+"/f 1", "v/g 1")
	wantProblem(t, p.push(t), "v: a directory is in the way", "v/sub/"+protocol.StageName)
	if !exists(dst, "a") || !exists(dst, "v/g") {
		t.Error("the rest did not go on, or what is in the way is gone")
	}
}
