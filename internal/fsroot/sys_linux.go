package fsroot

import (
	"errors"
	"strconv"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	renameNoReplace = unix.RENAME_NOREPLACE
	renameExchange  = unix.RENAME_EXCHANGE

	errRange = unix.ERANGE

	openDirFlags  = unix.O_DIRECTORY | unix.O_CLOEXEC
	resolveInside = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV
)

// ErrNoXattr: the entry has no such attribute.
var ErrNoXattr error = unix.ENODATA

// cname is a name with its NUL, on the stack.
type cname [maxName + 1]byte

func (c *cname) set(name string) { c[copy(c[:maxName], name)] = 0 }

// retry repeats f while a signal interrupts it.
func retry(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}

func retryFD(f func() (int, error)) (int, error) {
	for {
		if fd, err := f(); err != unix.EINTR {
			return fd, err
		}
	}
}

// openError names what refused an open.
func openError(err error) error {
	switch err {
	case unix.ELOOP:
		return ErrSymlink
	case unix.EXDEV:
		return ErrMount
	case unix.ENOTDIR:
		return ErrNotDir
	}
	return err
}

func isUnsupported(err error) bool { return errors.Is(err, errors.ErrUnsupported) }

// openat2Missing reports an answer that an old kernel or a seccomp filter
// gives; EPERM is ambiguous.
func openat2Missing(err error) bool { return err == unix.ENOSYS || err == unix.EPERM }

// sysClose does not repeat after EINTR: Linux has closed the descriptor then.
func sysClose(fd int) error {
	if err := unix.Close(fd); err != unix.EINTR {
		return err
	}
	return nil
}

func sysOpenRoot(path string) (int, error) {
	fd, err := retryFD(func() (int, error) { return unix.Open(path, unix.O_RDONLY|openDirFlags, 0) })
	return fd, openError(err)
}

// sysOpenSelf opens the directory fd once more, with a position of its own.
func sysOpenSelf(fd int) (int, error) {
	self, err := retryFD(func() (int, error) { return unix.Openat(fd, ".", unix.O_RDONLY|openDirFlags, 0) })
	return self, openError(err)
}

// readable opens a directory for reading, or where that is forbidden for
// searching alone.
func readable(open func(flags int) (int, error)) (fd int, pathOnly bool, err error) {
	fd, err = retryFD(func() (int, error) { return open(unix.O_RDONLY | openDirFlags) })
	if err == unix.EACCES {
		fd, err = retryFD(func() (int, error) { return open(unix.O_PATH | openDirFlags) })
		pathOnly = true
	}
	return fd, pathOnly, err
}

func sysOpenBeneath(at int, path string) (int, bool, error) {
	fd, pathOnly, err := readable(func(flags int) (int, error) {
		return unix.Openat2(at, path, &unix.OpenHow{Flags: uint64(flags), Resolve: resolveInside})
	})
	return fd, pathOnly, openError(err)
}

func sysOpenStep(at int, name string, dev uint64) (int, bool, error) {
	fd, pathOnly, err := readable(func(flags int) (int, error) {
		return unix.Openat(at, name, flags|unix.O_NOFOLLOW, 0)
	})
	var st Stat
	if err != nil {
		// O_DIRECTORY hides the difference between a link and a file.
		if err == unix.ENOTDIR && sysStat(at, name, &st) == nil && st.IsSymlink() {
			err = ErrSymlink
		}
		return -1, false, openError(err)
	}
	if name == "." {
		return fd, pathOnly, nil
	}
	if err = sysStat(fd, "", &st); err == nil && (st.Dev != dev || st.Mount) {
		err = ErrMount
	}
	if err != nil {
		sysClose(fd)
		return -1, false, err
	}
	return fd, pathOnly, nil
}

// statxMissing is set once by a kernel or seccomp filter without statx.
var statxMissing atomic.Bool

// giveUpStatx decides by an error of statx whether to do without it from now
// on. EPERM is what a filter says, but also a file system of one odd entry:
// only if "/" gets it too there is no statx here.
func giveUpStatx(errno syscall.Errno, ofRoot func() syscall.Errno) bool {
	return errno == unix.ENOSYS || errno == unix.EPERM && ofRoot() == unix.EPERM
}

func statxOfRoot() syscall.Errno {
	var c cname
	c.set("/")
	var x unix.Statx_t
	_, _, errno := syscall.Syscall6(unix.SYS_STATX, ^uintptr(99), uintptr(unsafe.Pointer(&c)), 0, // AT_FDCWD is -100
		unix.STATX_BASIC_STATS, uintptr(unsafe.Pointer(&x)), 0)
	return errno
}

// sysStat describes name in fd, or fd itself if name is empty. statx is used
// because it is the same on all architectures and tells mount points.
func sysStat(fd int, name string, st *Stat) error {
	flags := unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	if statxMissing.Load() {
		return sysStatOld(fd, name, flags, st)
	}
	var c cname
	c.set(name)
	var x unix.Statx_t
	for {
		_, _, errno := syscall.Syscall6(unix.SYS_STATX, uintptr(fd), uintptr(unsafe.Pointer(&c)), uintptr(flags),
			unix.STATX_BASIC_STATS, uintptr(unsafe.Pointer(&x)), 0)
		switch errno {
		case 0:
			st.fromStatx(&x)
			return nil
		case unix.EINTR:
			continue
		case unix.ENOSYS, unix.EPERM:
			if giveUpStatx(errno, statxOfRoot) {
				statxMissing.Store(true)
			}
			return sysStatOld(fd, name, flags, st)
		}
		return errno
	}
}

func (st *Stat) fromStatx(x *unix.Statx_t) {
	*st = Stat{
		Dev: unix.Mkdev(x.Dev_major, x.Dev_minor), Ino: x.Ino, Nlink: uint64(x.Nlink),
		Mode: uint32(x.Mode), UID: x.Uid, GID: x.Gid, Size: int64(x.Size),
		Sec: x.Mtime.Sec, Nsec: x.Mtime.Nsec, CSec: x.Ctime.Sec, CNsec: x.Ctime.Nsec,
		Rdev: unix.Mkdev(x.Rdev_major, x.Rdev_minor), Blocks: int64(x.Blocks),
		Mount:      x.Attributes&x.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0,
		Immutable:  x.Attributes&x.Attributes_mask&unix.STATX_ATTR_IMMUTABLE != 0,
		AppendOnly: x.Attributes&x.Attributes_mask&unix.STATX_ATTR_APPEND != 0,
	}
}

func sysStatOld(fd int, name string, flags int, st *Stat) error {
	var s unix.Stat_t
	if err := retry(func() error { return unix.Fstatat(fd, name, &s, flags) }); err != nil {
		return err
	}
	*st = Stat{
		Dev: uint64(s.Dev), Ino: s.Ino, Nlink: uint64(s.Nlink), Mode: s.Mode, UID: s.Uid, GID: s.Gid, Size: s.Size,
		Sec: int64(s.Mtim.Sec), Nsec: uint32(s.Mtim.Nsec), CSec: int64(s.Ctim.Sec), CNsec: uint32(s.Ctim.Nsec),
		Rdev: uint64(s.Rdev), Blocks: s.Blocks,
	}
	return nil
}

func sysRewind(fd int) error {
	_, err := unix.Seek(fd, 0, unix.SEEK_SET)
	return err
}

func sysGetdents(fd int, buf []byte) (n int, err error) {
	return retryFD(func() (int, error) { return unix.Getdents(fd, buf) })
}

func sysReadlink(fd int, name string) (string, error) {
	var buf [unix.PathMax]byte // Linux makes no longer targets
	n, err := retryFD(func() (int, error) { return unix.Readlinkat(fd, name, buf[:]) })
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// openat is unix.Openat of a valid name without an allocation.
func openat(fd int, name string, flags int, perm uint32) (int, error) {
	var c cname
	c.set(name)
	for {
		got, _, errno := syscall.Syscall6(unix.SYS_OPENAT, uintptr(fd), uintptr(unsafe.Pointer(&c)),
			uintptr(flags|unix.O_LARGEFILE), uintptr(perm), 0, 0)
		switch errno {
		case 0:
			return int(got), nil
		case unix.EINTR:
			continue
		}
		return -1, errno
	}
}

// sysOpenRead asks not to touch the access time; that is EPERM for whoever
// neither owns the file nor is root.
func sysOpenRead(fd int, name string) (int, error) {
	const flags = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	got, err := openat(fd, name, flags|unix.O_NOATIME, 0)
	if err == unix.EPERM {
		got, err = openat(fd, name, flags, 0)
	}
	return got, openError(err)
}

// sysOpenPath opens name, whatever it is, for calls that take a descriptor.
func sysOpenPath(fd int, name string) (int, error) {
	return openat(fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}

func sysOpenWrite(fd int, name string) (int, error) {
	got, err := retryFD(func() (int, error) {
		return unix.Openat(fd, name, unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	})
	return got, openError(err)
}

func sysCreate(fd int, name string, perm uint32) (int, error) {
	return openat(fd, name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, perm)
}

func sysWritable(dir int) error {
	err := access(dir, ".", unix.W_OK|unix.X_OK)
	if err == unix.ENOSYS || err == unix.EPERM && access(unix.AT_FDCWD, "/", unix.F_OK) == unix.EPERM { // before Linux 5.8, or a filter
		return unix.Faccessat(dir, ".", unix.W_OK|unix.X_OK, 0)
	}
	return err
}

// access is faccessat2 with the effective ids.
func access(fd int, path string, mode uint32) error {
	var c cname
	c.set(path)
	_, _, errno := syscall.Syscall6(unix.SYS_FACCESSAT2, uintptr(fd), uintptr(unsafe.Pointer(&c)), uintptr(mode), unix.AT_EACCESS, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func sysUnnamed(dir int) (int, error) {
	return openat(dir, ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
}

func sysWrite(fd int, b []byte) (int, error) {
	return retryFD(func() (int, error) { return unix.Write(fd, b) })
}

func sysMkdir(fd int, name string, perm uint32) error {
	return retry(func() error { return unix.Mkdirat(fd, name, perm) })
}

func sysSymlink(target string, fd int, name string) error {
	return retry(func() error { return unix.Symlinkat(target, fd, name) })
}

func sysMknod(fd int, name string, mode uint32, rdev uint64) error {
	return retry(func() error { return unix.Mknodat(fd, name, mode, int(rdev)) })
}

func sysUnlink(fd int, name string) error {
	return retry(func() error { return unix.Unlinkat(fd, name, 0) })
}

func sysRmdir(fd int, name string) error {
	return retry(func() error { return unix.Unlinkat(fd, name, unix.AT_REMOVEDIR) })
}

func sysLink(from int, old string, to int, name string) error {
	return retry(func() error { return unix.Linkat(from, old, to, name, 0) })
}

func sysRename(from int, old string, to int, name string, flags uint) error {
	if flags == 0 {
		return retry(func() error { return unix.Renameat(from, old, to, name) })
	}
	err := retry(func() error { return unix.Renameat2(from, old, to, name, flags) })
	if err == unix.EINVAL || err == unix.ENOSYS {
		return ErrUnsupported
	}
	return err
}

func sysFsync(fd int) error { return retry(func() error { return unix.Fsync(fd) }) }

func sysSyncFS(fd int) error { return retry(func() error { return unix.Syncfs(fd) }) }

func sysStatfs(fd int) (Space, error) {
	var s unix.Statfs_t
	if err := retry(func() error { return unix.Fstatfs(fd, &s) }); err != nil {
		return Space{}, err
	}
	unit := uint64(s.Frsize)
	if unit == 0 {
		unit = uint64(s.Bsize)
	}
	return Space{Bytes: s.Bavail * unit, Inodes: s.Ffree, AllBytes: s.Blocks * unit, AllInodes: s.Files, BlockBytes: unit}, nil
}

// proc names an open descriptor, so that calls without an *at form, or that
// refuse O_PATH, reach it.
func proc(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }
