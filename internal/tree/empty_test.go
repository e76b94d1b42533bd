package tree

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"makuo/protocol"
)

// TestCheckPaths: what was named and is not there stops a push before it starts.
func TestCheckPaths(t *testing.T) {
	base := tempTree(t)
	plant(t, base, 1000, "d/f 1", "f 1")
	must(t, os.Symlink("d", filepath.Join(base, "link")))
	must(t, os.Symlink("nowhere", filepath.Join(base, "dangling")))
	m := openTestModule(t, base)
	for _, c := range []struct {
		path    string
		ok      bool
		missing bool // fine with OptDeleteMissing
	}{
		{".", true, true}, {"d", true, true}, {"d/f", true, true}, {"dangling", true, true}, {"link", true, true},
		{"none", false, true}, {"d/none", false, true}, {"none/x", false, true}, {"f/x", false, true}, {"link/f", false, false},
	} {
		for _, missing := range []bool{false, true} {
			h := &protocol.PushHeader{Paths: []string{"d", c.path}, Options: protocol.OptDelete}
			want := c.ok
			if missing {
				h.Options = protocol.OptDeleteMissing
				want = c.missing
			}
			err := m.CheckPaths(h)
			var pe *PathError
			switch {
			case want && err != nil, !want && !errors.As(err, &pe):
				t.Errorf("%s, delete missing %v: %v", c.path, missing, err)
			case !want && !strings.Contains(err.Error(), filepath.Join(m.Base(), c.path)):
				t.Errorf("%q does not name the full path", err)
			}
		}
	}
	if err := m.CheckPaths(&protocol.PushHeader{Paths: []string{"none"}}); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "--delete-missing") {
		t.Error(err)
	}
}

// TestMissingStays: a path that vanishes between the check and the walk is not
// removed anywhere, and neither is a full directory without -r.
func TestMissingStays(t *testing.T) {
	p, src, dst := pair(t)
	plant(t, src, 1000, "a 1")
	plant(t, dst, 1000, "gone/x 1", "a 1")
	p.paths = []string{"a", "gone"}
	if o := p.push(t); len(o.deleted) > 0 || len(o.srcProblems) != 1 {
		t.Errorf("%q %q", o.deleted, o.srcProblems)
	}
	p.options = protocol.OptDeleteMissing
	wantProblem(t, p.push(t), "gone: ", "-r")
	if !exists(dst, "gone/x") {
		t.Fatal("gone is gone")
	}
	p.options |= protocol.OptRecursive
	if o := p.push(t); !slices.Equal(o.deleted, []string{"gone/x", "gone"}) {
		t.Errorf("%q %v", o.deleted, o.problems)
	}
}

// TestEmptyPushed: a pushed directory with nothing in it to push empties none,
// and the directories below it do.
func TestEmptyPushed(t *testing.T) {
	for _, c := range []struct {
		name          string
		src, dst      []string
		rules         []protocol.Rule
		paths         []string
		deleted, says string
	}{
		{"empty", []string{"w/site/"}, []string{"w/site/a 1", "w/site/b/c 1"}, nil, []string{"w/site"}, "", "w/site: is empty at the origin and has 2 entries here"},
		{"after excludes", []string{"s/x.o 1"}, []string{"s/x.o 1", "s/y 1"}, []protocol.Rule{{Pattern: "*.o"}}, []string{"s"}, "", "s: is empty at the origin and has 1 entry here"},
		{"only excluded here", []string{"s/"}, []string{"s/x.o 1"}, []protocol.Rule{{Pattern: "*.o"}}, []string{"s"}, "", ""},
		{"below", []string{"s/sub/"}, []string{"s/sub/y 1"}, nil, []string{"s"}, "s/sub/y", ""},
		{"base", nil, []string{"y 1", "z 1"}, nil, []string{"."}, "", ".: is empty at the origin and has 2 entries here"},
		{"beside", []string{"e/", "f/x 1"}, []string{"e/y 1", "f/y 1"}, nil, []string{"e", "f"}, "f/y", "e: is empty"},
		{"both empty", []string{"s/"}, []string{"s/"}, nil, []string{"s"}, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, src, dst := pair(t)
			p.paths, p.rules = c.paths, c.rules
			for i, dir := range []string{src, dst} {
				for _, s := range [][]string{c.src, c.dst}[i] {
					if strings.HasSuffix(s, "/") {
						must(t, os.MkdirAll(filepath.Join(dir, s), 0o755))
					} else {
						plant(t, dir, 1000, s)
					}
				}
			}
			o := p.push(t)
			if got := strings.Join(o.deleted, " "); got != c.deleted {
				t.Errorf("deleted %q, want %q", got, c.deleted)
			}
			if got := problemsOf(o); got != c.says && (c.says == "" || !strings.HasPrefix(got, c.says) || !strings.Contains(got, "--force-empty")) {
				t.Errorf("%q, want %q", got, c.says)
			}
			p.options |= protocol.OptForceEmpty
			o = p.push(t)
			if len(o.problems) > 0 || c.says != "" && len(o.deleted) == 0 {
				t.Errorf("with force: deleted %q, problems %v", o.deleted, o.problems)
			}
		})
	}
}
