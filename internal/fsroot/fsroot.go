package fsroot

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"
)

// Errors that io/fs has no name for.
var (
	// ErrSymlink: a component, or the entry to be opened, is a symbolic link.
	ErrSymlink = errors.New("is a symbolic link, which is not followed")
	// ErrMount: a component is a mount point.
	ErrMount = errors.New("is a mount point, which is not crossed")
	// ErrNotDir: a component is there but is no directory.
	ErrNotDir = errors.New("is not a directory")
	// ErrName: the argument is not exactly one name, or not a clean relative path.
	ErrName = errors.New("is not a valid name here")
	// ErrMoved: the root's path leads to another directory than at Open.
	ErrMoved = errors.New("was removed, renamed or replaced since it was opened; restart the daemon to serve what is there now")
	// ErrUnsupported: the kernel or this file system lacks the operation.
	ErrUnsupported = errors.ErrUnsupported
)

// Root is a directory that is held open. Its methods may be called by any
// goroutine until Close.
type Root struct {
	path    string
	fd      int
	dev     uint64
	ino     uint64
	openat2 atomic.Bool // cleared for good when the kernel, or a seccomp filter, refuses it
	cache   cache
}

// Open opens the directory at path, which must be absolute. Symbolic links in
// path itself are followed: it comes from the administrator.
func Open(path string) (*Root, error) {
	if !filepath.IsAbs(path) {
		return nil, &fs.PathError{Op: "open", Path: path, Err: errors.New("the path is not absolute")}
	}
	fd, err := sysOpenRoot(path)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	var st Stat
	if err := sysStat(fd, "", &st); err != nil {
		sysClose(fd)
		return nil, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	r := &Root{path: filepath.Clean(path), fd: fd, dev: st.Dev, ino: st.Ino}
	r.openat2.Store(true)
	r.cache.init(cacheSize)
	return r, nil
}

// AsRoot returns a root that is the directory d itself, whatever its name leads
// to later. The caller closes it; d stays the caller's too.
func (d *Dir) AsRoot() (*Root, error) {
	fd, err := sysOpenSelf(d.fd)
	if err != nil {
		return nil, d.selfError("open", err)
	}
	r := &Root{path: filepath.Join(d.root.path, d.path), fd: fd, dev: d.root.dev}
	r.openat2.Store(d.root.openat2.Load())
	r.cache.init(cacheSize)
	return r, nil
}

// Path returns the absolute path that the root was opened with, cleaned.
func (r *Root) Path() string { return r.path }

// Dev returns the device number of the root's file system, as in Stat.Dev.
func (r *Root) Dev() uint64 { return r.dev }

// Ino returns the inode number of the root.
func (r *Root) Ino() uint64 { return r.ino }

// Close closes the root and drops its cache. Dirs that are still held stay
// usable until they are closed.
func (r *Root) Close() error {
	r.Invalidate(".")
	return r.error("close", ".", sysClose(r.fd))
}

// OpenDir opens the directory at path, which must be clean and relative; "."
// is the root itself. The caller owns the Dir and closes it.
//
// Errors match ErrSymlink, ErrMount, ErrNotDir, ErrName, fs.ErrNotExist or
// fs.ErrPermission where they say why.
func (r *Root) OpenDir(path string) (*Dir, error) {
	if !validPath(path) {
		return nil, r.error("open", path, ErrName)
	}
	fd, pathOnly, err := r.openBeneath(r.fd, path)
	if err != nil {
		return nil, r.error("open", path, err)
	}
	return newDir(r, path, fd, pathOnly), nil
}

// Check reports whether the root's path still leads to the directory that is
// held: a root that was removed, renamed or replaced since Open is ErrMoved. A
// path that may not be looked up (privileges were dropped) says nothing.
func (r *Root) Check() error { return r.CheckAt(r.path) }

// CheckAt is Check by another absolute path that led to the root at Open, such
// as one with links in it.
func (r *Root) CheckAt(path string) error {
	var held, now Stat
	if err := sysStat(r.fd, "", &held); err != nil {
		return &fs.PathError{Op: "stat", Path: r.path, Err: err}
	}
	moved := held.Nlink == 0
	fd, err := sysOpenRoot(path)
	switch {
	case err == nil:
		err = sysStat(fd, "", &now)
		moved = moved || err == nil && (now.Dev != held.Dev || now.Ino != held.Ino)
		sysClose(fd)
	case errors.Is(err, fs.ErrNotExist), err == ErrNotDir:
		moved = true
	}
	if moved {
		return &fs.PathError{Op: "use", Path: path, Err: ErrMoved}
	}
	return nil
}

// Space is what is left on a file system for the user of this process.
type Space struct {
	Bytes      uint64 // free
	Inodes     uint64 // free
	AllBytes   uint64
	AllInodes  uint64 // 0 where the file system has no fixed number of inodes: Inodes says nothing then
	BlockBytes uint64 // allocation unit
}

// Statfs returns what is left on the root's file system.
func (r *Root) Statfs() (Space, error) {
	s, err := sysStatfs(r.fd)
	return s, r.error("statfs", ".", err)
}

// Unnamed makes a file without a name on the root's file system: it changes no
// directory, and is gone when it is closed. ErrUnsupported where the file system
// lacks it.
func (r *Root) Unnamed() (*os.File, error) {
	fd, err := sysUnnamed(r.fd)
	if err != nil {
		return nil, r.error("make a file without a name in", ".", err)
	}
	return os.NewFile(uintptr(fd), "."), nil
}

// CtimeMoves reports whether the root's file system is known to set the change
// time of a file, from this machine's clock, whenever its attributes, its links
// or its name change.
func (r *Root) CtimeMoves() bool { return sysCtimeMoves(r.fd) }

// SyncFS writes everything that is dirty on the root's file system to disk,
// and reports write errors since the root was opened (Linux 5.8).
func (r *Root) SyncFS() error { return r.error("syncfs", ".", sysSyncFS(r.fd)) }

// error names the operation and the path below the root.
func (r *Root) error(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: path, Err: err}
}

// openBeneath opens the directory at a clean relative path below fd.
// pathOnly says that the directory may be searched but not read.
func (r *Root) openBeneath(fd int, path string) (child int, pathOnly bool, err error) {
	for r.openat2.Load() {
		child, pathOnly, err = sysOpenBeneath(fd, path)
		if !openat2Missing(err) {
			return child, pathOnly, err
		}
		// EPERM can come from the file system too (fanotify, LSM). The call
		// that cannot fail for those reasons decides.
		if probe, _, perr := sysOpenBeneath(r.fd, "."); perr == nil {
			sysClose(probe)
			return child, pathOnly, err
		}
		r.openat2.Store(false)
	}
	return r.openSteps(fd, path)
}

// openSteps is openBeneath without openat2: one component after the other,
// each refused if it is a link or on another device. A bind mount of the same
// file system is found by statx where that is there.
func (r *Root) openSteps(fd int, path string) (int, bool, error) {
	at := fd
	for {
		name, rest, more := strings.Cut(path, "/")
		next, pathOnly, err := sysOpenStep(at, name, r.dev)
		if at != fd {
			sysClose(at)
		}
		if err != nil || !more {
			return next, pathOnly, err
		}
		at, path = next, rest
	}
}

func validPath(p string) bool {
	return p != "" && path.Clean(p) == p && filepath.IsLocal(p) && strings.IndexByte(p, 0) < 0
}

func validName(name string) bool {
	if name == "" || name == "." || name == ".." || len(name) > maxName {
		return false
	}
	for i := range len(name) {
		if name[i] == '/' || name[i] == 0 {
			return false
		}
	}
	return true
}

// maxName is NAME_MAX of Linux.
const maxName = 255
