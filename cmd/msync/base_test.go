package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"makuo/internal/control"
)

// TestCheckBase: a base directory that is not the one makuod opened is told,
// whether a link to it was switched or it was replaced.
func TestCheckBase(t *testing.T) {
	d, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	one, current := filepath.Join(d, "1"), filepath.Join(d, "current")
	must := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(one, 0o755), os.Mkdir(filepath.Join(d, "2"), 0o755), os.Symlink("1", current))
	fi, err := os.Stat(one)
	must(err)
	sys := fi.Sys().(*syscall.Stat_t)
	st := &control.Status{Base: control.Text(one), BaseNamed: control.Text(current), BaseDevice: uint64(sys.Dev), BaseInode: sys.Ino}
	says := func(want string) {
		t.Helper()
		err := checkBase(st)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "restart makuod")) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	says("")
	must(os.Remove(current), os.Symlink("2", current))
	says(current + " led to " + one + " when makuod started, and leads to " + d + "/2 now")
	must(os.Remove(current), os.Symlink("1", current), os.Rename(one, filepath.Join(d, "old")))
	says(one + " does not exist")
	must(os.Mkdir(one, 0o755))
	says(one + " is not the one makuod opened")
}
