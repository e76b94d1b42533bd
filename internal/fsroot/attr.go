package fsroot

import "os"

// Chmod sets the permissions of name, setuid, setgid and sticky among them. A
// symbolic link is ErrUnsupported: its mode cannot be set.
func (d *Dir) Chmod(name string, perm uint32) error {
	return d.one("chmod", name, func(fd int, name string) error { return sysChmod(fd, name, perm&0o7777) })
}

// ChmodSelf is Chmod of the directory itself.
func (d *Dir) ChmodSelf(perm uint32) error {
	return d.selfError("chmod", sysChmodSelf(d.fd, d.pathOnly, perm&0o7777))
}

// Chown sets owner and group of name; -1 leaves one as it is.
func (d *Dir) Chown(name string, uid, gid int) error {
	return d.one("chown", name, func(fd int, name string) error { return sysChown(fd, name, uid, gid) })
}

// ChownSelf is Chown of the directory itself.
func (d *Dir) ChownSelf(uid, gid int) error {
	return d.selfError("chown", sysChown(d.fd, "", uid, gid))
}

// Utimes sets the modification time of name and leaves its access time alone.
func (d *Dir) Utimes(name string, sec int64, nsec uint32) error {
	return d.one("set the time of", name, func(fd int, name string) error { return sysUtimes(fd, name, sec, nsec) })
}

// UtimesSelf is Utimes of the directory itself.
func (d *Dir) UtimesSelf(sec int64, nsec uint32) error {
	return d.selfError("set the time of", sysUtimesSelf(d.fd, d.pathOnly, sec, nsec))
}

// UtimesFile is Utimes of an open file.
func UtimesFile(f *os.File, sec int64, nsec uint32) error {
	return fileError("set the time of", f, func(fd int) error { return sysUtimesSelf(fd, false, sec, nsec) })
}

// StatFile is Lstat of an open file.
func StatFile(f *os.File) (st Stat, err error) {
	return st, fileError("fstat", f, func(fd int) error { return sysStat(fd, "", &st) })
}

// StatFD is Lstat of an open descriptor.
func StatFD(fd int, st *Stat) error { return sysStat(fd, "", st) }

// WithFD runs f on the descriptor of an open file. Its error is one of op on
// that file.
func WithFD(file *os.File, op string, f func(fd int) error) error { return fileError(op, file, f) }

// fileError runs f on the descriptor of an open file.
func fileError(op string, file *os.File, f func(fd int) error) error {
	c, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err = c.Control(func(fd uintptr) { inner = f(int(fd)) }); err == nil {
		err = inner
	}
	if err != nil {
		return &os.PathError{Op: op, Path: file.Name(), Err: err}
	}
	return nil
}
