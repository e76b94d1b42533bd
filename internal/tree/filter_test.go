package tree

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"makuo/protocol"
)

func excludes(t testing.TB, patterns ...string) *Filter {
	t.Helper()
	f, err := NewFilter(rulesOf(patterns))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// rulesOf reads "+ pattern" as include, "- pattern" or "pattern" as exclude.
func rulesOf(patterns []string) (rules []protocol.Rule) {
	for _, p := range patterns {
		r := protocol.Rule{Pattern: strings.TrimPrefix(p, "- ")}
		if strings.HasPrefix(p, "+ ") {
			r = protocol.Rule{Include: true, Pattern: p[2:]}
		}
		rules = append(rules, r)
	}
	return rules
}

var filterCases = []struct {
	pattern string
	path    string // a trailing '/' says directory
	match   bool
}{
	{"*.o", "a.o", true}, {"*.o", "x/y/a.o", true}, {"*.o", "a.oo", false}, {"*.o", ".o", true},
	{"foo", "foo", true}, {"foo", "x/foo/", true}, {"foo", "xfoo", false}, {"foo", "foo/x", false},
	{"/foo", "foo", true}, {"/foo", "x/foo", false}, {"foo/", "foo", false}, {"foo/", "foo/", true}, {"foo/", "a/foo/", true},
	{"/foo/bar", "foo/bar", true}, {"foo/bar", "x/foo/bar", true}, {"foo/bar", "xfoo/bar", false}, {"/foo/bar", "x/foo/bar", false},
	{"/foo/*/bar", "foo/x/bar", true}, {"/foo/*/bar", "foo/x/y/bar", false}, {"/foo/**/bar", "foo/x/y/bar", true}, {"/foo/**/bar", "foo/bar", false},
	{"foo*bar", "foobar", true}, {"foo*bar", "foo/bar", false}, {"foo**bar", "foo/x/bar", true}, {"foo**bar", "y/foo/bar", true},
	{"**/foo", "foo", true}, {"**/foo", "a/b/foo", true}, {"**/foo", "a/xfoo", false}, {"**foo", "a/xfoo", true},
	{"foo/**", "foo/a/b", true}, {"foo/**", "foo/", false}, {"foo/***", "foo/", true}, {"foo/***", "foo", false}, {"foo/***", "foo/a/b", true},
	{"/dir/***", "dir/", true}, {"/dir/***", "x/dir/", false}, {"/dir/***", "dir/x", true},
	{"a?c", "abc", true}, {"a?c", "a/c", false}, {"a/?", "a/b", true}, {"?", "ab", false},
	{"[a-c]x", "bx", true}, {"[a-c]x", "dx", false}, {"[!a-c]x", "dx", true}, {"[^a-c]x", "ax", false}, {"[]x]", "]", true}, {"[!]]", "]", false},
	{"[[:alpha:]]*", "a1", true}, {"[[:alpha:]]*", "1a", false}, {"[[:digit:][:upper:]]", "Q", true}, {"[a-]", "-", true}, {"[-a]", "-", true},
	{"a[/]b", "a/b", false}, {"a[!x]b", "a/b", false}, {"[\\]]", "]", true}, {"[\\a-\\c]", "b", true}, {"[[:]", ":", true}, {"[[]", "[", true},
	{"\\*", "*", true}, {"\\*", "a", false}, {"a\\b", "a\\b", true}, {"a\\b*", "ab1", true}, {"a\\\\*", "a\\x", true},
	{"*", "anything", true}, {"*", "a/b", true}, {"/*", "a/b", false}, {"/*", "a", true}, {"*/", "d/", true}, {"*/", "f", false}, {"*/*", "a/b", true}, {"*/*", "a", false},
	{"*a*a*b", "aaaaaaaaab", true}, {"*.tar.*", "x.tar.gz", true}, {"**", "a/b", true},
}

func TestFilterPatterns(t *testing.T) {
	for _, c := range filterCases {
		dir := strings.HasSuffix(c.path, "/")
		if got := excludes(t, c.pattern).Excluded(strings.TrimSuffix(c.path, "/"), dir); got != c.match {
			t.Errorf("pattern %q, path %q: %v", c.pattern, c.path, got)
		}
	}
}

func TestFilterFirstMatch(t *testing.T) {
	f := excludes(t, "+ *.go", "+ */", "- *")
	for path, want := range map[string]bool{"a.go": false, "x/a.go": false, "a.c": true} {
		if f.Excluded(path, false) != want {
			t.Errorf("%s: %v", path, !want)
		}
	}
	if f.Excluded("dir", true) || f.Excluded(".", true) || (*Filter)(nil).Excluded("a", false) {
		t.Error("excluded")
	}
	if !excludes(t, "/d").Covers("d/e/f", false) || excludes(t, "/d").Covers("e/d", false) {
		t.Error("Covers")
	}
}

func TestFilterErrors(t *testing.T) {
	for pattern, want := range map[string]string{"": "empty", "/": "names nothing", "a\x00": "NUL", "[a": "']'", "[[:foo:]]": "[:foo:]", "*\\": "backslash", "[a-": "']'",
		strings.Repeat("a", protocol.MaxPattern+1): "longer"} {
		if _, err := NewFilter([]protocol.Rule{{Pattern: pattern}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v", pattern, err)
		}
	}
}

func TestAnchor(t *testing.T) {
	for _, c := range [][3]string{{".", "a/b", "a/b"}, {"a", "a/b", "a/b"}, {"a/b", "a/b", "b"}, {"a/b", "a/b/c/d", "b/c/d"}, {"a/b/c", "a/b/c/d", "c/d"}} {
		if got := Anchor(c[0], c[1]); got != c[2] {
			t.Errorf("Anchor(%q, %q) is %q", c[0], c[1], got)
		}
	}
}

// TestFilterCost: no pattern makes the match slow.
func TestFilterCost(t *testing.T) {
	f := excludes(t, strings.Repeat("*a", 2000)+"b", "**"+strings.Repeat("*a", 1000)+"b")
	start := time.Now()
	f.Excluded(strings.Repeat("a", 4000), false)
	t.Logf("%v", time.Since(start))
}

// TestFilterAgainstRsync asks the program itself.
func TestFilterAgainstRsync(t *testing.T) {
	rsync, err := exec.LookPath("rsync")
	if err != nil {
		t.Skip("there is no rsync to compare with")
	}
	src := t.TempDir()
	var paths []string
	for _, c := range filterCases {
		p := c.path
		if strings.ContainsAny(p, "\\") {
			continue
		}
		full := filepath.Join(src, "top", p)
		if st, err := os.Lstat(full); err == nil && st.IsDir() != strings.HasSuffix(p, "/") {
			continue
		}
		if os.MkdirAll(filepath.Dir(full), 0o755) != nil {
			continue // is below what is a file already
		}
		if strings.HasSuffix(p, "/") {
			err = os.MkdirAll(full, 0o755)
		} else {
			err = os.WriteFile(full, nil, 0o644)
		}
		if err == nil {
			paths = append(paths, p)
		}
	}
	if len(paths) < 40 {
		t.Fatalf("only %d paths", len(paths))
	}
	m := openTestModule(t, filepath.Join(src, "top"))
	r := rand.New(rand.NewPCG(1, 2))
	dst := t.TempDir()
	for i := range 60 {
		var patterns []string
		if i < len(filterCases) {
			patterns = []string{filterCases[i].pattern}
		}
		for range r.IntN(4) {
			sign := []string{"+ ", "- "}[r.IntN(2)]
			patterns = append(patterns, sign+filterCases[r.IntN(len(filterCases))].pattern)
		}
		args := []string{"-rni", "--out-format=%n"}
		for _, rule := range rulesOf(patterns) {
			kind := "--exclude="
			if rule.Include {
				kind = "--include="
			}
			args = append(args, kind+rule.Pattern)
		}
		out, err := exec.Command(rsync, append(args, src+"/top/", dst+"/")...).Output()
		if err != nil {
			t.Fatal(err)
		}
		want := make(map[string]bool)
		for _, l := range strings.Split(string(out), "\n") {
			if l = strings.TrimSuffix(l, "/"); l != "" && l != "." {
				want[l] = true
			}
		}
		got := make(map[string]bool)
		p := &pusher{src: m, dst: m, options: protocol.OptRecursive | protocol.OptDryRun, rules: rulesOf(patterns)}
		for _, e := range manifestOf(t, p) {
			if e.Path != "." {
				got[e.Path] = true
			}
		}
		if fmt.Sprint(want) != fmt.Sprint(got) {
			t.Errorf("%q:\n rsync %v\n  here %v", patterns, want, got)
		}
	}
}

func manifestOf(t testing.TB, p *pusher) (all []protocol.Entry) {
	t.Helper()
	h := p.header(t)
	f, err := NewFilter(h.Rules)
	if err != nil {
		t.Fatal(err)
	}
	err = p.src.Scan(t.Context(), ScanSpec{Header: h, Filter: f, Problem: func(string, string, bool) {}}, func(b *protocol.Batch) error {
		all = append(all, b.Entries...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func FuzzFilter(f *testing.F) {
	for _, c := range filterCases {
		f.Add(c.pattern, strings.TrimSuffix(c.path, "/"), strings.HasSuffix(c.path, "/"))
	}
	f.Fuzz(func(t *testing.T, pattern, path string, dir bool) {
		r, err := compileRule(pattern)
		if err != nil || len(pattern) > 64 || len(path) > 64 || !protocol.ValidPath(path) || path == "." {
			return
		}
		got := r.match(path, dir)
		if want := r.slow(path, dir); got != want {
			t.Errorf("pattern %q, path %q: %v", pattern, path, got)
		}
	})
}

// slow is match by plain recursion with memory.
func (r *rule) slow(path string, dir bool) bool {
	if r.prog == nil || (r.dirOnly && !dir) {
		return r.match(path, dir)
	}
	if !r.full {
		path = filepath.Base(path)
	}
	if r.prefix2 {
		path = "/" + path
	}
	if r.suffix3 && dir {
		path += "/"
	}
	for i := range len(path) {
		if i == 0 || (!r.anchored && !r.prefix2 && path[i-1] == '/') {
			if slowWild(r.prog, path[i:], make(map[[2]int]bool)) {
				return true
			}
		}
	}
	return !r.anchored && !r.prefix2 && strings.HasSuffix(path, "/") && slowWild(r.prog, "", make(map[[2]int]bool))
}

func slowWild(prog []token, s string, failed map[[2]int]bool) bool {
	key := [2]int{len(prog), len(s)}
	if failed[key] {
		return false
	}
	ok := false
	switch {
	case len(prog) == 0:
		ok = s == ""
	case prog[0].kind == tokenStars, prog[0].kind == tokenStar:
		ok = slowWild(prog[1:], s, failed) || s != "" && (s[0] != '/' || prog[0].kind == tokenStars) && slowWild(prog, s[1:], failed)
	case s == "":
	case prog[0].kind == tokenByte:
		ok = s[0] == prog[0].c && slowWild(prog[1:], s[1:], failed)
	case prog[0].kind == tokenAny:
		ok = s[0] != '/' && slowWild(prog[1:], s[1:], failed)
	case prog[0].kind == tokenSet:
		ok = prog[0].set[s[0]] && slowWild(prog[1:], s[1:], failed)
	}
	failed[key] = !ok
	return ok
}
