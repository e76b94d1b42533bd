//go:build linux

package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"makuo/integration/lab"
	"makuo/integration/trees"
)

// site is a lab whose hosts all have the first version of a tree, "site", while
// the origin, h0, has its second version, ready to be pushed. The second has a
// file, "site/big", that takes a few seconds on the lab's links: time for
// something to happen.
type site struct {
	t       testing.TB
	lab     *lab.Lab
	origin  *lab.Host
	members []*lab.Host // all but the origin
	old     trees.Snapshot
	new     trees.Snapshot
}

// bigSize is the size of site/big: about 2 seconds at 100 Mbit/s.
var bigSize = size[int64](24<<20, 128<<20)

// fullSize is the size of a base that holds the old site and has no room for
// the new one.
var fullSize = fmt.Sprintf("%dm", bigSize>>20*3/4)

// newSite makes a site with links of 100 Mbit/s, unless the options say
// otherwise, and daemons with the given extra options.
func newSite(t testing.TB, opt lab.Options, args ...string) *site {
	t.Helper()
	if opt.Hosts == 0 {
		opt.Hosts = 3
	}
	if opt.RateMbit == 0 {
		opt.RateMbit = 100
	}
	opt.CutTrains = true
	return startSite(t, lab.New(t, opt), args...)
}

// startSite is newSite for a lab that is there already.
func startSite(t testing.TB, l *lab.Lab, args ...string) *site {
	t.Helper()
	s := &site{t: t, lab: l, origin: l.Host(0), members: l.Hosts()[1:]}
	check(t, firstVersion(s.origin.Base("site")))
	l.Start(args...)
	wantExit(t, s.push(), 0)
	s.wantEqual(s.members...)
	if t.Failed() {
		t.Fatal("the first version did not arrive: nothing to go on with")
	}
	s.old = read(t, s.origin, "site")
	check(t, secondVersion(s.origin.Base("site")))
	check(t, trees.Random(s.origin.Base("site/big"), bigSize, 2))
	s.new = read(t, s.origin, "site")
	return s
}

// firstVersion makes the tree's first version.
func firstVersion(root string) error {
	for i := range 200 {
		if err := writeTree(root, fmt.Sprintf("d%d/f%03d", i/50, i), fmt.Sprintf("version 1 of %d\n", i)); err != nil {
			return err
		}
	}
	for name, content := range map[string]string{
		"old/a": "goes", "old/deep/b": "goes too", "file-to-dir": "a file", "dir-to-file/x": "in a directory", "dir-to-link/y": "and this",
	} {
		if err := writeTree(root, name, content); err != nil {
			return err
		}
	}
	return os.Symlink("d0/f000", filepath.Join(root, "link"))
}

// secondVersion makes the first version the second: new, changed and vanished
// files, and names that change their type.
func secondVersion(root string) error {
	for i := range 200 {
		if i%2 == 0 {
			if err := writeTree(root, fmt.Sprintf("d%d/f%03d", i/50, i), fmt.Sprintf("version 2 of %d, longer\n", i)); err != nil {
				return err
			}
		}
		if err := writeTree(root, fmt.Sprintf("new%d/f%03d", i/50, i), fmt.Sprintf("new in version 2: %d\n", i)); err != nil {
			return err
		}
	}
	for _, name := range []string{"old", "file-to-dir", "dir-to-file", "dir-to-link", "link"} {
		if err := os.RemoveAll(filepath.Join(root, name)); err != nil {
			return err
		}
	}
	if err := writeTree(root, "file-to-dir/z", "in it"); err != nil {
		return err
	}
	if err := writeTree(root, "dir-to-file", "now a file"); err != nil {
		return err
	}
	if err := os.Symlink("d1", filepath.Join(root, "dir-to-link")); err != nil {
		return err
	}
	return os.Symlink("new0/f001", filepath.Join(root, "link"))
}

func writeTree(root, name, content string) error {
	name = filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, []byte(content), 0o644)
}

// push pushes the site with --delete and further options.
func (s *site) push(args ...string) lab.Result {
	s.t.Helper()
	return s.origin.Msync(append(append([]string{"-r", "--delete"}, args...), "site")...)
}

// begin starts a push with events.
func (s *site) begin(args ...string) *lab.Run {
	s.t.Helper()
	return s.origin.Begin(append(append([]string{"-r", "--delete", "--json"}, args...), "site")...)
}

// beginSending starts a push and returns when it is in the middle of site/big.
func (s *site) beginSending(args ...string) *lab.Run {
	s.t.Helper()
	run := s.begin(args...)
	run.WaitEvent("it sent a megabyte", sending(1e6))
	return run
}

// wantEqual checks that members have what the origin has now.
func (s *site) wantEqual(members ...*lab.Host) {
	s.t.Helper()
	wantEqual(s.t, s.origin, "site", members...)
}

// wantOld checks that members have the first version, all of it.
func (s *site) wantOld(members ...*lab.Host) {
	s.t.Helper()
	for _, m := range members {
		wantSame(s.t, m.Name+" should have the old tree", s.old, read(s.t, m, "site"))
	}
}

// wantWhole waits until a member has one of the two versions, all of it.
func (s *site) wantWhole(m *lab.Host) {
	s.t.Helper()
	lab.WaitFor(s.t, m.Name+" to have one whole version", func() error {
		now, err := tryRead(m, "site")
		if err != nil {
			return err
		}
		if same(s.old, now) == nil {
			return nil
		}
		return same(s.new, now)
	})
}

// wantEach checks that a member has the old or the new version at each path,
// but for paths that are excepted.
func (s *site) wantEach(m *lab.Host, except ...string) {
	s.t.Helper()
	now := read(s.t, m, "site")
	for _, path := range except {
		delete(now, path)
	}
	for path, e := range now {
		if !sameFile(e, s.old[path]) && !sameFile(e, s.new[path]) {
			s.t.Errorf("%s: site/%s is neither the old nor the new one: %+v", m.Name, path, e)
		}
	}
	for path := range s.old {
		_, stays := s.new[path]
		if _, there := now[path]; stays && !there && !contains(except, path) {
			s.t.Errorf("%s: site/%s is absent, and in both versions", m.Name, path)
		}
	}
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// sameFile compares what a reader of a file sees; directories' times may be of
// neither version.
func sameFile(a, b trees.Entry) bool {
	return a.Mode == b.Mode && a.Size == b.Size && a.Content == b.Content && a.Target == b.Target
}

// heal checks that the next push repairs everything and leaves nothing behind.
func (s *site) heal() {
	s.t.Helper()
	s.lab.Settle()
	wantExit(s.t, s.push(), 0)
	s.wantEqual(s.members...)
	wantClean(s.t, s.lab.Hosts()...)
}
