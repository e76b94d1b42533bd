package fsroot

import (
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestGiveUpStatx: one entry that refuses statx does not take the sight of
// mount points from all others.
func TestGiveUpStatx(t *testing.T) {
	for _, c := range []struct {
		entry, root syscall.Errno
		want        bool
	}{
		{unix.ENOSYS, 0, true}, {unix.EPERM, 0, false}, {unix.EPERM, unix.EPERM, true}, {unix.EPERM, unix.EACCES, false}, {unix.EACCES, unix.EPERM, false},
	} {
		if got := giveUpStatx(c.entry, func() syscall.Errno { return c.root }); got != c.want {
			t.Errorf("%v, %v of /: %v", c.entry, c.root, got)
		}
	}
	if errno := statxOfRoot(); errno != 0 && errno != unix.ENOSYS && errno != unix.EPERM {
		t.Errorf("statx of /: %v", errno)
	}
}
