package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"makuo/internal/control"
)

// checkBase refuses a base directory that is not what makuod opened when it
// started: what the user sees there is not what would be pushed. What may not
// be looked at says nothing.
func checkBase(st *control.Status) error {
	if err := sameDirectory(st, string(st.Base)); err != nil {
		return err
	}
	if st.BaseNamed == "" || st.BaseNamed == st.Base {
		return nil
	}
	return sameDirectory(st, string(st.BaseNamed))
}

func sameDirectory(st *control.Status, dir string) error {
	const remedy = "; restart makuod to push what is there now"
	fi, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("the base directory %s does not exist on this host any more: nothing was sent%s", dir, remedy)
	case err != nil || st.BaseInode == 0:
		return nil
	}
	sys, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || uint64(sys.Dev) == st.BaseDevice && sys.Ino == st.BaseInode {
		return nil
	}
	if dir != string(st.Base) {
		return fmt.Errorf("the base directory %s led to %s when makuod started, and leads to %s now: nothing was sent%s", dir, st.Base, follow(dir), remedy)
	}
	return fmt.Errorf("the base directory %s is not the one makuod opened when it started: it was replaced, or something was mounted on it; nothing was sent%s", dir, remedy)
}
