package fsroot

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestLstatAgainstOS(t *testing.T) {
	r := openRoot(t, t.TempDir())
	d := openDir(t, r, ".")
	must(t, os.WriteFile(r.Path()+"/f", make([]byte, 5000), 0o640))
	must(t, os.Chtimes(r.Path()+"/f", time.Now(), time.Unix(-5, 7)))
	must(t, d.Symlink("f", "l"))
	must(t, d.Mkdir("d", 0o711))
	must(t, d.Mkfifo("p", 0o600))
	must(t, d.Link(d, "f", "f2"))
	for _, old := range []bool{false, true} {
		statxMissing.Store(old)
		defer statxMissing.Store(false)
		for _, name := range []string{"f", "l", "d", "p", "f2", ""} {
			info, err := os.Lstat(r.Path() + "/" + name)
			must(t, err)
			s := info.Sys().(*syscall.Stat_t)
			want := Stat{Dev: s.Dev, Ino: s.Ino, Nlink: uint64(s.Nlink), Mode: s.Mode, UID: s.Uid, GID: s.Gid, Size: s.Size,
				Sec: s.Mtim.Sec, Nsec: uint32(s.Mtim.Nsec), CSec: s.Ctim.Sec, CNsec: uint32(s.Ctim.Nsec), Rdev: s.Rdev, Blocks: s.Blocks}
			got, err := d.LstatSelf()
			if name != "" {
				got, err = d.Lstat(name)
			}
			must(t, err)
			if got != want {
				t.Errorf("%q:\n got %+v\nwant %+v", name, got, want)
			}
		}
	}
	for _, name := range []string{"", ".", "..", "d/x", "/etc", "a\x00", string(make([]byte, 256))} {
		if _, err := d.Lstat(name); !errors.Is(err, ErrName) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := d.Lstat("none"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestStatAllocatesNothing(t *testing.T) {
	r := openRoot(t, t.TempDir())
	d := openDir(t, r, ".")
	must(t, d.Mkdir("name", 0o755))
	var st Stat
	if n := testing.AllocsPerRun(100, func() {
		if d.Stat("name", &st) != nil {
			t.Fail()
		}
	}); n != 0 {
		t.Errorf("Stat: %v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() {
		if names, err := d.ListXattr("name"); err != nil || names != nil {
			t.Fail()
		}
	}); n != 0 && xattrAt() {
		t.Errorf("ListXattr: %v allocations", n)
	}
}

func TestFiles(t *testing.T) {
	r := openRoot(t, t.TempDir())
	d := openDir(t, r, ".")
	f, err := d.Create("f", 0o600)
	must(t, err)
	_, err = f.WriteString("hello")
	must(t, err)
	if st, err := StatFile(f); err != nil || st.Size != 5 {
		t.Error(st, err)
	}
	must(t, UtimesFile(f, 77, 8))
	must(t, f.Close())
	if _, err := d.Create("f", 0o600); !errors.Is(err, fs.ErrExist) {
		t.Errorf("created twice: %v", err)
	}
	w, err := d.OpenWrite("f")
	must(t, err)
	_, err = w.WriteAt([]byte("J"), 0)
	must(t, err)
	must(t, w.Close())
	in, err := d.OpenRead("f")
	must(t, err)
	b, err := io.ReadAll(in)
	must(t, err)
	must(t, in.Close())
	if string(b) != "Jello" {
		t.Errorf("%q", b)
	}
	must(t, d.Symlink("f", "l"))
	for _, open := range []func(string) (*os.File, error){d.OpenRead, d.OpenWrite} {
		if _, err := open("l"); !errors.Is(err, ErrSymlink) {
			t.Errorf("opened through a link: %v", err)
		}
	}
	if _, err := d.Create("l", 0o600); !errors.Is(err, fs.ErrExist) {
		t.Errorf("created through a link: %v", err)
	}
	if s, err := d.Readlink("l"); s != "f" || err != nil {
		t.Error(s, err)
	}
	must(t, d.Mkfifo("p", 0o600)) // would block without O_NONBLOCK
	p, err := d.OpenRead("p")
	must(t, err)
	must(t, p.Close())
	must(t, d.Remove("p"))
	if err := d.Remove("p"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	must(t, d.Sync())
	must(t, r.SyncFS())
}

func TestRenames(t *testing.T) {
	r := openRoot(t, t.TempDir())
	d := openDir(t, r, ".")
	must(t, d.Mkdir("sub", 0o755))
	sub := openDir(t, r, "sub")
	must(t, os.WriteFile(r.Path()+"/a", []byte("a"), 0o644))
	must(t, os.WriteFile(r.Path()+"/b", []byte("b"), 0o644))
	read := func(path string) string {
		b, _ := os.ReadFile(r.Path() + "/" + path)
		return string(b)
	}
	if err := d.RenameNoReplace("a", d, "b"); errors.Is(err, ErrUnsupported) {
		t.Log("no-replace and exchange are left out: ", err)
	} else {
		if !errors.Is(err, fs.ErrExist) || read("b") != "b" {
			t.Error(err)
		}
		must(t, d.Exchange("a", d, "b"))
		if read("a")+read("b") != "ba" {
			t.Errorf("after exchange: %s %s", read("a"), read("b"))
		}
		must(t, d.RenameNoReplace("a", sub, "a"))
		must(t, sub.Rename("a", d, "a"))
	}
	must(t, d.Rename("a", sub, "c"))
	must(t, sub.Link(d, "b", "d"))
	if read("sub/c") == "" || read("sub/d") != read("b") {
		t.Error("rename or link lost something")
	}
	for _, err := range []error{
		d.Rename("../x", d, "y"), d.Rename("b", sub, "../y"), sub.Link(d, "b", "../z"), d.Exchange("b", sub, "x/y"),
		d.Mkdir("../m", 0o755), d.Remove("sub/c"), d.Rmdir(".."), d.Symlink("x", "a/b"), d.RemoveTree(".."), d.Chmod("..", 0), d.Utimes(".", 0, 0),
		d.SetXattr("a/b", "user.x", nil), d.Chown("..", 0, 0),
	} {
		if !errors.Is(err, ErrName) {
			t.Errorf("more than a name was taken: %v", err)
		}
	}
}

// oldAndNew runs a test on the calls of this kernel and on those of old ones.
func oldAndNew(t *testing.T, f func(t *testing.T)) {
	t.Run("new", f)
	oldChmod.Store(true)
	oldXattr.Store(true)
	defer oldChmod.Store(false)
	defer oldXattr.Store(false)
	t.Run("old", f)
}

func TestAttributes(t *testing.T) {
	oldAndNew(t, func(t *testing.T) {
		r := openRoot(t, t.TempDir())
		d := openDir(t, r, ".")
		must(t, os.WriteFile(r.Path()+"/f", nil, 0o600))
		must(t, d.Symlink("f", "l"))
		must(t, d.Chmod("f", 0o4751))
		if st, _ := d.Lstat("f"); st.Perm() != 0o4751 {
			t.Errorf("mode %o", st.Perm())
		}
		if err := d.Chmod("l", 0o777); !errors.Is(err, ErrUnsupported) {
			t.Errorf("chmod of a link: %v", err)
		}
		if st, _ := d.Lstat("f"); st.Perm() != 0o4751 {
			t.Error("chmod followed a link")
		}
		must(t, d.Utimes("l", 5, 6))
		must(t, d.Utimes("f", -7, 999999999))
		l, _ := d.Lstat("l")
		f, _ := d.Lstat("f")
		if l.Sec != 5 || l.Nsec != 6 || f.Sec != -7 || f.Nsec != 999999999 {
			t.Errorf("times %d.%d %d.%d", l.Sec, l.Nsec, f.Sec, f.Nsec)
		}
		must(t, d.Chown("l", os.Geteuid(), -1))
		must(t, d.ChownSelf(-1, os.Getegid()))
		must(t, d.ChmodSelf(0o700))
		must(t, d.UtimesSelf(8, 9))
		if st, _ := d.LstatSelf(); st.Sec != 8 || st.Nsec != 9 || st.Perm() != 0o700 {
			t.Errorf("self: %+v", st)
		}
		if os.Geteuid() == 0 {
			must(t, d.Chown("l", 12, 34))
			l, _ = d.Lstat("l")
			if f, _ = d.Lstat("f"); l.UID != 12 || l.GID != 34 || f.UID != 0 {
				t.Errorf("owners: %+v %+v", l, f)
			}
		}
	})
}

func TestXattrs(t *testing.T) {
	oldAndNew(t, func(t *testing.T) {
		r := openRoot(t, t.TempDir())
		d := openDir(t, r, ".")
		must(t, os.WriteFile(r.Path()+"/f", nil, 0o600))
		must(t, d.Symlink("f", "l"))
		if err := d.SetXattr("f", "user.b", []byte("value")); errors.Is(err, ErrUnsupported) {
			t.Skip("this file system has no attributes: ", err)
		}
		must(t, d.SetXattr("f", "user.a", nil))
		long := make([]byte, 3000)
		must(t, d.SetXattr("f", "user.b", long))
		names, err := d.ListXattr("f")
		must(t, err)
		if !slices.Equal(names, []string{"user.a", "user.b"}) {
			t.Errorf("%q", names)
		}
		v, err := d.GetXattr("f", "user.b")
		if err != nil || len(v) != len(long) {
			t.Error(len(v), err)
		}
		if v, err = d.GetXattr("f", "user.a"); err != nil || len(v) != 0 {
			t.Error(v, err)
		}
		if names, err := d.ListXattr("l"); err != nil || names != nil {
			t.Errorf("listing followed a link: %q %v", names, err)
		}
		if err := d.SetXattr("l", "user.x", nil); err == nil {
			t.Error("setting followed a link")
		}
		must(t, d.RemoveXattr("f", "user.b"))
		if _, err := d.GetXattr("f", "user.b"); !errors.Is(err, ErrNoXattr) {
			t.Errorf("a removed attribute: %v", err)
		}
		for i := range 60 { // more names than the first buffer holds
			must(t, d.SetXattr("f", "user.with-a-long-name-"+string(rune('A'+i)), nil))
		}
		if names, err := d.ListXattr("f"); err != nil || len(names) != 61 {
			t.Errorf("%d names, %v", len(names), err)
		}
		must(t, d.SetXattrSelf("user.self", []byte("s")))
		if names, err := d.ListXattrSelf(); err != nil || !slices.Equal(names, []string{"user.self"}) {
			t.Error(names, err)
		}
		if v, err := d.GetXattrSelf("user.self"); err != nil || string(v) != "s" {
			t.Error(v, err)
		}
		must(t, d.RemoveXattrSelf("user.self"))
		file, err := d.OpenWrite("f")
		must(t, err)
		defer file.Close()
		must(t, SetXattrFile(file, "user.a", []byte("file")))
		if v, err := GetXattrFile(file, "user.a"); err != nil || string(v) != "file" {
			t.Error(v, err)
		}
		must(t, RemoveXattrFile(file, "user.a"))
		if names, err := ListXattrFile(file); err != nil || len(names) != 60 {
			t.Error(len(names), err)
		}
	})
}

func TestRemoveTree(t *testing.T) {
	bothWays(t, func(t *testing.T, r *Root) {
		outside := t.TempDir()
		must(t, os.WriteFile(outside+"/keep", nil, 0o644))
		must(t, os.MkdirAll(r.Path()+"/t/a/b/c", 0o755))
		must(t, os.WriteFile(r.Path()+"/t/a/f", nil, 0o644))
		must(t, os.Symlink(outside, r.Path()+"/t/a/link"))
		must(t, os.Chmod(r.Path()+"/t/a/b", 0o100))
		d := openDir(t, r, ".")
		must(t, d.RemoveTree("t"))
		must(t, d.RemoveTree("t"))
		if _, err := d.Lstat("t"); !errors.Is(err, fs.ErrNotExist) {
			t.Error("the tree is still there")
		}
		must(t, d.Symlink(outside, "l"))
		must(t, d.RemoveTree("l"))
		if _, err := os.Stat(outside + "/keep"); err != nil {
			t.Error("a link was followed")
		}
	})
}

// TestRemoveTreeMakesWritable needs a user whom permissions hold back: a test
// with privileges gives them up on a thread of its own.
func TestRemoveTreeMakesWritable(t *testing.T) {
	const nobody = 65534
	r := openRoot(t, t.TempDir())
	d := openDir(t, r, ".")
	root := os.Geteuid() == 0
	if root {
		must(t, d.ChownSelf(nobody, nobody))
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if root {
			runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
			if _, _, errno := syscall.RawSyscall(unix.SYS_SETRESUID, nobody, nobody, nobody); errno != 0 {
				t.Errorf("giving up privileges: %v", errno)
				return
			}
		}
		if err := closedTree(d); err != nil {
			t.Error(err)
		} else if err := d.RemoveTree("t"); err != nil {
			t.Error(err)
		}
	}()
	<-done
}

// closedTree makes t/a, t/b with a file and closes b for reading and t for writing.
func closedTree(d *Dir) error {
	if err := d.Mkdir("t", 0o755); err != nil {
		return err
	}
	t, err := d.OpenChild("t")
	if err != nil {
		return err
	}
	defer t.Close()
	for _, name := range []string{"a", "b"} {
		if err := t.Mkdir(name, 0o755); err != nil {
			return err
		}
	}
	return errors.Join(t.Chmod("b", 0o300), t.ChmodSelf(0o500))
}

func TestMountsAreRefused(t *testing.T) {
	bothWays(t, func(t *testing.T, r *Root) {
		must(t, os.MkdirAll(r.Path()+"/t/mnt/x", 0o755))
		must(t, os.MkdirAll(r.Path()+"/t/bind", 0o755))
		must(t, os.MkdirAll(r.Path()+"/t/same/x", 0o755))
		mount := func(source, target, kind string, flags uintptr) {
			if err := unix.Mount(source, target, kind, flags, ""); err != nil {
				t.Skip("mounting needs root: mount points are left out: ", err)
			}
			t.Cleanup(func() { must(t, unix.Unmount(target, unix.MNT_DETACH)) })
		}
		mount("makuo-test", r.Path()+"/t/mnt", "tmpfs", 0)
		mount(r.Path()+"/t/same", r.Path()+"/t/bind", "", unix.MS_BIND) // the same device number
		must(t, os.Mkdir(r.Path()+"/t/mnt/x", 0o755))
		must(t, os.WriteFile(r.Path()+"/t/mnt/keep", nil, 0o644))
		d := openDir(t, r, "t")
		for _, name := range []string{"mnt", "bind"} {
			if _, err := d.OpenChild(name); !errors.Is(err, ErrMount) {
				t.Errorf("%s: %v", name, err)
			}
			if _, err := r.OpenDir("t/" + name + "/x"); !errors.Is(err, ErrMount) {
				t.Errorf("below %s: %v", name, err)
			}
			if st, err := d.Lstat(name); err != nil || !st.Mount {
				t.Errorf("%s: %+v %v", name, st, err)
			}
		}
		if err := openDir(t, r, ".").RemoveTree("t"); !errors.Is(err, ErrMount) {
			t.Errorf("RemoveTree: %v", err)
		}
		if _, err := os.Stat(r.Path() + "/t/mnt/keep"); err != nil {
			t.Error("RemoveTree crossed a mount point")
		}
	})
}

func TestCheck(t *testing.T) {
	base := t.TempDir() + "/r"
	must(t, os.Mkdir(base, 0o755))
	r := openRoot(t, base)
	must(t, r.Check())
	must(t, os.Rename(base, base+"2"))
	if err := r.Check(); !errors.Is(err, ErrMoved) {
		t.Errorf("renamed: %v", err)
	}
	must(t, os.Mkdir(base, 0o755))
	if err := r.Check(); !errors.Is(err, ErrMoved) {
		t.Errorf("replaced: %v", err)
	}
}

func TestStatfs(t *testing.T) {
	r := openRoot(t, t.TempDir())
	var want unix.Statfs_t
	must(t, unix.Statfs(r.Path(), &want))
	got, err := r.Statfs()
	must(t, err)
	if got.AllBytes != want.Blocks*uint64(want.Frsize) || got.AllInodes != want.Files || got.Bytes > got.AllBytes {
		t.Errorf("%+v", got)
	}
}
