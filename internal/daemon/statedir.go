package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// StateDir is the open and locked directory for what must outlive a daemon.
// The lock is the process's and ends with it, however it ends.
type StateDir struct {
	path string
	dir  *os.File
}

// OpenStateDir creates the directory where it is missing, gives it to owner
// with mode 0700, and locks it. It fails if another daemon has it locked.
func OpenStateDir(path string, owner Credentials) (*StateDir, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("state directory %s: %w; %s", path, err, adviceFor(err, "--state"))
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("state directory %s: it could not be made: %w; %s", path, errors.Unwrap(err), adviceFor(err, "--state"))
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("state directory %s: open: %w; it must be a directory that this daemon may read", path, err)
	}
	s := &StateDir{path: path, dir: os.NewFile(uintptr(fd), path)}
	if err := s.take(owner); err != nil {
		s.dir.Close()
		return nil, err
	}
	return s, nil
}

// take locks the open directory and gives it to owner. It works on the
// descriptor only, so that nobody can put another directory in its place in
// between.
func (s *StateDir) take(owner Credentials) error {
	err := unix.Flock(int(s.dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("state directory %s is in use by another makuod; stop that one, or give this one its own --socket or --state", s.path)
	}
	if err != nil {
		return fmt.Errorf("state directory %s: lock: %w; it must be on a local file system", s.path, err)
	}
	if err := s.trusted(owner); err != nil {
		return err
	}
	if owner.Changes() {
		if err := s.dir.Chown(owner.UID, owner.GID); err != nil {
			return fmt.Errorf("state directory %s: it could not be given to user %d: %w; %s", s.path, owner.UID, errors.Unwrap(err), adviceFor(err, "--state"))
		}
	}
	if err := s.dir.Chmod(0o700); err != nil {
		return fmt.Errorf("state directory %s: its mode could not be set to 0700: %w; %s", s.path, errors.Unwrap(err), adviceFor(err, "--state"))
	}
	return nil
}

// trusted refuses a directory of somebody else's: what lies in it, such as
// decisions and which stage is ours, would be believed and carried out.
func (s *StateDir) trusted(owner Credentials) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(s.dir.Fd()), &st); err != nil {
		return fmt.Errorf("state directory %s: %w", s.path, err)
	}
	if st.Uid == uint32(os.Geteuid()) || owner.Changes() && st.Uid == uint32(owner.UID) {
		return nil
	}
	return fmt.Errorf("state directory %s belongs to user %d, who could have put anything in it: name another with --state, or look at it and give it to this daemon's user", s.path, st.Uid)
}

// adviceFor says what to do when a path that an option names can't be written.
func adviceFor(err error, option string) string {
	switch {
	case errors.Is(err, unix.EROFS):
		return "make that file system writable, or name a path on another one with " + option
	case errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT):
		return "make room there, or name a path on another file system with " + option
	case errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES):
		return fmt.Sprintf("user %d, who runs this daemon, may not do that: start it as root, or name another path with %s", os.Geteuid(), option)
	}
	return "name another with " + option
}

// Path returns the directory's path.
func (s *StateDir) Path() string { return s.path }

// Close gives the lock up. What is in the directory stays.
func (s *StateDir) Close() error { return s.dir.Close() }
