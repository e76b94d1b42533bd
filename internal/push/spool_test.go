package push

import (
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestSpoolError: what to do goes with what went wrong.
func TestSpoolError(t *testing.T) {
	for errno, says := range map[syscall.Errno]string{syscall.ENOSPC: "make room", syscall.EDQUOT: "make room", syscall.EROFS: "file system writable"} {
		text := spoolError(&os.PathError{Op: "open", Path: "/state/spool-1", Err: errno}).Error()
		if !strings.Contains(text, says) || !strings.Contains(text, "--state") {
			t.Errorf("%v: %q", errno, text)
		}
	}
	if text := spoolError(syscall.EROFS).Error(); strings.Contains(text, "room") {
		t.Errorf("a read-only file system needs no room: %q", text)
	}
}
