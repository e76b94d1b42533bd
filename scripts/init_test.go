// Package scripts_test tests the scripts, and what holds for the sources as a
// whole.
package scripts_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// service is the init script with a daemon of its own in a directory of the
// test's.
type service struct {
	t   *testing.T
	dir string
	env []string
}

func newService(t *testing.T) *service {
	t.Helper()
	// The socket's path must be short.
	dir, err := os.MkdirTemp("", "makuod-init")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &service{t: t, dir: dir}
	build := exec.Command("go", "build", "-o", dir, "makuo/cmd/makuod", "makuo/cmd/msync")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	if err := os.Mkdir(s.path("base"), 0o755); err != nil {
		t.Fatal(err)
	}
	// Another port and cluster than a daemon that may run on this host.
	s.write("default", fmt.Sprintf("MAKUOD_BASE=%s\nMAKUOD_STATE=%s\nMAKUOD_CLUSTER=init-test-%d\nMAKUOD_PORT=%d\nMAKUOD_INTERFACE=lo\nOPTIONS='--name initd -d 9'\n",
		s.path("base"), s.path("state"), os.Getpid(), 20000+os.Getpid()%20000))
	s.env = append(os.Environ(), "DEFAULTS="+s.path("default"), "DAEMON="+s.path("makuod"), "MSYNC="+s.path("msync"),
		"PIDFILE="+s.path("pid"), "LOGFILE="+s.path("log"), "MAKUOD_SOCKET="+s.path("sock"))
	t.Cleanup(func() { s.run("stop") })
	return s
}

func (s *service) path(name string) string { return filepath.Join(s.dir, name) }

func (s *service) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(s.path(name), []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// run runs the script and returns what it printed and its exit status.
func (s *service) run(verb string) (string, int) {
	cmd := exec.Command("sh", "makuod.init", verb)
	cmd.Env = s.env
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// want runs the script and checks its exit status and what it says.
func (s *service) want(verb string, status int, said string) {
	s.t.Helper()
	out, got := s.run(verb)
	if got != status || !strings.Contains(out, said) {
		log, _ := os.ReadFile(s.path("log"))
		s.t.Fatalf("%s: status %d, want %d; said %q, want %q; log:\n%s", verb, got, status, out, said, log)
	}
}

func (s *service) pid() int {
	s.t.Helper()
	text, err := os.ReadFile(s.path("pid"))
	if err != nil {
		s.t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		s.t.Fatal(err)
	}
	return pid
}

// kill kills the process and returns when it is dead.
func (s *service) kill(pid int) {
	s.t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		s.t.Fatal(err)
	}
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
		if err == nil {
			return
		}
		if !errors.Is(err, unix.EINTR) {
			s.t.Fatal(err)
		}
	}
}

func TestInitScript(t *testing.T) {
	s := newService(t)
	s.want("status", 3, "stopped")
	s.want("stop", 0, "not running")
	s.want("start", 0, "is running")
	first := s.pid()
	if exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", first)); exe != s.path("makuod") {
		t.Fatalf("the pid file names %q", exe)
	}
	s.want("status", 0, strconv.Itoa(first))

	s.want("start", 0, "already running")
	if s.pid() != first {
		t.Error("a second start changed the pid file")
	}

	s.want("restart", 0, "is running")
	second := s.pid()
	if second == first {
		t.Error("restart left the old daemon")
	}
	s.want("try-restart", 0, "is running")
	if s.pid() == second {
		t.Error("try-restart left the old daemon")
	}
	second = s.pid()
	s.want("force-reload", 0, "is running")
	third := s.pid()
	if third == second {
		t.Error("force-reload left the old daemon")
	}
	s.want("stop", 0, "is stopped")
	// A zombie whose new parent has not looked yet has no program.
	if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", third)); err == nil {
		t.Errorf("%s runs after stop", exe)
	}
	s.want("status", 3, "stopped")
}

// The pid file of a daemon that was killed, and one whose number has gone to
// another program.
func TestInitScriptWithAStalePidFile(t *testing.T) {
	s := newService(t)
	s.want("start", 0, "is running")
	s.kill(s.pid())
	s.want("status", 1, "dead")
	s.want("start", 0, "is running")
	s.want("stop", 0, "is stopped")

	s.write("pid", strconv.Itoa(os.Getpid()))
	s.want("status", 1, "dead")
	s.want("stop", 0, "not running") // and must not end this test
	s.write("pid", "no number")
	s.want("start", 0, "is running")
	s.want("stop", 0, "is stopped")
}

func TestInitScriptSaysWhyItCannotStart(t *testing.T) {
	s := newService(t)
	good := s.env
	s.env = append(good, "OPTIONS=")
	s.write("default", "MAKUOD_BASE="+s.path("nosuch")+"\n")
	s.want("start", 1, s.path("log")+" says why")
	if log, _ := os.ReadFile(s.path("log")); !strings.Contains(string(log), "nosuch") {
		t.Errorf("log %q", log)
	}
	s.want("status", 3, "stopped")
	s.env = append(good, "DAEMON="+s.path("nodaemon"))
	s.want("start", 5, "not installed")
	s.want("dance", 2, "Usage")
	s.want("reload", 3, "restart")
	s.want("try-restart", 0, "") // of one that does not run
	s.want("status", 3, "stopped")
}

// TestInitScriptKeepsLevels: each line goes to syslog at its own level.
func TestInitScriptKeepsLevels(t *testing.T) {
	s := newService(t)
	s.write("logger", "#!/bin/sh\nlevel=$4\nshift 5\necho \"$level $*\" >>"+s.path("syslog")+"\n")
	s.write("fake", "#!/bin/sh\necho '{\"level\":\"debug\",\"msg\":\"a\"}'\necho '{\"level\":\"info\",\"msg\":\"b \\\"level\\\":\\\"error\\\"\"}'\n"+
		"echo '{\"level\":\"warn\",\"msg\":\"c\"}'\necho '{\"level\":\"error\",\"msg\":\"d\"}' >&2\necho 'panic: e' >&2\n")
	for _, name := range []string{"logger", "fake"} {
		if err := os.Chmod(s.path(name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s.env = append(s.env, "LOGFILE=", "DAEMON="+s.path("fake"), "PATH="+s.dir+":"+os.Getenv("PATH"))
	s.want("start", 1, "the system log says why")
	var log string
	for tick := time.Tick(5 * time.Millisecond); strings.Count(log, "\n") < 5; <-tick {
		b, _ := os.ReadFile(s.path("syslog"))
		log = string(b)
	}
	want := []string{"daemon.debug {", "daemon.info {", "daemon.warning {", "daemon.err {", "daemon.err panic: e"}
	for i, line := range strings.Split(strings.TrimSpace(log), "\n") {
		if !strings.HasPrefix(line, want[i]) {
			t.Errorf("%q, want %s", line, want[i])
		}
	}
}

// TestInitScriptWithoutRights: what the user may not do or see is said so.
func TestInitScriptWithoutRights(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, who can become somebody without rights")
	}
	s := newService(t)
	if err := os.Chmod(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	as := func(verb string, status int, said string) {
		t.Helper()
		cmd := exec.Command("sh", "-s", verb)
		script, err := os.Open("makuod.init")
		if err != nil {
			t.Fatal(err)
		}
		defer script.Close()
		cmd.Stdin, cmd.Env, cmd.Dir = script, s.env, "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, _ := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != status || !strings.Contains(string(out), said) {
			t.Errorf("%s: status %d, want %d; said %q, want %q", verb, got, status, out, said)
		}
	}
	as("start", 4, "run it as root")
	as("status", 3, "stopped")
	s.want("start", 0, "is running")
	as("status", 0, "is running")
	as("stop", 4, "")
	if err := os.Chmod(s.path("pid"), 0o600); err != nil {
		t.Fatal(err)
	}
	as("status", 4, "may be running or not")
	as("stop", 4, "run it as root")
	s.want("status", 0, "is running")
}
