package tree

import (
	"errors"

	"golang.org/x/sys/unix"
)

// isFullErrno reports that space, inodes or a quota are used up.
func isFullErrno(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// isFatalErrno reports the errors that the next path would meet too.
func isFatalErrno(err error) bool {
	for _, e := range [...]error{unix.ENOSPC, unix.EDQUOT, unix.EIO, unix.EROFS, unix.ENOMEM, unix.EMFILE, unix.ENFILE, unix.ESTALE} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
