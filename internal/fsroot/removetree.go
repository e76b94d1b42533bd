package fsroot

import (
	"errors"
	"io/fs"
)

// RemoveTree removes name and everything below it. It follows no link and
// crosses no mount point: a mount point is an error, and stays with the
// directories above it. It goes on after an error and returns all of them,
// joined. What is not there is no error. Directories of this user's that he
// may not write are made writable, as they go anyway.
//
// It holds one descriptor for each level.
func (d *Dir) RemoveTree(name string) error {
	st, err := d.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !st.IsDir():
		return ignoreAbsent(d.Remove(name))
	}
	child, err := d.OpenChild(name)
	if err != nil {
		return ignoreAbsent(err)
	}
	if st.Perm()&0o700 != 0o700 {
		// If this fails, reading or removing says why.
		_ = child.ChmodSelf(st.Perm() | 0o700)
	}
	err = child.RemoveContents()
	child.Close()
	if err != nil {
		return err
	}
	return ignoreAbsent(d.Rmdir(name))
}

// RemoveContents removes everything in d, as RemoveTree does, and leaves d
// itself as it is.
func (d *Dir) RemoveContents() error {
	names, err := d.reopened()
	if err != nil {
		return err
	}
	var errs []error
	for i := range names.Len() {
		if err := d.RemoveTree(names.Name(i)); err != nil {
			errs = append(errs, err)
		}
	}
	return Join(errs...)
}

// reopened reads the names of a directory that may have become readable only
// after it was opened.
func (d *Dir) reopened() (*Names, error) {
	if !d.pathOnly {
		return d.Names()
	}
	fd, pathOnly, err := d.root.openBeneath(d.fd, ".")
	if err != nil {
		return nil, d.selfError("open", err)
	}
	again := newDir(d.root, d.path, fd, pathOnly)
	defer again.Close()
	return again.Names()
}

func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
