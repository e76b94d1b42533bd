package tree

import (
	"errors"

	"golang.org/x/sys/unix"
)

// isUnfitErrno reports the errors by which a file system refuses an attribute
// for what it is, and not for who sets it.
func isUnfitErrno(err error) bool {
	for _, e := range [...]error{unix.E2BIG, unix.ENOSPC, unix.ERANGE, unix.EINVAL, unix.EFBIG, unix.ENAMETOOLONG} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// isInvalidErrno reports that an id means nothing here, as in a user namespace.
func isInvalidErrno(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOVERFLOW)
}
