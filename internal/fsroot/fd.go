package fsroot

import (
	"os"
	"strconv"
	"strings"
	"sync"
)

// Bare descriptors, for files that are made, filled and closed at once: an
// os.File costs two or three system calls more, for the runtime's poller, and a
// finalizer. Whoever opened a descriptor closes it with CloseFD, once. Errors
// do not name the file; the caller knows it.

// CreateFD is Create that returns the bare descriptor.
func (d *Dir) CreateFD(name string, perm uint32) (int, error) {
	if !validName(name) {
		return -1, d.error("create", name, ErrName)
	}
	fd, err := sysCreate(d.fd, name, perm)
	if err != nil {
		return -1, d.error("create", name, err)
	}
	return fd, nil
}

// WriteFD writes all of b at the descriptor's position.
func WriteFD(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := sysWrite(fd, b)
		if err != nil {
			return os.NewSyscallError("write", err)
		}
		b = b[n:]
	}
	return nil
}

// ChownFD sets owner and group; -1 leaves one as it is.
func ChownFD(fd int, uid, gid int) error {
	return os.NewSyscallError("chown", sysChown(fd, "", uid, gid))
}

// ChmodFD sets the permissions.
func ChmodFD(fd int, perm uint32) error {
	return os.NewSyscallError("chmod", sysChmodSelf(fd, false, perm&0o7777))
}

// UtimesFD sets the modification time and leaves the access time alone.
func UtimesFD(fd int, sec int64, nsec uint32) error {
	return os.NewSyscallError("set the time", sysUtimesSelf(fd, false, sec, nsec))
}

// SetXattrFD makes or replaces one attribute.
func SetXattrFD(fd int, attr string, value []byte) error {
	return os.NewSyscallError("set attribute "+attr, sysSetXattrSelf(fd, false, attr, value))
}

// CloseFD closes the descriptor, whatever it returns.
func CloseFD(fd int) error { return os.NewSyscallError("close", sysClose(fd)) }

// Umask returns the permissions that are taken from what this process makes. It
// is read once: a process that changes it later must not use what depends on
// it. Where it cannot be told, it is all of them.
var Umask = sync.OnceValue(func() uint32 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0o777
	}
	return parseUmask(string(b))
})

func parseUmask(status string) uint32 {
	for line := range strings.Lines(status) {
		if v, ok := strings.CutPrefix(line, "Umask:"); ok {
			if n, err := strconv.ParseUint(strings.TrimSpace(v), 8, 32); err == nil {
				return uint32(n)
			}
		}
	}
	return 0o777
}
