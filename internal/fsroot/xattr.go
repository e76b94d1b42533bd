package fsroot

import (
	"os"
	"slices"
	"strings"
)

// Extended attributes. A file system without them has none, and says
// ErrUnsupported when one is set. An attribute that is not there is
// ErrNoXattr. No call follows a symbolic link.

// xattrBuf takes the names of an entry in the common case.
const xattrBuf = 1 << 10

// ListXattr returns the names of the attributes of name, sorted. It allocates
// nothing where there are none.
func (d *Dir) ListXattr(name string) ([]string, error) {
	if !validName(name) {
		return nil, d.error("list the attributes of", name, ErrName)
	}
	var buf [xattrBuf]byte
	n, err := sysListXattr(d.fd, name, buf[:])
	if n == 0 && (err == nil || isUnsupported(err)) {
		return nil, nil
	}
	if err == nil {
		return splitNames(buf[:n]), nil
	}
	b, err := grown(err, func(b []byte) (int, error) { return sysListXattr(d.fd, name, b) })
	return splitNames(b), d.error("list the attributes of", name, err)
}

// GetXattr returns the value of one attribute of name.
func (d *Dir) GetXattr(name, attr string) ([]byte, error) {
	if !validName(name) {
		return nil, d.error("read the attributes of", name, ErrName)
	}
	b, err := grown(errRange, func(b []byte) (int, error) { return sysGetXattr(d.fd, name, attr, b) })
	return b, d.error("read attribute "+attr+" of", name, err)
}

// SetXattr makes or replaces one attribute of name.
func (d *Dir) SetXattr(name, attr string, value []byte) error {
	return d.one("set attribute "+attr+" of", name, func(fd int, name string) error { return sysSetXattr(fd, name, attr, value) })
}

// RemoveXattr removes one attribute of name.
func (d *Dir) RemoveXattr(name, attr string) error {
	return d.one("remove attribute "+attr+" of", name, func(fd int, name string) error { return sysRemoveXattr(fd, name, attr) })
}

// ListXattrSelf is ListXattr of the directory itself.
func (d *Dir) ListXattrSelf() ([]string, error) {
	b, err := grown(errRange, func(b []byte) (int, error) { return sysListXattrSelf(d.fd, d.pathOnly, b) })
	if isUnsupported(err) {
		return nil, nil
	}
	return splitNames(b), d.selfError("list the attributes of", err)
}

// GetXattrSelf is GetXattr of the directory itself.
func (d *Dir) GetXattrSelf(attr string) ([]byte, error) {
	b, err := grown(errRange, func(b []byte) (int, error) { return sysGetXattrSelf(d.fd, d.pathOnly, attr, b) })
	return b, d.selfError("read attribute "+attr+" of", err)
}

// SetXattrSelf is SetXattr of the directory itself.
func (d *Dir) SetXattrSelf(attr string, value []byte) error {
	return d.selfError("set attribute "+attr+" of", sysSetXattrSelf(d.fd, d.pathOnly, attr, value))
}

// RemoveXattrSelf is RemoveXattr of the directory itself.
func (d *Dir) RemoveXattrSelf(attr string) error {
	return d.selfError("remove attribute "+attr+" of", sysRemoveXattrSelf(d.fd, d.pathOnly, attr))
}

// ListXattrFile is ListXattr of an open file.
func ListXattrFile(f *os.File) (names []string, err error) {
	err = fileError("list the attributes of", f, func(fd int) error {
		b, err := grown(errRange, func(b []byte) (int, error) { return sysListXattrSelf(fd, false, b) })
		names = splitNames(b)
		if isUnsupported(err) {
			return nil
		}
		return err
	})
	return names, err
}

// GetXattrFile is GetXattr of an open file.
func GetXattrFile(f *os.File, attr string) (value []byte, err error) {
	err = fileError("read attribute "+attr+" of", f, func(fd int) error {
		value, err = grown(errRange, func(b []byte) (int, error) { return sysGetXattrSelf(fd, false, attr, b) })
		return err
	})
	return value, err
}

// SetXattrFile is SetXattr of an open file.
func SetXattrFile(f *os.File, attr string, value []byte) error {
	return fileError("set attribute "+attr+" of", f, func(fd int) error { return sysSetXattrSelf(fd, false, attr, value) })
}

// RemoveXattrFile is RemoveXattr of an open file.
func RemoveXattrFile(f *os.File, attr string) error {
	return fileError("remove attribute "+attr+" of", f, func(fd int) error { return sysRemoveXattrSelf(fd, false, attr) })
}

// grown repeats call with larger buffers while err says that the last one was
// too small. The kernel's own limit for lists and values is 64 KiB.
func grown(err error, call func([]byte) (int, error)) ([]byte, error) {
	for size := 256; err == errRange && size <= 64<<10; size *= 4 {
		b := make([]byte, size)
		var n int
		if n, err = call(b); err == nil {
			return b[:n:n], nil
		}
	}
	return nil, err
}

func splitNames(b []byte) []string {
	if len(b) == 0 {
		return nil
	}
	names := strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")
	slices.Sort(names)
	return names
}
