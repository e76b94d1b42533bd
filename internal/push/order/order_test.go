package order

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"makuo/internal/tree"
	"makuo/protocol"
)

func at(n int64) protocol.PushID { return protocol.PushID{Start: n, Origin: 1} }

func entries(list ...Entry) *Entries {
	e := new(Entries)
	for _, x := range list {
		e.Add(x)
	}
	return e
}

func whole(n int64, paths ...string) Layer {
	return Of(at(n), &protocol.PushHeader{Name: "h", Paths: paths, Options: protocol.OptRecursive | protocol.OptDelete}, nil)
}

func listed(n int64, paths []string, list ...Entry) Layer {
	return Of(at(n), &protocol.PushHeader{Name: "h", Paths: paths}, entries(list...))
}

func decide(t *testing.T, h *History, ls ...Layer) {
	t.Helper()
	for _, l := range ls {
		if err := h.Decide(l); err != nil {
			t.Fatal(err)
		}
		if err := h.Tidy(l.Place); err != nil {
			t.Fatal(err)
		}
	}
}

func scope(h *History, place int64, path string) tree.Scope {
	n := h.Newer(at(place), []string{"."})
	if n == nil {
		return tree.ScopeNone
	}
	s, _ := n.Decided(path)
	return s
}

func TestScopes(t *testing.T) {
	h := new(History)
	rules := whole(30, "c/d")
	rules.Rules = []protocol.Rule{{Pattern: "/d/keep"}, {Pattern: "logs/"}}
	decide(t, h, listed(10, []string{"a"}, Entry{"a", true}, Entry{"a/f", false}, Entry{"a/sub", true}, Entry{"a/sub/x", false}),
		whole(20, "b"), rules)
	for _, c := range []struct {
		place int64
		path  string
		want  tree.Scope
	}{
		{5, "a", tree.ScopePath}, {5, "a/f", tree.ScopePath}, {5, "a/f/below", tree.ScopePath}, {5, "a/other", tree.ScopeNone},
		{5, "a/sub/x", tree.ScopePath}, {5, "a/sub/y", tree.ScopeNone}, {10, "a/f", tree.ScopeNone}, {5, ".", tree.ScopeBelow},
		{15, "b", tree.ScopePath}, {15, "b/x/y", tree.ScopePath}, {15, "bb", tree.ScopeNone}, {20, "b", tree.ScopeNone},
		{25, "c", tree.ScopeBelow}, {25, "c/d/x", tree.ScopePath}, {25, "c/d/keep", tree.ScopeNone}, {25, "c/d/keep/x", tree.ScopeNone},
		{25, "c/d/logs/x", tree.ScopeNone},
		{25, "c/d/logs", tree.ScopePath}, // a file of that name is not excluded
		{25, "c/e", tree.ScopeNone},
	} {
		if got := scope(h, c.place, c.path); got != c.want {
			t.Errorf("for place %d, %q is decided %d, want %d", c.place, c.path, got, c.want)
		}
	}
}

// TestSubtractedLayers: what a newer layer decides is taken from older ones, and
// the answers stay the same.
func TestSubtractedLayers(t *testing.T) {
	h := new(History)
	decide(t, h, listed(10, []string{"a"}, Entry{"a/1", false}, Entry{"a/2", false}), listed(20, []string{"a"}, Entry{"a/1", false}))
	if len(h.layers) != 2 {
		t.Fatalf("%d layers", len(h.layers))
	}
	if list, _ := unpack(h.layers[0].packed); !slices.Equal(list, []Entry{{"a/2", false}}) {
		t.Errorf("the older layer has %v", list)
	}
	decide(t, h, whole(30, "a"))
	if len(h.layers) != 1 || h.layers[0].Place != at(30) {
		t.Errorf("layers %v", h.layers)
	}
	decide(t, h, whole(25, "a/x")) // late
	if len(h.layers) != 2 {
		t.Errorf("%d layers after a late one", len(h.layers))
	}
}

// TestBounded: however many pushes of however many paths, the layers stay
// bounded, and nothing that is decided is forgotten.
func TestBounded(t *testing.T) {
	h := new(History)
	for i := range int64(500) {
		decide(t, h, whole(i+1, fmt.Sprintf("p%03d", i)))
	}
	if len(h.layers) > MaxLayers {
		t.Fatalf("%d layers", len(h.layers))
	}
	for i := range int64(500) {
		if scope(h, i, fmt.Sprintf("p%03d", i)) != tree.ScopePath {
			t.Fatalf("push %d is forgotten", i+1)
		}
		if scope(h, 500, fmt.Sprintf("p%03d", i)) != tree.ScopeNone {
			t.Fatalf("push %d stands in the way of newer ones", i+1)
		}
	}
}

func writeFile(path, content string) error { return os.WriteFile(path, []byte(content), 0o600) }

// TestModel holds histories of random pushes, read from disk again and again,
// against a map of each path's newest push. They may say that more is decided
// only where layers were merged.
func TestModel(t *testing.T) {
	paths := []string{"a", "a/b", "a/b/c", "a/d", "e", "e/f", "g"}
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 7))
		dir := t.TempDir()
		b, err := Open(dir, writeFile)
		if err != nil {
			t.Fatal(err)
		}
		model := make(map[string]int64)
		for range 20 {
			place := int64(1 + r.IntN(40))
			top := paths[r.IntN(len(paths))]
			l := whole(place, top)
			if r.IntN(2) == 0 {
				var list []Entry
				for _, p := range paths {
					if protocol.Within(p, top) && r.IntN(2) == 0 {
						list = append(list, Entry{p, true})
					}
				}
				l = listed(place, []string{top}, list...)
			}
			if slices.ContainsFunc(b.Module("m").layers, func(x *Layer) bool { return x.Place == l.Place }) {
				continue
			}
			v := l.view()
			for _, p := range paths {
				if v.decided(p) == tree.ScopePath {
					model[p] = max(model[p], place)
				}
			}
			decide(t, b.Module("m"), l)
			if b, err = Open(dir, writeFile); err != nil {
				t.Fatal(err)
			}
		}
		for _, p := range paths {
			for place := range int64(42) {
				want := tree.ScopeNone
				if model[p] > place {
					want = tree.ScopePath
				}
				if got := scope(b.Module("m"), place, p); (got == tree.ScopePath) != (want == tree.ScopePath) {
					t.Fatalf("seed %d: %q decided %d for place %d, the newest push there is %d", seed, p, got, place, model[p])
				}
			}
		}
	}
}

// TestDamagedLayer: a file that cannot be read counts as having decided all.
func TestDamagedLayer(t *testing.T) {
	dir := t.TempDir()
	b, err := Open(dir, writeFile)
	if err != nil {
		t.Fatal(err)
	}
	decide(t, b.Module("m"), listed(10, []string{"a"}, Entry{"a", true}))
	path := filepath.Join(dir, "6d", at(10).String())
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := range content {
		if _, err := parse(content[:n]); err == nil {
			t.Fatalf("%d bytes of a layer are taken for one", n)
		}
	}
	if err := os.WriteFile(path, content[:len(content)-3], 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err = Open(dir, writeFile); err != nil {
		t.Fatal(err)
	}
	if h := b.Module("m"); scope(h, 9, "elsewhere") != tree.ScopePath || scope(h, 10, "elsewhere") != tree.ScopeNone {
		t.Error("a damaged layer is not taken for the whole module")
	}
}

// TestSince: what another member is told of fits, coarse where it has to be.
func TestSince(t *testing.T) {
	h := new(History)
	var long []Entry
	for i := range 5000 {
		long = append(long, Entry{fmt.Sprintf("d/%032x", i*7919), false})
	}
	slices.SortFunc(long, func(a, b Entry) int { return protocol.ComparePaths(a.Path, b.Path) })
	decide(t, h, whole(10, "a"), listed(20, []string{"b"}, Entry{"b", true}, Entry{"b/x", false}), listed(30, []string{"d"}, long...))
	got := h.Since(at(5), []string{"."}, 1000)
	want := []protocol.NewerPush{{Place: at(30), Name: "h", Paths: []string{"d"}}, {Place: at(20), Name: "h", Paths: []string{"b/x"}}, {Place: at(10), Name: "h", Paths: []string{"a"}}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v", got)
	}
	if got := h.Since(at(5), []string{"."}, 30); len(got) != 2 || !slices.Equal(got[len(got)-1].Paths, []string{"."}) {
		t.Errorf("what does not fit is told as %v", got)
	}
	if got := h.Since(at(15), []string{"b"}, 1000); len(got) != 1 {
		t.Errorf("of b alone: %v", got)
	}
}
