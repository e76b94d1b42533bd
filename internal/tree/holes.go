package tree

import (
	"io"

	"makuo/internal/fsroot"
)

// A file that takes far less on disk than its size has holes, or is compressed
// by its file system, or not written out yet: only the file system can tell.
const (
	leastHoles  = 1 << 20 // bytes that it takes less, to be asked about them
	mostExtents = 10_000  // after which the rest counts as data
)

// holesOf returns how many bytes of a regular file are holes, 0 where that can't
// be told.
func holesOf(parent *fsroot.Dir, name string, size int64) uint64 {
	fd, err := parent.OpenReadFD(name)
	if err != nil {
		return 0 // whoever reads the file meets it again
	}
	defer closeFD(fd)
	holes, off := int64(0), int64(0)
	for range mostExtents {
		data, end, err := nextData(fd, off)
		if err == io.EOF || err == nil && data >= size {
			holes += size - off
			break
		}
		if err != nil {
			return 0
		}
		holes += data - off
		off = end
		if off >= size {
			break
		}
	}
	return uint64(max(0, min(holes, size-1)))
}
