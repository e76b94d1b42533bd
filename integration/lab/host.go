//go:build linux

package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Where things lie, as processes on a host see it.
const (
	BaseDir  = "/run/base"        // a tmpfs of its own: the daemon's base
	StateDir = "/run/state"       // the daemon's state
	Socket   = "/run/makuod.sock" // the daemon's socket, where it is by default
	Scratch  = "/run/tmp"         // for whatever a test needs
)

// Patience is how long the lab waits for anything that should come soon. It is
// a limit for broken programs, not a promise about good ones.
const Patience = 60 * time.Second

// Host is one host of a lab.
type Host struct {
	lab    *Lab
	Index  int
	Name   string // host name, and the member's name
	Addr   string // IPv4 address of eth0
	keeper *keeper
	port   string // its port at the switch
	logDir string

	daemon *Daemon   // running, or nil
	past   []*Daemon // ended, in order
}

// Path is where the test process finds a file of the host: its own root file
// system as seen through a process that lives there. Symbolic links with
// absolute targets must not be followed through it.
func (h *Host) Path(elem ...string) string {
	root := fmt.Sprintf("/proc/%d/root", h.keeper.pid())
	return filepath.Join(append([]string{root}, elem...)...)
}

// Base is where the test process finds the host's base, or a file in it.
func (h *Host) Base(elem ...string) string {
	return filepath.Join(append([]string{h.Path(BaseDir)}, elem...)...)
}

// Command is a command that will run on the host, in the given directory.
func (h *Host) Command(dir string, args ...string) *exec.Cmd {
	return h.keeper.command(append([]string{"env", "-C", dir}, args...)...)
}

// RemoteShell is what rsync's option -e needs to run its other end on the host:
// a program that takes a host's name and a command.
func (h *Host) RemoteShell() string {
	return fmt.Sprintf(`sh -c 'shift; exec nsenter --target %d --mount -- "$@"' sh`, h.keeper.pid())
}

// Exec runs a command in the host's base, ends the test if it fails, and
// returns its standard output.
func (h *Host) Exec(args ...string) string {
	h.lab.t.Helper()
	cmd := h.Command(BaseDir, args...)
	var problems strings.Builder
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		h.lab.t.Fatalf("%s: %s: %v\n%s%s", h.Name, strings.Join(args, " "), err, out, problems.String())
	}
	return string(out)
}

// Shell runs a script with sh -e in the host's base; see Exec.
func (h *Host) Shell(script string) string {
	h.lab.t.Helper()
	return h.Exec("sh", "-ec", script)
}

// Start starts the host's daemon with its base, state and socket in the usual
// places, the member name of the host and the given extra options.
func (h *Host) Start(args ...string) *Daemon {
	h.lab.t.Helper()
	usual := []string{"-b", BaseDir, "-U", Socket, "--state", StateDir, "--name", h.Name, "-i", "eth0"}
	return h.StartBare(BaseDir, append(usual, args...)...)
}

// StartBare starts the host's daemon in a directory with exactly these options,
// and waits until it answers.
func (h *Host) StartBare(dir string, args ...string) *Daemon {
	h.lab.t.Helper()
	if h.daemon != nil {
		h.lab.t.Fatalf("lab: %s: a daemon is running already", h.Name)
	}
	log := filepath.Join(h.logDir, fmt.Sprintf("makuod.%d.log", len(h.past)+1))
	cmd := h.Command(dir, append([]string{Binary(h.lab.t, "makuod")}, args...)...)
	h.daemon = StartDaemon(h.lab.t, cmd, h.Name, log)
	h.daemon.AwaitAnswer(func() error {
		if r := h.run(BaseDir, "--members"); r.Exit != 0 {
			return fmt.Errorf("msync --members: %s", r)
		}
		return nil
	})
	return h.daemon
}

// Daemon is the daemon running on the host; the test ends if there is none.
func (h *Host) Daemon() *Daemon {
	h.lab.t.Helper()
	if h.daemon == nil {
		h.lab.t.Fatalf("lab: %s: no daemon is running", h.Name)
	}
	return h.daemon
}

// Running says whether the host's daemon was started and not ended by the test.
func (h *Host) Running() bool { return h.daemon != nil }

// Kill ends the host's daemon with SIGKILL.
func (h *Host) Kill() {
	h.lab.t.Helper()
	h.Daemon().Kill()
	h.past, h.daemon = append(h.past, h.daemon), nil
}

// Leave ends the host's daemon with SIGTERM and waits for its end.
func (h *Host) Leave() {
	h.lab.t.Helper()
	d := h.Daemon()
	d.Terminate()
	d.Reap()
	h.past, h.daemon = append(h.past, h.daemon), nil
}

func (h *Host) terminate() {
	if h.daemon != nil {
		h.daemon.Terminate()
	}
}

// reap ends what terminate began.
func (h *Host) reap() {
	if h.daemon != nil {
		h.daemon.Reap()
		h.past, h.daemon = append(h.past, h.daemon), nil
	}
	for _, d := range h.past {
		d.Inspect()
	}
}

// shownLog is how much of the end of a log is shown after a failure, in bytes.
const shownLog = 6000

func (h *Host) showLogs() {
	for _, d := range h.past {
		data, _ := os.ReadFile(d.logName)
		cut := ""
		if len(data) > shownLog {
			data, cut = data[len(data)-shownLog:], "... "
		}
		h.lab.t.Logf("log of %s, daemon %s:\n%s%s", h.Name, filepath.Base(d.logName), cut, data)
	}
}
