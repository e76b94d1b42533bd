package main

import (
	"errors"
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
		{"", "gone", "error"},
		{"", "file/", "error"}, // not a directory
		{"", "docs/gone/..", "error"},
		{"real", "docs", "docs"},
		{"real", "base", "."}, // from the current directory that is outside
		{"real", "base/docs", "docs"},
		{"real", "base/file", "file"},
		{"real", "base/base", "error"},
		{"real", "other", "error"},
		{"real/base/docs", "docs", "error"}, // inside: never from the base
		{"real/base/docs", "file", "error"},
		{"", "./docs/", "docs"},
		{"", "docs/../file", "file"},
		{"", ".", "."},
		{"", "..", outside},
		{"", "docs/../../other", outside},
		{"", "gone/x", "error"},
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
			if r.real != filepath.Join(d, "real/base") {
				t.Fatal(r.real)
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
	r.deleteMissing = true
	for arg, want := range map[string]string{"b": "a/b", "../c": "c", "/nonexistent/base": ".", "/nonexistent/base//x/./y": "x/y"} {
		if got, err := r.resolve(arg); got != want || err != nil {
			t.Errorf("%s: %q, %v", arg, got, err)
		}
	}
	if _, err := newResolver("relative", "", ""); err == nil {
		t.Error("a relative base was taken")
	}
	if got, err := (&resolver{base: "/", real: "/", cwd: "/"}).resolve("/etc"); got != "etc" || err != nil {
		t.Errorf("base /: %q, %v", got, err)
	}
}

func TestCurrentDirectoryThroughALinkOut(t *testing.T) {
	d := site(t)
	base, cwd := filepath.Join(d, "real/base"), filepath.Join(d, "real/other")
	resolve := func(cwd, pwd, arg string) error {
		r, err := newResolver(base, cwd, pwd)
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.resolve(arg)
		_, none := r.resolveAll(nil)
		if !strings.HasPrefix(arg, "/") && (err == nil) != (none == nil) {
			t.Errorf("in %s: %v with a path, %v without", cwd, err, none)
		}
		return err
	}
	if resolve(cwd, filepath.Join(base, "out"), "docs") == nil {
		t.Error("a directory that only seems to be inside was taken")
	}
	if err := resolve(cwd, filepath.Join(base, "out"), filepath.Join(base, "docs")); err != nil {
		t.Errorf("an absolute path depends on the current directory: %v", err)
	}
	if err := resolve(cwd, filepath.Join(base, "docs"), "docs"); err != nil {
		t.Errorf("a stale PWD counted: %v", err)
	}
	if resolve("", "", "docs") == nil {
		t.Error("a current directory that is gone was taken for the base")
	}
	// The shell went through in -> docs, which leads to another directory now.
	docs, in := filepath.Join(base, "docs"), filepath.Join(base, "in")
	if err := resolve(docs, in, "sub"); err != nil {
		t.Error(err)
	}
	if err := errors.Join(os.Remove(in), os.Symlink(".", in)); err != nil {
		t.Fatal(err)
	}
	if err := resolve(docs, in, "sub"); err == nil || !strings.Contains(err.Error(), "switched") {
		t.Errorf("a directory behind a switched link was taken: %v", err)
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
		t.Errorf("outside: %v, %v", got, err)
	}
	r.cwd = filepath.Join(d, "real/base/docs/sub")
	if got, err = r.resolveAll(nil); err != nil || len(got) != 1 || got[0] != "docs/sub" {
		t.Errorf("inside: %v, %v", got, err)
	}
}

// TestMissingPath: what is not here is an error that names the whole path, in
// every place where it was looked for; --delete-missing lets it pass.
func TestMissingPath(t *testing.T) {
	d := site(t)
	base := filepath.Join(d, "real/base")
	for _, x := range []struct{ cwd, arg, says, deletes string }{
		{"real/base", "gone", "@/real/base/gone does not exist on this host: nothing was sent; --delete-missing would remove it on the members", "gone"},
		{"real/base/docs", "../gone/x", "@/real/base/docs/../gone/x does not exist", "gone/x"},
		{"real", "base/gone", "@/real/base/gone does not exist on this host, nor does @/real/base/base/gone: ", ""}, // two readings
		{"real/other", "gone", "@/real/base/gone does not exist on this host, nor does @/real/other/gone, which would be outside the base directory: ", "gone"},
		{"real", "other", "@/real/other is outside the base directory, and @/real/base/other does not exist on this host: nothing was sent", ""},
		{"real/other", "file/", "@/real/base/file/ is not a directory", "file"},
		{"real/other", "@/real/base/gone/", "@/real/base/gone does not exist", "gone"},
	} {
		r, err := newResolver(base, filepath.Join(d, x.cwd), "")
		if err != nil {
			t.Fatal(err)
		}
		arg := strings.ReplaceAll(x.arg, "@", d)
		if _, err := r.resolve(arg); err == nil || !strings.Contains(err.Error(), strings.ReplaceAll(x.says, "@", d)) {
			t.Errorf("in %s: %s: %v\nwant %s", x.cwd, arg, err, x.says)
		}
		r.deleteMissing = true
		if got, err := r.resolve(arg); got != x.deletes || (err == nil) != (x.deletes != "") {
			t.Errorf("in %s: --delete-missing %s: %q, %v, want %q", x.cwd, arg, got, err, x.deletes)
		}
	}
}

// TestTwoReadings: a path that exists both below the current directory, which
// is outside, and below the base is asked for in full.
func TestTwoReadings(t *testing.T) {
	d := site(t)
	base := filepath.Join(d, "real/base")
	if err := os.MkdirAll(filepath.Join(base, "base/docs"), 0o755); err != nil {
		t.Fatal(err)
	}
	r, err := newResolver(base, filepath.Join(d, "real"), "")
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.resolve("base/docs")
	if err == nil || !strings.Contains(err.Error(), base+"/docs or "+base+"/base/docs") {
		t.Errorf("%v", err)
	}
	if got, err := r.resolve(base + "/docs"); got != "docs" || err != nil {
		t.Errorf("%q, %v", got, err)
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
