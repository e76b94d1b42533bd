package fsroot

import (
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sysChmod uses fchmodat2 (Linux 6.6); before that, and behind a filter that
// answers EPERM, an O_PATH descriptor and its name in /proc.
func sysChmod(fd int, name string, perm uint32) error {
	if !oldChmod.Load() {
		var c cname
		c.set(name)
		_, _, errno := syscall.Syscall6(unix.SYS_FCHMODAT2, uintptr(fd), uintptr(unsafe.Pointer(&c)), uintptr(perm), unix.AT_SYMLINK_NOFOLLOW, 0, 0)
		switch errno {
		case 0:
			return nil
		case unix.ENOSYS, unix.EPERM, unix.EINTR:
		default:
			return errno
		}
	}
	var st Stat
	f, err := retryFD(func() (int, error) { return unix.Openat(fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0) })
	if err != nil {
		return err
	}
	defer sysClose(f)
	if err := sysStat(f, "", &st); err != nil {
		return err
	}
	if st.IsSymlink() {
		return ErrUnsupported
	}
	return sysChmodSelf(f, true, perm)
}

// oldChmod makes tests take the way of kernels before 6.6.
var oldChmod atomic.Bool

func sysChmodSelf(fd int, pathOnly bool, perm uint32) error {
	if pathOnly {
		return retry(func() error { return unix.Chmod(proc(fd), perm) })
	}
	return retry(func() error { return unix.Fchmod(fd, perm) })
}

// sysChown changes fd itself if name is empty.
func sysChown(fd int, name string, uid, gid int) error {
	flags := unix.AT_SYMLINK_NOFOLLOW
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	return retry(func() error { return unix.Fchownat(fd, name, uid, gid, flags) })
}

func mtime(sec int64, nsec uint32) [2]unix.Timespec {
	t := [2]unix.Timespec{{Nsec: unix.UTIME_OMIT}, {}}
	setTimespec(&t[1].Sec, sec)
	setTimespec(&t[1].Nsec, int64(nsec))
	return t
}

// setTimespec bridges the widths that Timespec has on 32 and 64 bit machines.
func setTimespec[T int32 | int64](field *T, v int64) { *field = T(v) }

func sysUtimes(fd int, name string, sec int64, nsec uint32) error {
	t := mtime(sec, nsec)
	return retry(func() error { return unix.UtimesNanoAt(fd, name, t[:], unix.AT_SYMLINK_NOFOLLOW) })
}

func sysUtimesSelf(fd int, pathOnly bool, sec int64, nsec uint32) error {
	t := mtime(sec, nsec)
	if pathOnly {
		return retry(func() error { return unix.UtimesNanoAt(unix.AT_FDCWD, proc(fd), t[:], 0) })
	}
	return retry(func() error {
		_, _, errno := syscall.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&t)), 0, 0, 0)
		if errno != 0 {
			return errno
		}
		return nil
	})
}

// haveXattrAt says that the kernel has the *xattrat calls (Linux 6.13).
var haveXattrAt = sync.OnceValue(func() bool {
	var c cname
	c.set("/")
	_, _, errno := syscall.Syscall6(unix.SYS_LISTXATTRAT, ^uintptr(99), uintptr(unsafe.Pointer(&c)), 0, 0, 0, 0) // AT_FDCWD is -100
	return errno != unix.ENOSYS && errno != unix.EPERM
})

// oldXattr makes tests take the way of kernels before 6.13.
var oldXattr atomic.Bool

func xattrAt() bool { return !oldXattr.Load() && haveXattrAt() }

// below is the way to name in the directory fd for the l*xattr calls, which
// follow the link in /proc and not one at its end.
func below(fd int, name string) string { return proc(fd) + "/" + name }

func sysListXattr(fd int, name string, buf []byte) (int, error) {
	if !xattrAt() {
		return retryFD(func() (int, error) { return unix.Llistxattr(below(fd, name), buf) })
	}
	var c cname
	c.set(name)
	for {
		n, _, errno := syscall.Syscall6(unix.SYS_LISTXATTRAT, uintptr(fd), uintptr(unsafe.Pointer(&c)), unix.AT_SYMLINK_NOFOLLOW,
			uintptr(unsafe.Pointer(unsafe.SliceData(buf))), uintptr(len(buf)), 0)
		if errno == 0 {
			return int(n), nil
		}
		if errno != unix.EINTR {
			return 0, errno
		}
	}
}

// xattrArgs is struct xattr_args of linux/xattr.h.
type xattrArgs struct {
	value uint64
	size  uint32
	flags uint32
}

// xattrValue runs one of the *xattrat calls that take struct xattr_args.
func xattrValue(trap uintptr, fd int, name, attr string, value []byte) (int, error) {
	a, err := unix.BytePtrFromString(attr)
	if err != nil {
		return 0, err
	}
	var pin runtime.Pinner
	defer pin.Unpin()
	args := xattrArgs{size: uint32(len(value))}
	if len(value) > 0 {
		p := unsafe.SliceData(value)
		pin.Pin(p)
		args.value = uint64(uintptr(unsafe.Pointer(p)))
	}
	var c cname
	c.set(name)
	return retryFD(func() (int, error) {
		n, _, errno := syscall.Syscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(&c)), unix.AT_SYMLINK_NOFOLLOW,
			uintptr(unsafe.Pointer(a)), uintptr(unsafe.Pointer(&args)), unsafe.Sizeof(args))
		if errno != 0 {
			return 0, errno
		}
		return int(n), nil
	})
}

func sysGetXattr(fd int, name, attr string, buf []byte) (int, error) {
	if !xattrAt() {
		return retryFD(func() (int, error) { return unix.Lgetxattr(below(fd, name), attr, buf) })
	}
	return xattrValue(unix.SYS_GETXATTRAT, fd, name, attr, buf)
}

func sysSetXattr(fd int, name, attr string, value []byte) error {
	if !xattrAt() {
		return retry(func() error { return unix.Lsetxattr(below(fd, name), attr, value, 0) })
	}
	_, err := xattrValue(unix.SYS_SETXATTRAT, fd, name, attr, value)
	return err
}

func sysRemoveXattr(fd int, name, attr string) error {
	if !xattrAt() {
		return retry(func() error { return unix.Lremovexattr(below(fd, name), attr) })
	}
	a, err := unix.BytePtrFromString(attr)
	if err != nil {
		return err
	}
	var c cname
	c.set(name)
	return retry(func() error {
		_, _, errno := syscall.Syscall6(unix.SYS_REMOVEXATTRAT, uintptr(fd), uintptr(unsafe.Pointer(&c)), unix.AT_SYMLINK_NOFOLLOW,
			uintptr(unsafe.Pointer(a)), 0, 0)
		if errno != 0 {
			return errno
		}
		return nil
	})
}

func sysListXattrSelf(fd int, pathOnly bool, buf []byte) (int, error) {
	return retryFD(func() (int, error) {
		if pathOnly {
			return unix.Listxattr(proc(fd), buf)
		}
		return unix.Flistxattr(fd, buf)
	})
}

func sysGetXattrSelf(fd int, pathOnly bool, attr string, buf []byte) (int, error) {
	return retryFD(func() (int, error) {
		if pathOnly {
			return unix.Getxattr(proc(fd), attr, buf)
		}
		return unix.Fgetxattr(fd, attr, buf)
	})
}

func sysSetXattrSelf(fd int, pathOnly bool, attr string, value []byte) error {
	return retry(func() error {
		if pathOnly {
			return unix.Setxattr(proc(fd), attr, value, 0)
		}
		return unix.Fsetxattr(fd, attr, value, 0)
	})
}

func sysRemoveXattrSelf(fd int, pathOnly bool, attr string) error {
	return retry(func() error {
		if pathOnly {
			return unix.Removexattr(proc(fd), attr)
		}
		return unix.Fremovexattr(fd, attr)
	})
}
