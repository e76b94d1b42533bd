package scripts_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// layer is one line of the package list in docs/architecture.md.
type layer struct {
	dir string // and all below it
	// only, where not empty, lists all the modules besides the standard
	// library and makuo's own that the layer may import.
	only []string
	// pure layers have no files, sockets or clocks' goroutines in them.
	pure bool
}

// layers in order: a package may import those of the layers above its own,
// and of its own.
var layers = []layer{
	{dir: "protocol", only: []string{"github.com/cespare/xxhash"}, pure: true},
	{dir: "transfer", only: []string{"github.com/cespare/xxhash", "github.com/klauspost/compress", "github.com/klauspost/reedsolomon"}, pure: true},
	{dir: "membership", only: []string{"github.com/cespare/xxhash"}, pure: true},
	{dir: "internal/spell", pure: true},
	{dir: "internal/transport"},
	{dir: "internal/fsroot"},
	{dir: "internal/tree"},
	{dir: "internal/push/journal", only: []string{"github.com/cespare/xxhash"}},
	{dir: "internal/push"},
	{dir: "internal/control"},
	{dir: "internal/daemon"},
	{dir: "cmd"},
	{dir: "scripts"},
	{dir: "integration"},
	{dir: "internal/bench"},
}

// forbidden in pure layers: what they get as arguments instead.
var forbidden = []string{"os", "net", "syscall", "io/ioutil", "golang.org/x/net", "golang.org/x/sys"}

// commandLine may be imported by programs only.
var commandLine = []string{"github.com/urfave/cli", "flag"}

// rank returns the index of the layer that a package's directory belongs to,
// or -1.
func rank(dir string) int {
	return slices.IndexFunc(layers, func(l layer) bool { return within(dir, l.dir) })
}

// within reports whether path is dir or lies below it.
func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, dir+"/")
}

// checkImport returns what is wrong about the package in dir importing path,
// or "".
func checkImport(dir, path string) string {
	from := rank(dir)
	if from < 0 {
		return "the package is in no layer: add it to this table and to docs/architecture.md"
	}
	l := layers[from]
	if own, ok := strings.CutPrefix(path, "makuo/"); ok {
		switch to := rank(own); {
		case to < 0:
			return "what it imports is in no layer"
		case to > from:
			return "imports go down the list only, and " + layers[to].dir + " stands below " + l.dir
		case layers[to].dir == "cmd":
			return "a program is not to be imported"
		}
		return ""
	}
	under := func(dirs []string) bool {
		return slices.ContainsFunc(dirs, func(d string) bool { return within(path, d) })
	}
	switch first, _, _ := strings.Cut(path, "/"); {
	case l.pure && path != "net/netip" && under(forbidden):
		return "a machine has no files, sockets or system calls in it"
	case strings.Contains(first, ".") && l.only != nil && !under(l.only):
		return l.dir + " uses the standard library and " + strings.Join(l.only, ", ") + " only"
	case l.dir != "cmd" && l.dir != "internal/bench" && under(commandLine):
		return "options are read by programs only"
	case path == "testing":
		return "testing belongs into tests"
	}
	return ""
}

func TestImportsGoDownTheList(t *testing.T) {
	seen := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && path != ".." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "out" || name == "bin") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		seen++
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		dir := filepath.ToSlash(filepath.Dir(strings.TrimPrefix(path, "../")))
		for _, spec := range f.Imports {
			imported, _ := strconv.Unquote(spec.Path.Value)
			// The lab and the leak check serve tests alone; the benchmark
			// stands in for a test where it uses the lab.
			helper := within(dir, "integration") || within(dir, "internal/bench") || within(dir, "internal/transport/leak")
			if wrong := checkImport(dir, imported); wrong != "" && (imported != "testing" || !helper) {
				t.Errorf("%s imports %s: %s", path[len("../"):], imported, wrong)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 10 {
		t.Errorf("looked at %d files only: the sources are somewhere else", seen)
	}
}

// The rules find what they are for.
func TestImportRules(t *testing.T) {
	for _, c := range []struct {
		dir, path string
		ok        bool
	}{
		{"protocol", "encoding/binary", true},
		{"protocol", "github.com/cespare/xxhash/v2", true},
		{"protocol", "go.uber.org/zap", false},
		{"protocol", "makuo/transfer", false},
		{"protocol", "os", false},
		{"transfer", "makuo/protocol", true},
		{"transfer", "github.com/klauspost/compress/zstd", true},
		{"transfer", "net", false},
		{"transfer", "net/netip", true},
		{"transfer", "golang.org/x/sys/unix", false},
		{"membership", "makuo/internal/transport", false},
		{"internal/transport/simnet", "makuo/internal/transport", true},
		{"internal/tree", "makuo/internal/push", false},
		{"internal/push", "makuo/internal/tree", true},
		{"internal/push", "makuo/internal/push/journal", true},
		{"internal/push/journal", "makuo/internal/push", false},
		{"internal/daemon", "github.com/urfave/cli/v2", false},
		{"internal/daemon", "testing", false},
		{"cmd/makuod", "github.com/urfave/cli/v2", true},
		{"cmd/makuod", "makuo/internal/daemon", true},
		{"integration", "makuo/cmd/makuod", false},
		{"elsewhere", "os", false},
		{"cmd/makuod", "makuo/elsewhere", false},
	} {
		if wrong := checkImport(c.dir, c.path); (wrong == "") != c.ok {
			t.Errorf("%s imports %s: %q", c.dir, c.path, wrong)
		}
	}
}
