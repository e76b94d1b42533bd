package control

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func listen(t *testing.T, path string) net.Listener {
	t.Helper()
	l, err := Listen(path, SocketOptions{UID: -1, GID: -1})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestListenModeAndCleanup(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l := listen(t, path)
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o660 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	if _, err := Listen(path, SocketOptions{UID: -1, GID: -1}); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), path) {
		t.Errorf("a second daemon: %v", err)
	}
	l.Close()
	l2 := listen(t, path)
	l.Close() // again: must not touch what belongs to l2
	if _, err := os.Lstat(path + ".lock"); err != nil {
		t.Errorf("closing a listener twice removed the next one's lock: %v", err)
	}
	l2.Close()
	left, _ := os.ReadDir(filepath.Dir(path))
	if len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	l3, err := Listen(path, SocketOptions{Mode: 0o600, UID: os.Getuid(), GID: os.Getgid()})
	if err != nil {
		t.Fatal(err)
	}
	defer l3.Close()
	if st, _ := os.Stat(path); st.Mode().Perm() != 0o600 {
		t.Errorf("%v", st.Mode())
	}
}

func TestListenOverLeftovers(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	raw, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path, SocketOptions{UID: -1, GID: -1}); !errors.Is(err, ErrInUse) {
		t.Errorf("a live socket without a lock: %v", err)
	}
	raw.SetUnlinkOnClose(false)
	raw.Close()
	if err := os.WriteFile(path+".lock", nil, 0o600); err != nil { // left with the socket
		t.Fatal(err)
	}
	listen(t, path).Close()

	os.WriteFile(path, []byte("precious"), 0o600)
	if _, err := Listen(path, SocketOptions{UID: -1, GID: -1}); err == nil {
		t.Error("a file was replaced")
	}
	if b, _ := os.ReadFile(path); string(b) != "precious" {
		t.Error("a file was lost")
	}
	long := filepath.Join(dir, strings.Repeat("x", 108))
	if _, err := Listen(long, SocketOptions{}); err == nil || !strings.Contains(err.Error(), "107") {
		t.Errorf("a path that is too long: %v", err)
	}
}

func TestDefaultSocket(t *testing.T) {
	env := func(v string) func(string) string { return func(string) string { return v } }
	for _, x := range []struct {
		uid       int
		env, want string
	}{
		{0, "/x", SystemSocket}, {7, "/run/user/7", "/run/user/7/makuod.sock"}, {7, "", "/tmp/makuod-7/makuod.sock"},
		{7, "relative", "/tmp/makuod-7/makuod.sock"},
	} {
		if got := defaultSocket(x.uid, env(x.env)); got != x.want {
			t.Errorf("%+v: %s", x, got)
		}
	}
}

// TestClientSocket: a user who may not use the system's daemon hears of that,
// not of a socket of his own that is not there.
func TestClientSocket(t *testing.T) {
	dir := t.TempDir()
	system, own := filepath.Join(dir, "system"), filepath.Join(dir, "own")
	if got := clientSocket(system, own); got != own {
		t.Errorf("without any: %s", got)
	}
	if err := os.WriteFile(system, nil, 0); err != nil {
		t.Fatal(err)
	}
	if got := clientSocket(system, own); got != system {
		t.Errorf("with the system's only: %s", got)
	}
	if err := os.WriteFile(own, nil, 0); err != nil {
		t.Fatal(err)
	}
	if got := clientSocket(system, own); got != own && os.Getuid() != 0 {
		t.Errorf("with one of its own: %s", got)
	}
}

func TestPrivateDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	if checkPrivateDir(dir, os.Getuid()) == nil {
		t.Error("a directory that is not there was taken")
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := checkPrivateDir(dir, os.Getuid()); err != nil {
		t.Error(err)
	}
	if checkPrivateDir(dir, os.Getuid()+1) == nil {
		t.Error("another user's directory was taken")
	}
	if err := unix.Chmod(dir, 0o770); err != nil {
		t.Fatal(err)
	}
	if checkPrivateDir(dir, os.Getuid()) == nil {
		t.Error("a directory that others may write was taken")
	}
	link := dir + "l"
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if unix.Chmod(dir, 0o700); checkPrivateDir(link, os.Getuid()) == nil {
		t.Error("a symbolic link was taken")
	}
}

func TestTargets(t *testing.T) {
	wd, _ := os.Getwd()
	for target, want := range map[string]string{
		"unix:/a": "unix:/a", "/a": "unix:/a", "a": "unix:" + wd + "/a", "tcp:h:1": "", "unix:": "",
	} {
		c, err := NewClient(target)
		if (err != nil) != (want == "") || err == nil && c.Target() != want {
			t.Errorf("%s: %v, %v", target, c, err)
		}
	}
}

// TestOwnerError: that a socket could not be given away says to whom, who tried,
// and what to do.
func TestOwnerError(t *testing.T) {
	for _, x := range []struct {
		uid, gid int
		errno    unix.Errno
		says     []string
	}{
		{-1, 33, unix.EPERM, []string{"to group 33:", "--socket-group", "as root"}},
		{33, -1, unix.EPERM, []string{"to user 33:", "as root"}},
		{33, 34, unix.EROFS, []string{"to user 33 and group 34:", "read-only file system"}},
	} {
		err := ownerError(SocketOptions{UID: x.uid, GID: x.gid}, &os.PathError{Op: "lchown", Path: "/x", Err: x.errno})
		for _, s := range x.says {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("%q is not in %q", s, err)
			}
		}
		if !errors.Is(err, x.errno) || strings.Contains(err.Error(), "lchown") {
			t.Errorf("%q", err)
		}
	}
}
