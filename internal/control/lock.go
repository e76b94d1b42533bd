package control

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// lock is a file that is locked for as long as a listener is open.
type lock struct {
	path string
	f    *os.File
	once sync.Once
}

// lockFile makes and locks path. A holder removes the file before it lets the
// lock go, so a lock counts only if the file still has its name; otherwise the
// next one is tried.
func lockFile(path string) (*lock, error) {
	for range 100 {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			f.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, fmt.Errorf("%w (it holds %s): stop it, or name another socket", ErrInUse, path)
			}
			return nil, fmt.Errorf("locking %s: %w", path, err)
		}
		if sameFile(f, path) {
			return &lock{path: path, f: f}, nil
		}
		f.Close()
	}
	return nil, fmt.Errorf("locking %s: it changes all the time", path)
}

func sameFile(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Lstat(path)
	return err == nil && os.SameFile(a, b)
}

// release removes the file, where that is allowed, and unlocks it; once, as
// the name may be another holder's afterwards.
func (l *lock) release() {
	l.once.Do(func() {
		os.Remove(l.path)
		l.f.Close()
	})
}
