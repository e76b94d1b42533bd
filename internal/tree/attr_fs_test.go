package tree

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"makuo/protocol"
)

// loopFS makes a file system of its own in a file, and mounts it.
func loopFS(t *testing.T, size int64, mkfs ...string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("not root: file systems of their own can't be mounted")
	}
	image, dir := filepath.Join(t.TempDir(), "image"), t.TempDir()
	must(t, os.WriteFile(image, nil, 0o600))
	must(t, os.Truncate(image, size))
	if out, err := exec.Command(mkfs[0], append(mkfs[1:], image)...).CombinedOutput(); err != nil {
		t.Skipf("%s: %v: %s", mkfs[0], err, out)
	}
	if out, err := exec.Command("mount", "-o", "loop", image, dir).CombinedOutput(); err != nil {
		t.Skipf("mounting in a loop: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
			unix.Unmount(dir, unix.MNT_DETACH)
		}
	})
	return dir
}

func ext4FS(t *testing.T) string { return loopFS(t, 64<<20, "mkfs.ext4", "-q", "-F", "-b", "4096") }

// tmpFS mounts a tmpfs that keeps user attributes.
func tmpFS(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("makuo-test", dir, "tmpfs", 0, "size=32m"); err != nil {
		t.Skipf("mounting a tmpfs: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	if err := unix.Setxattr(dir, "user.test", []byte("x"), 0); err != nil {
		t.Skipf("user attributes on tmpfs: %v", err)
	}
	must(t, unix.Removexattr(dir, "user.test"))
	return dir
}

func value(t *testing.T, path, name string) []byte {
	t.Helper()
	b := make([]byte, 64<<10)
	n, err := unix.Lgetxattr(path, name, b)
	if err != nil {
		return nil
	}
	return b[:n]
}

// TestAttributesThatDoNotFit: the content arrives and the attribute is the
// error, deletions go on, and the next push has nothing to change.
func TestAttributesThatDoNotFit(t *testing.T) {
	ext4 := ext4FS(t)
	tmp := tmpFS(t)
	src := tmpFS(t)
	plant(t, src, 1000, "d/big big", "d/max max", "d/many many", "d/plain plain", "old/f 1")
	must(t, unix.Setxattr(src+"/d/big", "user.b", bytes.Repeat([]byte("b"), 20000), 0))
	must(t, unix.Setxattr(src+"/d/big", "user.small", []byte("fits"), 0))
	must(t, unix.Setxattr(src+"/d/max", "user.m", bytes.Repeat([]byte("m"), 65536), 0))
	must(t, unix.Setxattr(src+"/old/f", "user.old", bytes.Repeat([]byte("m"), 20000), 0))
	for i := range 300 {
		must(t, unix.Setxattr(src+"/d/many", fmt.Sprintf("user.a%03d", i), []byte("v"), 0))
	}
	for name, dst := range map[string]string{"ext4": ext4, "tmpfs": tmp} {
		plant(t, dst, 1000, "d/gone x", "old/f 1") // its directory and its attribute are to be changed
		p := &pusher{src: openTestModule(t, src), dst: openTestModule(t, dst), options: protocol.OptRecursive | protocol.OptDelete, paths: []string{"d", "old"}}
		p.options |= protocol.OptDryRun
		dry := p.push(t)
		p.options &^= protocol.OptDryRun
		first := p.push(t)
		if !slices.Equal(dry.errors(), first.errors()) {
			t.Errorf("%s: dry run %q, push %q", name, dry.errors(), first.errors())
		}
		for f, want := range map[string]string{"d/big": "big", "d/max": "max", "d/many": "many", "d/plain": "plain"} {
			if b, err := os.ReadFile(filepath.Join(dst, f)); string(b) != want {
				t.Errorf("%s: %s holds %q, %v", name, f, b, err)
			}
		}
		if _, err := os.Lstat(dst + "/d/gone"); err == nil {
			t.Errorf("%s: an attribute kept a deletion back", name)
		}
		if got := string(value(t, dst+"/d/big", "user.small")); got != "fits" {
			t.Errorf("%s: the attribute that fits is %q", name, got)
		}
		errs := first.errors()
		switch {
		case name == "tmpfs" && (len(errs) > 0 || len(value(t, dst+"/d/max", "user.m")) != 65536 || len(value(t, dst+"/d/many", "user.a299")) != 1):
			t.Errorf("tmpfs: %q", errs)
		case name == "ext4" && (!slices.ContainsFunc(errs, func(e string) bool {
			return strings.HasPrefix(e, "d/big: attribute user.b of 20000 bytes can't be set here")
		}) || !slices.ContainsFunc(errs, func(e string) bool { return strings.HasPrefix(e, "old/f: attribute user.old of 20000") })):
			t.Errorf("ext4: %q", errs)
		}
		second := p.push(t)
		if len(second.change) > 0 || !slices.Equal(second.errors(), errs) {
			t.Errorf("%s: the second push changes %q, with errors %q", name, second.change, second.errors())
		}
	}
}

// TestAttributesNotCarried: what the manifest has no room for is named, and a
// member's attribute of that name stays.
func TestAttributesNotCarried(t *testing.T) {
	src, dst := loopFS(t, 320<<20, "mkfs.xfs", "-q", "-f"), tmpFS(t)
	plant(t, src, 1000, "f new")
	plant(t, dst, 1000, "f new")
	for i := range 3 {
		must(t, unix.Setxattr(src+"/f", fmt.Sprintf("user.%d", i), bytes.Repeat([]byte("m"), 65536), 0))
	}
	must(t, unix.Setxattr(dst+"/f", "user.2", []byte("stays"), 0))
	p := &pusher{src: openTestModule(t, src), dst: openTestModule(t, dst), options: protocol.OptRecursive, paths: []string{"f"}}
	o := p.push(t)
	if len(o.srcProblems) != 1 || !strings.Contains(o.srcProblems[0], "user.2 of 65536 bytes is not carried") || len(o.errors()) > 0 {
		t.Errorf("%q %q", o.srcProblems, o.errors())
	}
	if len(value(t, dst+"/f", "user.1")) != 65536 || string(value(t, dst+"/f", "user.2")) != "stays" {
		t.Error("the attributes are others")
	}
	if o := p.push(t); len(o.change) > 0 {
		t.Errorf("the second push changes %q", o.change)
	}
}

// asUser runs f as user and group 2001 with supplementary groups.
func asUser(t *testing.T, groups []uint32, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("not root: becoming somebody else is not tested")
	}
	const user = 2001
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		call := func(trap uintptr, a, b, c uintptr) {
			if _, _, errno := syscall.RawSyscall(trap, a, b, c); errno != 0 {
				t.Errorf("giving up privileges: %v", errno)
				runtime.Goexit()
			}
		}
		setGroups(call, groups)
		call(unix.SYS_SETRESGID, user, user, user)
		call(unix.SYS_SETRESUID, user, user, user)
		f()
	}()
	<-done
}

func modeAndOwner(t *testing.T, path string) string {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Lstat(path, &st))
	return fmt.Sprintf("%o %d:%d", st.Mode&0o7777, st.Uid, st.Gid)
}

// TestGroupsWithoutRoot: files keep groups that the daemon is a member of,
// setgid directories hand theirs down, and what can't be given is said once.
func TestGroupsWithoutRoot(t *testing.T) {
	src, base := t.TempDir(), shared(t)
	plant(t, src, 1000, "config.php secret", "cache/", "cache/a a", "cache/sub/", "cache/sub/b b", "strange/f f", "strange/g g", "link -> cache")
	for path, gid := range map[string]int{"config.php": 3000, "cache": 3000, "cache/a": 3000, "cache/sub": 5000, "cache/sub/b": 5000, "strange": 5000, "strange/f": 5000, "strange/g": 5000, "link": 3000} {
		must(t, os.Lchown(filepath.Join(src, path), 2001, gid))
	}
	must(t, os.Chmod(src+"/config.php", 0o640))
	must(t, os.Chmod(src+"/cache", 0o770|os.ModeSetgid))
	must(t, os.Chmod(src+"/cache/sub", 0o750|os.ModeSetgid))
	plant(t, base, 1000, "t/x x")
	must(t, os.Chown(base, 2001, 2001))
	must(t, os.Chown(base+"/t", 2001, 3000))
	must(t, os.Chmod(base+"/t", 0o775|os.ModeSetgid))
	must(t, os.Chmod(src, 0o775|os.ModeSetgid))
	must(t, os.Chown(src, 2001, 3000))
	must(t, os.Rename(src, src+"-base"))
	must(t, os.Mkdir(src, 0o755))
	must(t, os.Rename(src+"-base", src+"/t"))
	from := openTestModule(t, src)
	asUser(t, []uint32{3000}, func() {
		p := &pusher{src: from, dst: openTestModule(t, base), options: protocol.OptRecursive, paths: []string{"t"}}
		for try := range 2 {
			o := p.push(t)
			if try == 1 && len(o.change) > 0 {
				t.Errorf("the second push changes %q", o.change)
			}
			if len(o.problems) != 1 || !o.problems[0].Warning || !strings.Contains(o.problems[0].Text, "group 5000") {
				t.Errorf("push %d: %v", try, o.problems)
			}
		}
	})
	for path, want := range map[string]string{
		"t": "2775 2001:3000", "t/config.php": "640 2001:3000", "t/cache": "2770 2001:3000", "t/cache/a": "644 2001:3000",
		"t/cache/sub": "2750 2001:3000", "t/cache/sub/b": "644 2001:3000", "t/link": "777 2001:3000",
		"t/strange": "755 2001:3000", "t/strange/f": "644 2001:2001",
	} {
		if got := modeAndOwner(t, filepath.Join(base, path)); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
}

// acl is an ACL by which user 2002 gets all, the group what group says.
func acl(group byte) []byte {
	b := []byte{2, 0, 0, 0}
	for _, e := range [][2]byte{{1, 7}, {2, 7}, {4, group}, {0x10, 7}, {0x20, 0}} {
		id := uint32(0xffffffff)
		if e[0] == 2 {
			id = 2002
		}
		b = binary.LittleEndian.AppendUint32(append(b, e[0], 0, e[1], 0), id)
	}
	return b
}

// TestACLThatIsLeftOut: without the ACL the group does not get what the ACL's
// mask allowed to others.
func TestACLThatIsLeftOut(t *testing.T) {
	src, dst := ext4FS(t), t.TempDir()
	if err := unix.Mount("makuo-test", dst, "ramfs", 0, ""); err != nil {
		t.Skipf("a file system without ACLs: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dst, unix.MNT_DETACH) })
	plant(t, src, 1000, "t/new 1", "t/old 1", "t/dir/x 1")
	for path, group := range map[string]byte{"new": 0, "old": 4, "dir": 5} {
		must(t, unix.Setxattr(src+"/t/"+path, aclAccess, acl(group), 0))
	}
	plant(t, dst, 1000, "t/old 1")
	p := &pusher{src: openTestModule(t, src), dst: openTestModule(t, dst), options: protocol.OptRecursive, paths: []string{"t"}}
	for try := range 2 {
		o := p.push(t)
		if len(o.problems) != 1 || !o.problems[0].Warning || !strings.Contains(o.problems[0].Text, "posix_acl") || try == 1 && len(o.change) > 0 {
			t.Errorf("push %d: %v, changes %q", try, o.problems, o.change)
		}
	}
	for path, want := range map[string]string{"new": "700 0:0", "old": "740 0:0", "dir": "750 0:0"} {
		if got := modeAndOwner(t, dst+"/t/"+path); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
}

// TestOwnersBeforeCapabilities: a change of owner takes setuid, setgid and
// capabilities away; they are set behind it. Ids may be any.
func TestOwnersBeforeCapabilities(t *testing.T) {
	src, dst := ext4FS(t), ext4FS(t)
	const far = 3_000_000_000
	caps := []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	plant(t, src, 1000, "t/cap 1", "t/suid 1", "t/new 1")
	plant(t, dst, 1000, "t/cap 1", "t/suid 1")
	for _, base := range []string{src, dst} {
		id := far
		if base == dst {
			id = 7
		}
		for _, name := range []string{"cap", "suid", "new"} {
			if base == dst && name == "new" {
				continue
			}
			path := base + "/t/" + name
			must(t, os.Chown(path, id, id))
			if name != "suid" {
				must(t, unix.Setxattr(path, "security.capability", caps, 0))
			}
			if name != "cap" {
				must(t, os.Chmod(path, 0o755|os.ModeSetuid|os.ModeSetgid))
			}
		}
	}
	p := &pusher{src: openTestModule(t, src), dst: openTestModule(t, dst), options: protocol.OptRecursive, paths: []string{"t"}}
	for try := range 2 {
		if o := p.push(t); len(o.problems) > 0 || try == 1 && len(o.change) > 0 {
			t.Errorf("push %d: %v, changes %q", try, o.problems, o.change)
		}
	}
	for path, want := range map[string]string{"cap": "644", "suid": "6755", "new": "6755"} {
		if got := modeAndOwner(t, dst+"/t/"+path); got != fmt.Sprintf("%s %d:%d", want, far, far) {
			t.Errorf("%s is %s", path, got)
		}
		if has := len(value(t, dst+"/t/"+path, "security.capability")) > 0; has != (path != "suid") {
			t.Errorf("%s has capabilities: %v", path, has)
		}
	}
}

// TestPrivilegedAttributesWithoutRoot: the content arrives, and one warning says
// what is left out.
func TestPrivilegedAttributesWithoutRoot(t *testing.T) {
	src, base := ext4FS(t), shared(t)
	plant(t, src, 1000, "t/a 1", "t/b 1")
	for _, name := range []string{"a", "b"} {
		must(t, unix.Setxattr(src+"/t/"+name, "trusted.t", []byte("v"), 0))
	}
	must(t, filepath.WalkDir(src+"/t", func(path string, _ os.DirEntry, _ error) error { return os.Lchown(path, 2001, 2001) }))
	must(t, os.Chown(base, 2001, 2001))
	from := openTestModule(t, src)
	var manifest []protocol.Batch
	must(t, from.Scan(context.Background(), ScanSpec{Header: &protocol.PushHeader{Paths: []string{"t"}, Options: protocol.OptRecursive}, Problem: func(string, string, bool) {}},
		func(b *protocol.Batch) error { manifest = append(manifest, *b); return nil }))
	asUser(t, nil, func() {
		tg, err := openTestModule(t, base).Begin(protocol.PushID{Start: 1}, &protocol.PushHeader{Module: "default", Name: "o", Paths: []string{"t"}, Options: protocol.OptRecursive | protocol.OptDryRun})
		must(t, err)
		for i := range manifest {
			_, _, err := tg.Compare(&manifest[i])
			must(t, err)
		}
		must(t, tg.EndCompare())
		var o outcome
		o.collect(t, tg)
		tg.Close()
		if len(o.problems) != 1 || !o.problems[0].Warning || !strings.Contains(o.problems[0].Text, "trusted.*") {
			t.Errorf("%v", o.problems)
		}
	})
}
