package tree

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"makuo/protocol"
)

// memberError returns the error with which a push ends the member's part.
func (p *pusher) memberError(t *testing.T) string {
	t.Helper()
	p.id++
	h := p.header(t)
	filter, err := NewFilter(h.Rules)
	must(t, err)
	tg, err := p.dst.Begin(protocol.PushID{Start: p.id, Origin: 7}, h)
	must(t, err)
	defer tg.Close()
	spec := ScanSpec{Header: h, Filter: filter, Problem: func(path, text string, warning bool) {}}
	err = p.src.Scan(context.Background(), spec, func(b *protocol.Batch) error {
		_, _, err := tg.Compare(b)
		return err
	})
	if err == nil {
		err = tg.EndCompare()
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// both returns how a dry run and a push end.
func (p *pusher) both(t *testing.T) (dry, real string) {
	p.options |= protocol.OptDryRun
	dry = p.memberError(t)
	p.options &^= protocol.OptDryRun
	return dry, p.memberError(t)
}

// TestDryRunOnAReadOnlyFileSystem: names or attributes alone, the member fails
// in a dry run as it does in a push; where nothing differs it does not.
func TestDryRunOnAReadOnlyFileSystem(t *testing.T) {
	p, src, dst := pair(t)
	base := filepath.Join(dst, "fs")
	mountTmpfs(t, base, "size=1m")
	plant(t, base, 1000, "same 1", "mode 1", "d/x 1")
	plant(t, src, 1000, "same 1", "mode 1", "d/x 1")
	must(t, os.Chmod(src+"/mode", 0o600))
	must(t, unix.Mount("", base, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	p.dst = openTestModule(t, base)
	for path, fails := range map[string]bool{"same": false, "mode": true} {
		p.paths = []string{path}
		if dry, real := p.both(t); strings.Contains(dry, "read-only file system") != fails || strings.Contains(real, "read-only file system") != fails {
			t.Errorf("%s: dry run %q, push %q", path, dry, real)
		}
	}
	plant(t, src, 2000, "new/f 1")
	for _, path := range []string{"new", "d"} {
		p.paths = []string{path}
		if dry, real := p.both(t); dry != real || !strings.Contains(dry, "read-only file system") {
			t.Errorf("%s: dry run %q, push %q", path, dry, real)
		}
	}
}

// TestCheckOfWhatCannotBeChanged: a check of a read-only, full member counts what
// differs.
func TestCheckOfWhatCannotBeChanged(t *testing.T) {
	p, src, dst := pair(t)
	base := filepath.Join(dst, "fs")
	mountTmpfs(t, base, "size=1m")
	plant(t, base, 1000, "same 1", "old 1", "gone/x 1")
	plant(t, src, 1000, "same 1", "old 2", "new/big "+strings.Repeat("x", 2<<20), "new/link -> x")
	must(t, unix.Mount("", base, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	p.dst = openTestModule(t, base)
	p.options |= protocol.OptDryRun | protocol.OptCheck
	o := p.push(t)
	if len(o.problems) > 0 || !slices.Contains(o.change, "old") || !slices.Contains(o.change, "new/big") || slices.Contains(o.change, "same") ||
		o.counts.Changed != uint64(len(o.change)) || o.counts.Deleted != 2 {
		t.Errorf("%q, %+v, %v", o.change, o.counts, o.problems)
	}
}

// TestDryRunWithoutInodes: what needs no content needs inodes.
func TestDryRunWithoutInodes(t *testing.T) {
	p, src, dst := pair(t)
	base := filepath.Join(dst, "fs")
	mountTmpfs(t, base, "size=4m,nr_inodes=100")
	p.dst = openTestModule(t, base)
	for i := range 150 {
		plant(t, src, 1000, fmt.Sprintf("d%d/", i), fmt.Sprintf("l%d -> x", i))
	}
	if dry, real := p.both(t); !strings.Contains(dry, "no inodes") || !strings.Contains(real, "no inodes") {
		t.Errorf("dry run %q, push %q", dry, real)
	}
}

// TestDryRunWithoutPermission: what a daemon that is not root may not do are
// errors of a dry run, word by word those of the push.
func TestDryRunWithoutPermission(t *testing.T) {
	src, base := t.TempDir(), shared(t)
	plant(t, src, 2000, "closed/new 1", "closed/old 2", "sticky/theirs 2", "sticky/new 1", "open/mode 1", "open/dir/", "open/mine 2", "mine/new 1", "dev 1")
	plant(t, base, 1000, "closed/old 1", "closed/gone 1", "sticky/theirs 1", "mine/old 1", "open/mine 1", "open/full/x 1")
	plant(t, base, 1000, "open/mode 1", "open/dir/")
	for _, path := range []string{"open/mode", "open/dir"} { // nothing but the mode differs
		must(t, os.Chtimes(filepath.Join(base, path), time.Time{}, time.Unix(2000, 123)))
	}
	must(t, os.Chmod(src+"/open/mode", 0o600))
	must(t, os.Chmod(src+"/open/dir", 0o700))
	for path, mode := range map[string]os.FileMode{"sticky": 0o777 | os.ModeSticky, "open": 0o777, "open/full": 0o755, "mine": 0o555, ".": 0o777} {
		must(t, os.Chmod(filepath.Join(base, path), mode))
	}
	must(t, os.Chown(base+"/mine", 2001, 2001))
	must(t, filepath.WalkDir(src, func(path string, _ os.DirEntry, _ error) error { return os.Lchown(path, 2001, 2001) }))
	must(t, os.Remove(src+"/dev"))
	must(t, unix.Mknod(src+"/dev", unix.S_IFCHR|0o644, 259))
	from := openTestModule(t, src)
	asUser(t, nil, func() {
		p := &pusher{src: from, dst: openTestModule(t, base), options: recursiveDelete | protocol.OptDevices | protocol.OptDryRun,
			paths: []string{"closed", "sticky", "open", "mine", "dev"}}
		dry := p.push(t)
		p.options &^= protocol.OptDryRun
		real := p.push(t)
		if d, r := dry.errors(), real.errors(); !slices.Equal(d, r) {
			t.Errorf("dry run\n%s\npush\n%s", strings.Join(d, "\n"), strings.Join(r, "\n"))
		}
		for _, want := range []string{
			"closed/new: no name can be changed in its directory: permission denied", "closed/old: no name can be changed",
			"closed/gone: is not deleted: ", "sticky/theirs: belongs to user 0, in a directory with the sticky bit",
			"open/mode: belongs to user 0: mode", "open/dir: belongs to user 0: mode", "open/full: is not deleted: ", "dev: device nodes can't be made",
		} {
			if !slices.ContainsFunc(dry.errors(), func(e string) bool { return strings.HasPrefix(e, want) }) {
				t.Errorf("no error %q in\n%s", want, strings.Join(dry.errors(), "\n"))
			}
		}
	})
	for path, want := range map[string]string{"sticky/new": "1", "open/mine": "2", "mine/new": "1"} {
		if b, _ := os.ReadFile(filepath.Join(base, path)); string(b) != want {
			t.Errorf("%s holds %q", path, b)
		}
	}
}
