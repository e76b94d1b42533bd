package tree

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"makuo/protocol"
)

// shape makes a tree: "a/" is a directory, "a>b" a link, the rest is plant's.
func shape(t *testing.T, base string, words ...string) {
	t.Helper()
	for _, w := range words {
		from, to, link := strings.Cut(w, ">")
		switch {
		case link:
			must(t, os.MkdirAll(filepath.Dir(filepath.Join(base, from)), 0o755))
			must(t, os.Symlink(to, filepath.Join(base, from)))
		case strings.HasSuffix(w, "/"):
			must(t, os.MkdirAll(filepath.Join(base, w), 0o755))
		default:
			plant(t, base, 1000, w)
		}
	}
}

// TestExcludedStays: what a pattern covers on the member, by the type that it
// has there, is neither deleted nor replaced, and neither is what lies above.
func TestExcludedStays(t *testing.T) {
	for _, c := range []struct {
		name     string
		rules    []protocol.Rule
		protect  string
		src, dst []string
		stay     []string // on the member
		problem  string   // "": none
	}{
		{"link for an excluded directory", []protocol.Rule{{Pattern: "/w/upload/"}}, "", []string{"w/upload>elsewhere"}, []string{"w/upload/pic 1"}, []string{"w/upload/pic"}, "w/upload"},
		{"file for an excluded directory", []protocol.Rule{{Pattern: "upload/"}}, "", []string{"w/upload 1"}, []string{"w/upload/pic 1"}, []string{"w/upload/pic"}, "w/upload"},
		{"file for an excluded empty directory", []protocol.Rule{{Pattern: "upload/"}}, "", []string{"w/upload 1"}, []string{"w/upload/"}, []string{"w/upload"}, "w/upload"},
		{"directory for an excluded file", []protocol.Rule{{Include: true, Pattern: "up/"}, {Pattern: "up"}}, "", []string{"w/up/x 1"}, []string{"w/up mine"}, []string{"w/up"}, "w/up"},
		{"directory for an excluded link", []protocol.Rule{{Include: true, Pattern: "up/"}, {Pattern: "up"}}, "", []string{"w/up/x 1"}, []string{"w/up>gone"}, []string{"w/up"}, "w/up"},
		{"file for a directory with something excluded deep in it", []protocol.Rule{{Pattern: "*.tmp"}}, "", []string{"w/d 1"}, []string{"w/d/e/f/x.tmp 1", "w/d/y 1"}, []string{"w/d/e/f/x.tmp", "w/d/y"}, "w/d"},
		{"link for a directory with an excluded directory in it", []protocol.Rule{{Pattern: "keep/"}}, "", []string{"w/d>x"}, []string{"w/d/keep/a 1"}, []string{"w/d/keep/a"}, "w/d"},
		{"file for a directory with something protected in it", nil, "/w/d/conf", []string{"w/d 1"}, []string{"w/d/conf/a 1"}, []string{"w/d/conf/a"}, "w/d"},
		{"file for a directory above a protected one", nil, "/w/d/e/conf", []string{"w 1"}, []string{"w/d/e/conf 1"}, []string{"w/d/e/conf"}, "w"},
		{"directory gone, something excluded in it", []protocol.Rule{{Pattern: "*.tmp"}}, "", []string{"w/a 1"}, []string{"w/d/e/x.tmp 1", "w/d/y 1"}, []string{"w/d/e/x.tmp"}, ""},
		{"excluded directory gone", []protocol.Rule{{Pattern: "upload/"}}, "", []string{"w/a 1"}, []string{"w/upload/x 1"}, []string{"w/upload/x"}, ""},
	} {
		for _, options := range []uint32{protocol.OptRecursive, recursiveDelete, recursiveDelete | protocol.OptForceEmpty} {
			t.Run(c.name, func(t *testing.T) {
				p, src, dst := pair(t, func(cfg *ModuleConfig) {
					if c.protect != "" {
						cfg.Protect = []string{c.protect}
					}
				})
				p.options, p.rules = options, c.rules
				shape(t, src, append(c.src, "other 1")...)
				shape(t, dst, c.dst...)
				for range 2 {
					o := p.push(t)
					if c.problem == "" && len(o.errors()) > 0 {
						t.Errorf("%q", o.errors())
					}
					if c.problem != "" && (len(o.errors()) != 1 || !strings.HasPrefix(o.errors()[0], c.problem+": ")) {
						t.Errorf("%q, want one of %s", o.errors(), c.problem)
					}
					for _, path := range c.stay {
						if !exists(dst, path) || slices.Contains(o.deleted, path) {
							t.Errorf("%s is gone (deleted %q)", path, o.deleted)
						}
					}
					if !exists(dst, "other") {
						t.Error("the rest did not arrive")
					}
				}
			})
		}
	}
}

// TestParentIsNoDirectory: what is above a pushed path is not replaced.
func TestParentIsNoDirectory(t *testing.T) {
	for _, there := range []string{"site>../big", "site 1", "site>."} {
		for _, options := range []uint32{protocol.OptRecursive, recursiveDelete} {
			p, src, dst := pair(t)
			plant(t, src, 2000, "site/htdocs/a 1", "site/htdocs/b/c 1", "z 1")
			shape(t, dst, there)
			before := describe(t, dst)["site"]
			p.options, p.paths = options, []string{"site/htdocs", "z"}
			o := p.push(t)
			wantProblem(t, o, "site: ")
			if got := describe(t, dst)["site"]; got != before {
				t.Errorf("%s: now %s", there, got)
			}
			if !exists(dst, "z") {
				t.Error("the rest did not arrive")
			}
			p.paths = []string{"site"}
			if o := p.push(t); len(o.problems) > 0 || !exists(dst, "site/htdocs/b/c") {
				t.Errorf("pushed itself: %v", o.problems)
			}
		}
	}
}
