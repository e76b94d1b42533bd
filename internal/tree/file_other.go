//go:build !linux

package tree

import (
	"os"

	"makuo/internal/fsroot"
)

func pread(int, []byte, int64) (int, error)           { return 0, fsroot.ErrUnsupported }
func nextData(int, int64) (data, hole int64, _ error) { return 0, 0, fsroot.ErrUnsupported }
func adviseSequential(int)                            {}
func cloneFile(_, _ *os.File) error                   { return fsroot.ErrUnsupported }
func closeFD(int) error                               { return fsroot.ErrUnsupported }
