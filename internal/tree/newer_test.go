package tree

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"makuo/protocol"
)

// decided is what newer pushes have decided: of a path ending in "/" all below,
// too.
type decided []string

func (d decided) Newer(protocol.PushID, []string) Newer {
	if len(d) == 0 {
		return nil
	}
	return d
}

func (d decided) Decided(path string) (Scope, string) {
	scope := ScopeNone
	for _, p := range d {
		top := strings.TrimSuffix(p, "/")
		switch {
		case path == top, top != p && protocol.Within(path, top):
			return ScopePath, "X of y"
		case protocol.Within(top, path):
			scope = ScopeBelow
		}
	}
	return scope, "X of y"
}

func writeTree(t *testing.T, dir string, files ...string) {
	t.Helper()
	for _, f := range files {
		name, content, _ := strings.Cut(f, "=")
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func readTree(t *testing.T, dir string) string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		list = append(list, rel+"="+string(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(list, " ")
}

// TestNewerStays: whether it is decided before the older push compares, or after
// it is staged, what a newer push has decided stays, and all else is done.
func TestNewerStays(t *testing.T) {
	for name, c := range map[string]struct {
		src, dst []string // the older push; this member when it compares
		newer    []string // what the newer one puts here
		gone     []string // and removes
		decided  decided
		want     string // at the end
		errors   bool   // when it was staged before
	}{
		"replaced file":     {[]string{"a/f=old", "a/g=old"}, []string{"a/f=was"}, []string{"a/f=newer"}, nil, decided{"a/f"}, "a/f=newer a/g=old", false},
		"removed file":      {[]string{"a/f=old", "a/g=old"}, []string{"a/f=was"}, nil, []string{"a/f"}, decided{"a/f"}, "a/g=old", false},
		"deletion":          {[]string{"a/g=old"}, []string{"a/f=was", "a/x=was"}, []string{"a/f=newer"}, nil, decided{"a/f"}, "a/f=newer a/g=old", false},
		"deleted directory": {[]string{"a/g=old"}, []string{"a/d/f=was", "a/d/x=was"}, []string{"a/d/f=newer"}, nil, decided{"a/d/f"}, "a/d/f=newer a/g=old", false},
		"removed in a new directory": {[]string{"a/d/f=old", "a/d/g=old"}, []string{"a/x=was"}, nil, nil,
			decided{"a/d/f"}, "a/d/g=old", false},
		"new directory, whole": {[]string{"a/d/f=old", "a/g=old"}, []string{"a/x=was"}, []string{"a/d/n=newer"}, nil,
			decided{"a/d/"}, "a/d/n=newer a/g=old", false},
		"file in the place of a directory": {[]string{"a/d=old"}, []string{"a/d/f=was"}, []string{"a/d/f=newer"}, nil,
			decided{"a/d/f"}, "a/d/f=newer", false},
		"directory in the place of a file": {[]string{"a/d/f=old", "a/g=old"}, []string{"a/d=was"}, []string{"a/d=newer"}, nil,
			decided{"a/d/"}, "a/d=newer a/g=old", false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, late := range []bool{false, true} {
				src, dst := tempTree(t), tempTree(t)
				writeTree(t, src, c.src...)
				writeTree(t, dst, c.dst...)
				p := &pusher{src: openTestModule(t, src), dst: openTestModule(t, dst), paths: []string{"a"}, options: protocol.OptRecursive | protocol.OptDelete}
				pass := func() {
					for _, g := range c.gone {
						if err := os.Remove(filepath.Join(dst, g)); err != nil {
							t.Fatal(err)
						}
					}
					writeTree(t, dst, c.newer...)
					p.dst.SetOrder(c.decided)
				}
				if !late {
					pass()
				}
				tg, o := p.stage(t)
				if late {
					pass()
				}
				if _, _, err := tg.Commit(); err != nil {
					t.Fatal(err)
				}
				o.collect(t, tg)
				tg.Close()
				if got := readTree(t, dst); got != c.want {
					t.Errorf("staged before: %v\n got %s\nwant %s", late, got, c.want)
				}
				told := false
				for _, p := range o.problems {
					told = told || strings.Contains(p.Text, "newer push X of y")
				}
				if !told {
					t.Errorf("staged before: %v: nobody is told: %v", late, o.problems)
				}
			}
		})
	}
}
