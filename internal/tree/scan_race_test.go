package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"makuo/protocol"
)

// asNobody runs f without privileges: if the test has them, on a thread of its
// own that gives them up and ends with f. dirs are handed over to that user.
func asNobody(t *testing.T, base string, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f()
		return
	}
	const nobody = 65534
	must(t, os.Chown(base, nobody, nobody))
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if _, _, errno := syscall.RawSyscall(unix.SYS_SETRESUID, nobody, nobody, nobody); errno != 0 {
			t.Errorf("giving up privileges: %v", errno)
			return
		}
		f()
	}()
	<-done
}

func TestScanWithoutPermission(t *testing.T) {
	base := t.TempDir()
	m := openModule(t, base)
	asNobody(t, base, func() {
		d, err := m.Root.OpenDir(".")
		if err != nil {
			t.Error(err)
			return
		}
		defer d.Close()
		for _, name := range []string{"closed", "nosearch", "open"} {
			if err := d.Mkdir(name, 0o755); err != nil {
				t.Error(err)
			}
			c, err := d.OpenChild(name)
			if err != nil {
				t.Error(err)
				return
			}
			f, err := c.Create("f", 0o200)
			if err != nil {
				t.Error(err)
				return
			}
			f.Close()
			c.Close()
		}
		for name, perm := range map[string]uint32{"closed": 0o300, "nosearch": 0o600} {
			if err := d.Chmod(name, perm); err != nil {
				t.Error(err)
			}
			defer d.Chmod(name, 0o700)
		}
		got := scanTree(t, m, ScanSpec{Header: header(protocol.OptRecursive, ".")})
		if s := strings.Join(got.paths(), " "); s != ". closed nosearch nosearch/f open open/f" {
			t.Error(s)
		}
		for path, want := range map[string]uint8{"closed": protocol.EntryRecurse | protocol.EntryIncomplete, "nosearch": protocol.EntryRecurse, "open": protocol.EntryRecurse} {
			if e := got.find(path); e == nil || e.Flags != want {
				t.Errorf("%s: %+v", path, e)
			}
		}
		if e := got.find("nosearch/f"); e == nil || e.Type != protocol.EntryFailed {
			t.Errorf("%+v", e)
		}
		if len(got.problems) != 2 || len(got.warnings) != 0 {
			t.Errorf("%q %q", got.problems, got.warnings)
		}
		e := got.find("open/f")
		if e == nil || e.Type != protocol.EntryRegular {
			t.Errorf("a file without read permission is found when it is opened: %+v", e)
			return
		}
		if _, err := m.Open(e); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("open: %v", err)
		}
		got = scanTree(t, m, ScanSpec{Header: header(protocol.OptRecursive|protocol.OptChecksum, "open")})
		if e := got.find("open/f"); e == nil || e.Type != protocol.EntryFailed || len(got.problems) != 1 {
			t.Errorf("with a checksum: %+v %q", e, got.problems)
		}
	})
}

func TestScanDoesNotCrossMounts(t *testing.T) {
	base := t.TempDir()
	must(t, os.MkdirAll(base+"/mnt", 0o750))
	must(t, os.MkdirAll(base+"/bind", 0o750))
	must(t, os.MkdirAll(base+"/src/inside", 0o755))
	must(t, os.WriteFile(base+"/filebind", nil, 0o644))
	mount := func(source, target, kind string, flags uintptr) {
		if err := unix.Mount(source, target, kind, flags, ""); err != nil {
			t.Skip("mounting needs root: mount points are left out: ", err)
		}
		t.Cleanup(func() { must(t, unix.Unmount(target, unix.MNT_DETACH)) })
	}
	mount("makuo-test", base+"/mnt", "tmpfs", 0)
	must(t, os.WriteFile(base+"/mnt/foreign", nil, 0o644))
	mount(base+"/src", base+"/bind", "", unix.MS_BIND)
	must(t, os.WriteFile(base+"/src/f", nil, 0o644))
	mount(base+"/src/f", base+"/filebind", "", unix.MS_BIND)
	m := openModule(t, base)
	got := scanTree(t, m, ScanSpec{Header: header(protocol.OptRecursive, ".")})
	if s := strings.Join(got.paths(), " "); s != ". bind filebind mnt src src/f src/inside" {
		t.Error(s)
	}
	for _, p := range []string{"mnt", "bind"} {
		if e := got.find(p); e.Type != protocol.EntryDirectory || e.Flags != protocol.EntryRecurse|protocol.EntryIncomplete {
			t.Errorf("%+v", e)
		}
	}
	if e := got.find("filebind"); e.Type != protocol.EntryFailed {
		t.Errorf("%+v", e)
	}
	if len(got.problems) != 3 {
		t.Errorf("%q", got.problems)
	}
	got = scanTree(t, m, ScanSpec{Header: header(protocol.OptRecursive, "mnt/foreign")})
	if len(got.entries) != 1 || got.entries[0].Type != protocol.EntryFailed || len(got.problems) != 1 {
		t.Errorf("pushed path below a mount point: %+v %q", got.entries, got.problems)
	}
}

// TestScanVanishing changes the tree from inside emit, that is while the
// directory was listed and its later entries were not yet examined.
func TestScanVanishing(t *testing.T) {
	base := t.TempDir()
	for i := range 200 {
		must(t, os.WriteFile(fmt.Sprintf("%s/%03d", base, i), nil, 0o644))
	}
	must(t, os.Mkdir(base+"/x-dir", 0o755))
	must(t, os.Mkdir(base+"/y-dir", 0o755))
	m := openModule(t, base)
	var got scanned
	spec := ScanSpec{Header: header(protocol.OptRecursive, "."), Problem: func(path, text string, warning bool) {
		if warning {
			got.warnings = append(got.warnings, path)
		} else {
			got.problems = append(got.problems, path)
		}
	}}
	must(t, m.Scan(t.Context(), spec, func(b *protocol.Batch) error {
		if b.Number == 0 {
			must(t, os.Remove(base+"/150"))
			must(t, os.Remove(base+"/x-dir"))
			must(t, os.Symlink("/etc", base+"/x-dir"))
			must(t, os.Remove(base+"/y-dir"))
		}
		got.entries = append(got.entries, b.Entries...)
		return nil
	}))
	for _, p := range []string{"150", "x-dir", "y-dir"} {
		if e := got.find(p); e == nil || e.Type != protocol.EntryFailed {
			t.Errorf("%s: %+v", p, e)
		}
	}
	if s := fmt.Sprint(got.warnings, got.problems); s != "[150 y-dir] [x-dir]" {
		t.Error(s)
	}
	if len(got.entries) != 203 {
		t.Errorf("%d entries", len(got.entries))
	}
}

// TestScanNeverLeaves swaps a directory with a link to the outside as fast as
// it can while the tree is scanned and its files are read.
func TestScanNeverLeaves(t *testing.T) {
	base, outside := t.TempDir(), t.TempDir()
	for _, dir := range []string{base + "/d", base + "/d/e", outside, outside + "/e"} {
		must(t, os.MkdirAll(dir, 0o755))
		for i := range 5 {
			must(t, os.WriteFile(fmt.Sprint(dir, "/own", i), []byte("inside"), 0o644))
		}
	}
	must(t, os.WriteFile(outside+"/secret", []byte("secret"), 0o644))
	for i := range 5 {
		must(t, os.WriteFile(fmt.Sprint(outside, "/own", i), []byte("secret"), 0o644))
	}
	must(t, os.Symlink(outside, base+"/link"))
	var stop atomic.Bool
	swapped := make(chan struct{})
	go func() {
		defer close(swapped)
		for !stop.Load() {
			if unix.Renameat2(unix.AT_FDCWD, base+"/d", unix.AT_FDCWD, base+"/link", unix.RENAME_EXCHANGE) != nil {
				return
			}
		}
	}()
	m := openModule(t, base)
	for range 300 {
		err := m.Scan(context.Background(), ScanSpec{Header: header(protocol.OptRecursive, "."), Problem: ignore}, func(b *protocol.Batch) error {
			for i := range b.Entries {
				checkInside(t, m, &b.Entries[i])
			}
			return nil
		})
		must(t, err)
	}
	stop.Store(true)
	<-swapped
}

func checkInside(t *testing.T, m *Module, e *protocol.Entry) {
	if strings.Contains(e.Path, "secret") {
		t.Errorf("the walk left the module: %s", e.Path)
	}
	if e.Type != protocol.EntryRegular {
		return
	}
	f, err := m.Open(e)
	if err != nil {
		return // swapped away
	}
	defer f.Close()
	buf := make([]byte, 10)
	if n, _, err := f.Next(buf); err != nil || string(buf[:n]) != "inside" {
		t.Errorf("%s: %q, %v", e.Path, buf[:n], err)
	}
}

func TestScanXattrs(t *testing.T) {
	base := t.TempDir()
	must(t, os.MkdirAll(base+"/d", 0o755))
	must(t, os.WriteFile(base+"/d/f", nil, 0o644))
	if err := unix.Setxattr(base+"/d/f", "user.b", []byte("2"), 0); err != nil {
		t.Skip("this file system has no attributes: ", err)
	}
	must(t, unix.Setxattr(base+"/d/f", "user.a", nil, 0))
	must(t, unix.Setxattr(base+"/d", "user.dir", make([]byte, 1000), 0))
	root := os.Geteuid() == 0 && unix.Setxattr(base+"/d/f", "trusted.t", []byte("t"), 0) == nil
	m := openModule(t, base)
	got := scanTree(t, m, ScanSpec{Header: header(protocol.OptRecursive, "d")})
	want := "[{trusted.t [116]} {user.a []} {user.b [50]}]"
	if !root {
		t.Log("trusted attributes are left out: they need root")
		want = "[{user.a []} {user.b [50]}]"
	}
	if s := fmt.Sprint(got.find("d/f").Xattrs); s != want {
		t.Errorf("got %s, want %s", s, want)
	}
	if x := got.find("d").Xattrs; len(x) != 1 || x[0].Name != "user.dir" || len(x[0].Value) != 1000 {
		t.Errorf("directory: %v", x)
	}
}

func TestCarriedXattrs(t *testing.T) {
	for name, want := range map[string][2]bool{ // ordinary, privileged
		"user.x": {true, true}, "system.posix_acl_access": {true, true}, "system.posix_acl_default": {true, true},
		"security.capability": {false, true}, "trusted.x": {false, true}, "security.selinux": {false, false},
		"security.ima": {false, false}, "security.evm": {false, false}, "system.nfs4_acl": {false, false}, "username": {false, false},
	} {
		if got := [2]bool{carried(name, false), carried(name, true)}; got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

// TestReadXattrsLimits: what a manifest can't hold is named and left out, and
// the rest is carried.
func TestReadXattrsLimits(t *testing.T) {
	read := func(room int, sizes ...int) (carried int, problem string) {
		s := &scan{spec: ScanSpec{Room: room, Problem: func(_, text string, _ bool) { problem = text }}}
		var names []string
		for i := range sizes {
			names = append(names, fmt.Sprintf("user.%04d", i))
		}
		e := protocol.Entry{Path: "f"}
		s.readXattrs(&e, names, nil, func(name string) ([]byte, error) {
			var i int
			_, err := fmt.Sscanf(name, "user.%d", &i)
			return make([]byte, sizes[i]), err
		})
		if some := e.Flags&protocol.EntrySomeXattrs != 0; some != (problem != "") {
			t.Errorf("flag %v, problem %q", some, problem)
		}
		return len(e.Xattrs), problem
	}
	const whole = protocol.MaxBlock - 8
	for _, c := range []struct {
		room  int
		sizes []int
		want  int
		says  string
	}{
		{whole, make([]int, 300), 300, ""},
		{whole, make([]int, protocol.MaxXattrs), protocol.MaxXattrs, ""},
		{whole, make([]int, protocol.MaxXattrs+5), protocol.MaxXattrs, "user.9364 of 0 bytes is not carried: the attributes of a path are limited to 9362, 143360 bytes together; and 2 more"},
		{whole, []int{protocol.MaxXattrValue}, 1, ""},
		{whole, []int{65536, 10, 65536, 20000, 7}, 4, "user.0003 of 20000 bytes is not carried"},
		{64000, []int{65536, 10, 40000}, 2, "user.0000 of 65536 bytes is not carried"},
	} {
		if n, text := read(c.room, c.sizes...); n != c.want || !strings.Contains(text, c.says) || (text == "") != (c.says == "") {
			t.Errorf("%d attributes in %d bytes: %d are carried: %q", len(c.sizes), c.room, n, text)
		}
	}
}

func TestAccounts(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/p", []byte("root:x:0:0::/:/bin/sh\n#c:x:1:1\n+nis:x:5:5\nbad\nweb:x:33:33:::\nweb2:x:33:1\n:x:7:\nbig:x:4294967296:1\n"), 0o644))
	must(t, os.WriteFile(dir+"/g", []byte("www:x:33:web\n"), 0o644))
	a := newAccounts(dir+"/p", dir+"/g")
	a.refresh()
	for id, want := range map[uint32]string{0: "root", 33: "web", 1: "", 5: "", 7: ""} {
		if o := a.user(id); o.ID != id || o.Name != want {
			t.Errorf("user %d: %+v", id, o)
		}
	}
	if o := a.group(33); o.Name != "www" {
		t.Errorf("%+v", o)
	}
	for o, want := range map[protocol.Owner]uint32{{ID: 1, Name: "web"}: 33, {ID: 9, Name: "web2"}: 33, {ID: 8, Name: "none"}: 8, {ID: 33}: 33} {
		if got := a.userID(o); got != want {
			t.Errorf("%+v: %d, want %d", o, got, want)
		}
	}
	must(t, os.WriteFile(dir+"/g", []byte("nginx:x:33:web\n"), 0o644))
	if a.group(33).Name != "www" {
		t.Error("names changed without refresh")
	}
	a.refresh()
	if a.group(33).Name != "nginx" {
		t.Error("refresh did not see the new file")
	}
	must(t, os.Remove(dir+"/g"))
	a.refresh()
	if a.group(33) != (protocol.Owner{ID: 33}) {
		t.Error("a removed file still has names")
	}
	if u, err := user.LookupId("0"); err == nil {
		host := newAccounts("/etc/passwd", "/etc/group")
		host.refresh()
		if host.user(0).Name != u.Username {
			t.Errorf("user 0 is %q, want %q", host.user(0).Name, u.Username)
		}
	}
}
