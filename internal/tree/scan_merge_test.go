package tree

import (
	"slices"
	"strings"
	"testing"

	"makuo/protocol"
)

func TestMergePaths(t *testing.T) {
	for _, c := range []struct {
		in        string
		recursive bool
		want      string
	}{
		{"b a b", false, "a b"},
		{"a/b a a.b a/b/c", false, "a a/b a/b/c a.b"},
		{"a/b a a.b a/b/c", true, "a a.b"},
		{"./a//b/ a/b/.", true, "a/b"},
		{"x . y", true, "."},
		{"x . y", false, ". x y"},
	} {
		got, err := MergePaths(strings.Fields(c.in), c.recursive)
		must(t, err)
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: %s, want %s", c.in, s, c.want)
		}
	}
	for _, bad := range []string{"", "/", "/a", "..", "a/../b", "../a", "a\x00", protocol.StageName, "a/" + protocol.StageName, strings.Repeat("n", 256), strings.Repeat("n/", 2048) + "n"} {
		if got, err := MergePaths([]string{"a", bad}, true); err == nil {
			t.Errorf("%.20q was taken: %.40q", bad, got)
		}
	}
}

func FuzzMergePaths(f *testing.F) {
	for _, s := range []string{"a\na/b\na.b", ".\nx", "a//b\n./a/b/\n", "../x", "a\x00b", "é/\xff\né"} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, text string, recursive bool) {
		in := strings.Split(text, "\n")
		keep := slices.Clone(in)
		out, err := MergePaths(in, recursive)
		if !slices.Equal(in, keep) {
			t.Fatal("the argument was changed")
		}
		if err != nil {
			return
		}
		for i, p := range out {
			if !protocol.ValidPath(p) {
				t.Fatalf("%q is not valid", p)
			}
			if i > 0 && protocol.ComparePaths(out[i-1], p) >= 0 {
				t.Fatalf("%q before %q", out[i-1], p)
			}
			if i > 0 && recursive && protocol.Within(p, out[i-1]) {
				t.Fatalf("%q is below %q", p, out[i-1])
			}
		}
		for _, p := range in { // each is there, or below one that is
			c := cleanPath(p)
			if !slices.ContainsFunc(out, func(o string) bool { return o == c || recursive && protocol.Within(c, o) }) {
				t.Fatalf("%q is lost in %q", p, out)
			}
		}
		again, err := MergePaths(out, recursive)
		if err != nil || !slices.Equal(again, out) {
			t.Fatalf("merged again: %q, %v", again, err)
		}
	})
}
