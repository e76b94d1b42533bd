package protocol

import (
	"slices"
	"strings"
	"testing"
)

// modelValid says the same as ValidPath in the plainest way.
func modelValid(s string) bool {
	if s == "." {
		return true
	}
	if len(s) > MaxPath {
		return false
	}
	for _, name := range strings.Split(s, "/") {
		if name == "" || name == "." || name == ".." || name == ".makuo-stage" || len(name) > 255 || strings.Contains(name, "\x00") {
			return false
		}
	}
	return true
}

// modelCompare orders valid paths by their lists of names.
func modelCompare(a, b string) int {
	split := func(s string) []string {
		if s == "." {
			return nil
		}
		return strings.Split(s, "/")
	}
	return slices.Compare(split(a), split(b))
}

var pathSeeds = []string{"", ".", "..", "a", "a/b", "a//b", "/a", "a/", "a/.", "./a", "a/../b", "...", ".a", "a\x00", ".makuo-stage", "x/.makuo-stage",
	".makuo-stages", "a!b", "a-b", "ab", "a\xff", "\x01", "a/\x01", strings.Repeat("n", 255), strings.Repeat("n", 256),
	strings.Repeat("n/", 2047) + "n", strings.Repeat("n/", 2047) + "nn"}

func TestPaths(t *testing.T) {
	for _, a := range pathSeeds {
		if ValidPath(a) != modelValid(a) {
			t.Errorf("ValidPath(%.40q) is %v", a, ValidPath(a))
		}
		for _, b := range pathSeeds {
			checkCompare(t, a, b)
		}
	}
	if !slices.IsSortedFunc([]string{".", "a", "a/\x01", "a/b", "a\x01", "a!b", "ab", "b"}, ComparePaths) {
		t.Error("wrong order")
	}
}

func checkCompare(t *testing.T, a, b string) {
	t.Helper()
	if !ValidPath(a) || !ValidPath(b) {
		return
	}
	if got, want := ComparePaths(a, b), modelCompare(a, b); got != want {
		t.Errorf("ComparePaths(%q, %q) is %d, not %d", a, b, got, want)
	}
	if got, want := Within(a, b), b == "." || a == b || strings.HasPrefix(a, b+"/"); got != want {
		t.Errorf("Within(%q, %q) is %v", a, b, got)
	}
}

func TestComponents(t *testing.T) {
	for s, want := range map[string]bool{"": false, ".": false, "..": false, "a/b": false, "a\x00": false, StageName: false, "a": true, "...": true,
		strings.Repeat("n", 255): true, strings.Repeat("n", 256): false} {
		if ValidComponent(s) != want {
			t.Errorf("ValidComponent(%.40q) is not %v", s, want)
		}
	}
}
