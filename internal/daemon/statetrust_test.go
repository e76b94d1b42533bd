package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestForeignStateDir: what another user prepared is not believed.
func TestForeignStateDir(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := filepath.Join(t.TempDir(), "state")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, 1234, 1234); err != nil {
		t.Fatal(err)
	}
	if s, err := OpenStateDir(dir, Credentials{}); err == nil {
		s.Close()
		t.Error("the state directory of another user was taken")
	}
}

// TestStateDirAdvice: what to do goes with what went wrong.
func TestStateDirAdvice(t *testing.T) {
	for errno, says := range map[syscall.Errno]string{syscall.EROFS: "file system writable", syscall.EPERM: "start it as root",
		syscall.EACCES: "start it as root", syscall.ENOSPC: "make room", syscall.ENOTDIR: "name another"} {
		advice := adviceFor(&os.PathError{Op: "chmod", Path: "/x", Err: errno}, "--state")
		if !strings.Contains(advice, says) || !strings.Contains(advice, "--state") {
			t.Errorf("%v: %q", errno, advice)
		}
	}
}
