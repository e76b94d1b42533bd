package tree

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// sectorsWritten returns how much a block device has written since the system
// started, by the kernel's count; 0 if it does not tell, as of file systems that
// are on no device of their own.
func sectorsWritten(dev uint64) uint32 {
	text, err := os.ReadFile(fmt.Sprintf("/sys/dev/block/%d:%d/stat", unix.Major(dev), unix.Minor(dev)))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	if len(fields) < 7 {
		return 0
	}
	n, _ := strconv.ParseUint(fields[6], 10, 64)
	return uint32(n)
}
