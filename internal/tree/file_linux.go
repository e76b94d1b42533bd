package tree

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"makuo/internal/fsroot"
)

func pread(fd int, buf []byte, off int64) (int, error) {
	for {
		n, err := unix.Pread(fd, buf, off)
		if err != unix.EINTR {
			return max(n, 0), err
		}
	}
}

// nextData returns the bounds of the first data at or after off: io.EOF if
// there is none.
func nextData(fd int, off int64) (data, hole int64, err error) {
	data, err = unix.Seek(fd, off, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return 0, 0, io.EOF
	}
	if err != nil {
		return 0, 0, err
	}
	hole, err = unix.Seek(fd, data, unix.SEEK_HOLE)
	return data, hole, err
}

// adviseSequential doubles the kernel's read-ahead. It is advice: an error
// changes nothing.
func adviseSequential(fd int) { _ = unix.Fadvise(fd, 0, 0, unix.FADV_SEQUENTIAL) }

func closeFD(fd int) error {
	if err := unix.Close(fd); err != unix.EINTR {
		return err
	}
	return nil
}

// cloneFile makes dst share the content of src.
func cloneFile(dst, src *os.File) error {
	return fsroot.WithFD(dst, "clone", func(to int) error {
		return fsroot.WithFD(src, "clone", func(from int) error { return unix.IoctlFileClone(to, from) })
	})
}
