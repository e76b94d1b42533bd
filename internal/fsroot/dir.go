package fsroot

import (
	"errors"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
)

// Dir is one open directory. Every method takes exactly one name, never a
// path; ErrName refuses anything else. Nothing follows a symbolic link.
//
// A Dir is reference counted: whoever got it from OpenDir, OpenChild or
// Root.Dir calls Close once. Any number of goroutines may use it.
type Dir struct {
	root     *Root
	path     string
	fd       int
	pathOnly bool // may be searched but not read
	refs     atomic.Int32
	listing  sync.Mutex // the descriptor has one position
	listed   bool       // that was moved
}

var (
	errDirent = errors.New("the kernel returned a malformed directory entry")
	errClosed = errors.New("fsroot: a Dir was closed more often than it was opened")
)

func newDir(r *Root, path string, fd int, pathOnly bool) *Dir {
	d := &Dir{root: r, path: path, fd: fd, pathOnly: pathOnly}
	d.refs.Store(1)
	return d
}

func (d *Dir) retain() { d.refs.Add(1) }

// Close gives the caller's reference back; the last one closes the directory.
// Closing too often panics.
func (d *Dir) Close() error {
	switch n := d.refs.Add(-1); {
	case n > 0:
		return nil
	case n < 0:
		panic(errClosed)
	}
	return d.selfError("close", sysClose(d.fd))
}

// Path returns the path below the root that the directory was opened by.
func (d *Dir) Path() string { return d.path }

// Root returns the root that the directory was opened from.
func (d *Dir) Root() *Root { return d.root }

func join(dir, name string) string {
	if dir == "." {
		return name
	}
	return dir + "/" + name
}

func (d *Dir) error(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: join(d.path, name), Err: err}
}

func (d *Dir) selfError(op string, err error) error { return d.root.error(op, d.path, err) }

// Names reads the whole directory. On an error it returns the names it got
// with it.
func (d *Dir) Names() (*Names, error) {
	n := new(Names)
	return n, d.ReadNames(n)
}

// ReadNames is Names into memory that the caller reuses.
func (d *Dir) ReadNames(n *Names) error {
	n.Reset()
	if d.pathOnly {
		return d.selfError("readdir", fs.ErrPermission)
	}
	buf := direntBufs.Get().(*[direntBuf]byte)
	defer direntBufs.Put(buf)
	err := d.readNames(n, buf[:])
	n.sort()
	return d.selfError("readdir", err)
}

func (d *Dir) readNames(n *Names, buf []byte) error {
	d.listing.Lock()
	defer d.listing.Unlock()
	if d.listed {
		if err := sysRewind(d.fd); err != nil {
			return err
		}
	}
	d.listed = true
	for {
		got, err := sysGetdents(d.fd, buf)
		if err != nil || got == 0 {
			return err
		}
		if err := n.parseDirents(buf[:got]); err != nil {
			return err
		}
	}
}

// Stat fills st with what name is. It allocates nothing unless it fails.
func (d *Dir) Stat(name string, st *Stat) error {
	if !validName(name) {
		return d.error("lstat", name, ErrName)
	}
	if err := sysStat(d.fd, name, st); err != nil {
		return d.error("lstat", name, err)
	}
	return nil
}

// Lstat returns what name is.
func (d *Dir) Lstat(name string) (st Stat, err error) {
	err = d.Stat(name, &st)
	return st, err
}

// LstatSelf returns what the directory itself is.
func (d *Dir) LstatSelf() (st Stat, err error) {
	return st, d.selfError("lstat", sysStat(d.fd, "", &st))
}

// OpenChild opens the directory name in d, with the errors of Root.OpenDir.
func (d *Dir) OpenChild(name string) (*Dir, error) {
	if !validName(name) {
		return nil, d.error("open", name, ErrName)
	}
	fd, pathOnly, err := d.root.openBeneath(d.fd, name)
	if err != nil {
		return nil, d.error("open", name, err)
	}
	return newDir(d.root, join(d.path, name), fd, pathOnly), nil
}

// OpenPath holds name, whatever it is, and not only a directory: the methods of
// the Dir it returns that end in Self look at and change just that, whatever
// takes its name meanwhile. Others fail. A link is held itself.
func (d *Dir) OpenPath(name string) (*Dir, error) {
	if !validName(name) {
		return nil, d.error("open", name, ErrName)
	}
	fd, err := sysOpenPath(d.fd, name)
	if err != nil {
		return nil, d.error("open", name, err)
	}
	return newDir(d.root, join(d.path, name), fd, true), nil
}

// Readlink returns the target of the symbolic link name.
func (d *Dir) Readlink(name string) (string, error) {
	if !validName(name) {
		return "", d.error("readlink", name, ErrName)
	}
	target, err := sysReadlink(d.fd, name)
	return target, d.error("readlink", name, err)
}

func (d *Dir) open(op, name string, open func(fd int, name string) (int, error)) (*os.File, error) {
	if !validName(name) {
		return nil, d.error(op, name, ErrName)
	}
	fd, err := open(d.fd, name)
	if err != nil {
		return nil, d.error(op, name, err)
	}
	return os.NewFile(uintptr(fd), join(d.path, name)), nil
}

// OpenRead opens name for reading without touching its access time where that
// is permitted. It never blocks, whatever name is: the caller looks at the
// type of what it got. A symbolic link is ErrSymlink.
func (d *Dir) OpenRead(name string) (*os.File, error) {
	return d.open("open", name, sysOpenRead)
}

// OpenReadFD is OpenRead that returns the bare descriptor: the runtime's
// poller does not learn of it, which spares two system calls a file.
func (d *Dir) OpenReadFD(name string) (int, error) {
	if !validName(name) {
		return -1, d.error("open", name, ErrName)
	}
	fd, err := sysOpenRead(d.fd, name)
	return fd, d.error("open", name, err)
}

// OpenWrite opens the existing file name for writing, without truncating it.
func (d *Dir) OpenWrite(name string) (*os.File, error) {
	return d.open("open for writing", name, sysOpenWrite)
}

// Create makes the new file name and opens it for reading and writing. perm is
// subject to the umask. If anything has that name, it is fs.ErrExist.
func (d *Dir) Create(name string, perm uint32) (*os.File, error) {
	return d.open("create", name, func(fd int, name string) (int, error) { return sysCreate(fd, name, perm) })
}

// Writable returns why no name can be made or removed in d by this process, as
// far as the kernel says so beforehand: a read-only file system, permissions, an
// immutable directory.
func (d *Dir) Writable() error { return d.selfError("change names in", sysWritable(d.fd)) }

// one runs an operation on one name.
func (d *Dir) one(op, name string, f func(fd int, name string) error) error {
	if !validName(name) {
		return d.error(op, name, ErrName)
	}
	return d.error(op, name, f(d.fd, name))
}

// Mkdir makes the directory name; perm is subject to the umask.
func (d *Dir) Mkdir(name string, perm uint32) error {
	return d.one("mkdir", name, func(fd int, name string) error { return sysMkdir(fd, name, perm) })
}

// Symlink makes the symbolic link name that points to target, whatever that is.
func (d *Dir) Symlink(target, name string) error {
	return d.one("symlink", name, func(fd int, name string) error { return sysSymlink(target, fd, name) })
}

// Mkfifo makes the fifo name; perm is subject to the umask.
func (d *Dir) Mkfifo(name string, perm uint32) error { return d.Mknod(name, TypeFIFO|perm&0o7777, 0) }

// Mknod makes the node name; mode holds type and permissions, which are
// subject to the umask.
func (d *Dir) Mknod(name string, mode uint32, rdev uint64) error {
	return d.one("mknod", name, func(fd int, name string) error { return sysMknod(fd, name, mode, rdev) })
}

// Remove removes name, which is not a directory.
func (d *Dir) Remove(name string) error { return d.one("remove", name, sysUnlink) }

// Rmdir removes the empty directory name.
func (d *Dir) Rmdir(name string) error { return d.one("rmdir", name, sysRmdir) }

// two runs an operation on two names.
func (d *Dir) two(op, a string, other *Dir, b string, f func() error) error {
	if !validName(a) {
		return d.error(op, a, ErrName)
	}
	if !validName(b) {
		return other.error(op, b, ErrName)
	}
	if err := f(); err != nil {
		return &os.LinkError{Op: op, Old: join(d.path, a), New: join(other.path, b), Err: err}
	}
	return nil
}

// Link makes name in d a hard link to old in from; a symbolic link old is
// linked itself. Errors of two names are *os.LinkError.
func (d *Dir) Link(from *Dir, old, name string) error {
	return from.two("link", old, d, name, func() error { return sysLink(from.fd, old, d.fd, name) })
}

// Rename moves old in d to name in to, in place of what has that name.
func (d *Dir) Rename(old string, to *Dir, name string) error {
	return d.two("rename", old, to, name, func() error { return sysRename(d.fd, old, to.fd, name, 0) })
}

// RenameNoReplace is Rename, but fs.ErrExist if name is there. ErrUnsupported
// where the file system lacks it.
func (d *Dir) RenameNoReplace(old string, to *Dir, name string) error {
	return d.two("rename", old, to, name, func() error { return sysRename(d.fd, old, to.fd, name, renameNoReplace) })
}

// Exchange swaps old in d and name in to at one instant; both must be there.
// ErrUnsupported where the file system lacks it (and, as the kernel does not
// tell these apart, where one is an ancestor of the other).
func (d *Dir) Exchange(old string, to *Dir, name string) error {
	return d.two("exchange", old, to, name, func() error { return sysRename(d.fd, old, to.fd, name, renameExchange) })
}

// Sync writes the directory, that is the names in it, to disk.
func (d *Dir) Sync() error {
	if d.pathOnly {
		return d.selfError("fsync", fs.ErrPermission)
	}
	return d.selfError("fsync", sysFsync(d.fd))
}
