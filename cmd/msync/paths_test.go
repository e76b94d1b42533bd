package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"makuo/protocol"
)

// site is a base directory, reached also through a link, with links inside and
// out of it:
//
//	real/base/docs/sub/  real/base/file  real/base/in -> docs  real/base/out -> ../other
//	base -> real/base    real/other/     hand -> real/base/docs
func site(t testing.TB) string {
	t.Helper()
	d, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"real/base/docs/sub", "real/other"} {
		if err := os.MkdirAll(filepath.Join(d, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(d, "real/base/file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"base": "real/base", "hand": "real/base/docs", "real/base/in": "docs", "real/base/out": "../other"} {
		if err := os.Symlink(to, filepath.Join(d, name)); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

const outside = "outside"

func TestResolve(t *testing.T) {
	d := site(t)
	for _, x := range []struct{ cwd, arg, want string }{
		{"", "docs", "docs"}, // not inside: relative to the base
		{"", "./docs/", "docs"},
		{"", "docs/../file", "file"},
		{"", ".", "."},
		{"", "..", outside},
		{"", "docs/../../other", outside},
		{"", "gone/x", "gone/x"},
		{"", "gone/../../x", outside},
		{"", "in", "in"},           // the link itself
		{"", "in/", "docs"},        // what it points to
		{"", "in/sub", "docs/sub"}, // links on the way are followed
		{"", "out", "out"},
		{"", "out/", outside},
		{"", "out/x", outside},
		{"", "@/base/docs", "docs"},
		{"", "@/real/base/docs", "docs"},
		{"", "@/base", "."},
		{"", "@/base/.", "."},
		{"", "@/hand", "docs"},
		{"", "@/hand/sub", "docs/sub"},
		{"", "@/real/base2", outside},
		{"", "/", outside},
		{"", "@/real/other", outside},
		{"real/base/docs", "sub", "docs/sub"},
		{"real/base/docs", "..", "."},
		{"real/base/docs", "../file", "file"},
		{"real/base/docs", "../..", outside},
		{"real/base/docs", ".", "docs"},
		{"base/docs", "sub", "docs/sub"}, // through the link
		{"base/in", "sub", "docs/sub"},
		{"real/other", "docs", "docs"},
		{"real/base/docs", protocol.StageName, "error"},
		{"", strings.Repeat("x", 256), "error"},
	} {
		for _, base := range []string{"base", "real/base"} {
			r, err := newResolver(filepath.Join(d, base), filepath.Join(d, x.cwd), "")
			if err != nil {
				t.Fatal(err)
			}
			got, err := r.resolve(strings.ReplaceAll(x.arg, "@", d))
			switch {
			case err != nil && strings.Contains(err.Error(), "outside the base directory "+filepath.Join(d, base)):
				got = outside
			case err != nil:
				got = "error"
			}
			if got != x.want {
				t.Errorf("base %s, in %q: %q is %q, want %q (%v)", base, x.cwd, x.arg, got, x.want, err)
			}
		}
	}
}

func TestResolverWithoutSight(t *testing.T) {
	r, err := newResolver("/nonexistent/base", "/nonexistent/base/a", "")
	if err != nil {
		t.Fatal(err)
	}
	for arg, want := range map[string]string{"b": "a/b", "../c": "c", "/nonexistent/base": ".", "/nonexistent/base//x/./y": "x/y"} {
		if got, err := r.resolve(arg); got != want || err != nil {
			t.Errorf("%s: %q, %v", arg, got, err)
		}
	}
	if _, err := newResolver("relative", "", ""); err == nil {
		t.Error("a relative base was taken")
	}
	if got, err := (&resolver{base: "/", real: "/", from: "/"}).resolve("/etc"); got != "etc" || err != nil {
		t.Errorf("base /: %q, %v", got, err)
	}
}

func TestCurrentDirectoryThroughALinkOut(t *testing.T) {
	d := site(t)
	base, cwd := filepath.Join(d, "real/base"), filepath.Join(d, "real/other")
	if _, err := newResolver(base, cwd, filepath.Join(base, "out")); err == nil {
		t.Error("a directory that only seems to be inside was taken")
	}
	if _, err := newResolver(base, cwd, filepath.Join(base, "docs")); err != nil {
		t.Errorf("a stale PWD counted: %v", err)
	}
}

func TestResolveAll(t *testing.T) {
	d := site(t)
	r, err := newResolver(filepath.Join(d, "base"), d, d)
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.resolveAll([]string{"in/", "docs", "file", "./file"})
	if err != nil || strings.Join(got, " ") != "docs file" {
		t.Errorf("%v, %v", got, err)
	}
	if got, err = r.resolveAll(nil); err != nil || len(got) != 1 || got[0] != "." {
		t.Errorf("%v, %v", got, err)
	}
}

// FuzzResolve: what is resolved is valid on the wire, and names the file that
// the argument names.
func FuzzResolve(f *testing.F) {
	for _, s := range []string{"a", "../x", "in/../file", "out/..", "docs//sub/./..", "/", "in/sub/../../file/", "\xff/..", ""} {
		f.Add(s)
	}
	d := site(f)
	base := filepath.Join(d, "real/base")
	r, err := newResolver(base, filepath.Join(base, "docs"), "")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, arg string) {
		if arg == "" || strings.IndexByte(arg, 0) >= 0 {
			return
		}
		rel, err := r.resolve(arg)
		if err != nil {
			return
		}
		if !protocol.ValidPath(rel) {
			t.Fatalf("%q became %q", arg, rel)
		}
		abs := arg
		if arg[0] != '/' {
			abs = base + "/docs/" + arg
		}
		want, err := os.Stat(abs)
		if err != nil {
			return
		}
		got, err := os.Stat(filepath.Join(base, rel))
		if err != nil || !os.SameFile(got, want) {
			t.Fatalf("%q became %q, another file: %v", arg, rel, err)
		}
	})
}
