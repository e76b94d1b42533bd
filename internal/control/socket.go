package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// SystemSocket is where the daemon of root listens.
const SystemSocket = "/run/makuod.sock"

// LockSuffix is what the name of a socket's lock file has behind the socket's.
const LockSuffix = ".lock"

// maxSocketPath is what sockaddr_un holds without its final NUL.
const maxSocketPath = 107

// SocketOptions say who may use a socket.
type SocketOptions struct {
	Mode     fs.FileMode // 0: 0660
	UID, GID int         // -1: as created
}

// ErrInUse is wrapped by Listen's error when another daemon has the socket.
var ErrInUse = errors.New("another daemon is using it")

// DefaultSocket is the daemon's socket if none is named: SystemSocket for
// root; else makuod.sock in $XDG_RUNTIME_DIR or, without that, in the private
// directory /tmp/makuod-UID, which Listen makes.
func DefaultSocket() string { return defaultSocket(os.Geteuid(), os.Getenv) }

// ClientSocket is where a client looks if no socket is named: SystemSocket if
// this is root or may use it, or if it is there and DefaultSocket is not: what
// keeps the user out is then said. Else DefaultSocket.
func ClientSocket() string { return clientSocket(SystemSocket, DefaultSocket()) }

func clientSocket(system, own string) string {
	if unix.Access(system, unix.R_OK|unix.W_OK) == nil {
		return system
	}
	if exists(system) && !exists(own) {
		return system
	}
	return own
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func defaultSocket(uid int, getenv func(string) string) string {
	if uid == 0 {
		return SystemSocket
	}
	if dir := getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "makuod.sock")
	}
	return filepath.Join(privateDir(uid), "makuod.sock")
}

func privateDir(uid int) string { return fmt.Sprintf("/tmp/makuod-%d", uid) }

// checkPrivateDir refuses the fall-back directory if it is not ours alone:
// /tmp is everybody's, and who owns the directory owns the socket.
func checkPrivateDir(dir string, uid int) error {
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return &fs.PathError{Op: "lstat", Path: dir, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != uid || st.Mode&0o077 != 0 {
		return fmt.Errorf("%s must be a directory of user %d with mode 0700: remove it, or set XDG_RUNTIME_DIR", dir, uid)
	}
	return nil
}

// Listen opens the unix socket path for the local API. Beside it a lock file
// (path + LockSuffix) is held for as long as the listener is open, so that of two
// daemons one gets it; a socket left by a daemon that died is removed. The
// error for a socket in use wraps ErrInUse. Close removes both files.
func Listen(path string, opt SocketOptions) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("socket %s: the path has %d bytes; a unix socket's may have %d", path, len(path), maxSocketPath)
	}
	if dir := filepath.Dir(path); dir == privateDir(os.Geteuid()) {
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("socket %s: %w", path, err)
		}
		if err := checkPrivateDir(dir, os.Geteuid()); err != nil {
			return nil, fmt.Errorf("socket %s: %w", path, err)
		}
	}
	lock, err := lockFile(path + LockSuffix)
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	l, err := listenLocked(path, opt)
	if err != nil {
		lock.release()
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	return &listener{Listener: l, lock: lock}, nil
}

type listener struct {
	net.Listener
	lock *lock
}

func (l *listener) Close() error {
	err := l.Listener.Close()
	l.lock.release()
	return err
}

func listenLocked(path string, opt SocketOptions) (net.Listener, error) {
	if err := removeStale(path); err != nil {
		return nil, err
	}
	// The mode is set before bind makes the file, so that it is at no time
	// open to more than its owner.
	conf := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if e := c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }); e != nil {
			return e
		}
		return err
	}}
	l, err := conf.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	if opt.Mode == 0 {
		opt.Mode = 0o660
	}
	if err = os.Lchown(path, opt.UID, opt.GID); err != nil {
		err = ownerError(opt, err)
	} else if err = os.Chmod(path, opt.Mode); err != nil {
		err = fmt.Errorf("its mode could not be set to %#o: %w", opt.Mode, errors.Unwrap(err))
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// ownerError says that the socket could not be given to whom it is for.
func ownerError(opt SocketOptions, err error) error {
	whom := fmt.Sprintf("group %d", opt.GID)
	switch {
	case opt.GID < 0:
		whom = fmt.Sprintf("user %d", opt.UID)
	case opt.UID >= 0:
		whom = fmt.Sprintf("user %d and group %d", opt.UID, opt.GID)
	}
	advice := ""
	if errors.Is(err, unix.EPERM) {
		advice = fmt.Sprintf("; user %d, who runs this daemon, is not root and may give it only to a group that it is in: name such a one with --socket-group, or start makuod as root", os.Geteuid())
	}
	return fmt.Errorf("it could not be given to %s: %w%s", whom, errors.Unwrap(err), advice)
}

// removeStale removes the socket of a daemon that died. The caller holds the
// lock, so that nobody else makes one meanwhile.
func removeStale(path string) error {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if st.Mode().Type() != fs.ModeSocket {
		return errors.New("there is something else than a socket: remove it, or name another socket")
	}
	c, err := net.DialTimeout("unix", path, 2*time.Second)
	if err == nil {
		c.Close()
		return fmt.Errorf("%w: stop it, or name another socket", ErrInUse)
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("finding out if a daemon uses it: %w", err)
	}
	return os.Remove(path)
}
