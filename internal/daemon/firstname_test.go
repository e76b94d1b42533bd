package daemon

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"makuo/internal/control"
)

// testFirstName: where the first name of a file can't be placed, the content
// arrives under the next one.
func testFirstName(t *testing.T, l []*machine) {
	a, b := l[0], l[1]
	content := bytes.Repeat([]byte("content "), 100_000)
	a.write("first/a/conf", content)
	for _, name := range []string{"first/b", "first/c"} {
		if err := os.Link(filepath.Join(a.base, "first/a/conf"), filepath.Join(a.base, name)); err != nil {
			t.Fatal(err)
		}
	}
	b.writeAll("first/a/conf/in/the/way")
	a.push(paths("first"), nil).exits(t, control.ExitPartial)
	for _, m := range l[1:] {
		var files []os.FileInfo
		for _, name := range []string{"first/b", "first/c"} {
			got, err := os.ReadFile(filepath.Join(m.base, name))
			if err != nil || !bytes.Equal(got, content) {
				t.Errorf("%s at %s: %d bytes, %v", name, m.base, len(got), err)
				return
			}
			info, _ := os.Stat(filepath.Join(m.base, name))
			files = append(files, info)
		}
		if !os.SameFile(files[0], files[1]) {
			t.Errorf("%s: the names are of two files", m.base)
		}
	}
}
