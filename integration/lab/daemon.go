//go:build linux

package lab

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// MemoryLimit is the most memory a daemon may ever have resident, in bytes.
const MemoryLimit = 150_000_000

// Daemon is one run of makuod, from its start to its end.
type Daemon struct {
	t       testing.TB
	name    string
	logName string
	cmd     *exec.Cmd
	ended   chan struct{} // closed when the process is gone
	peak    uint64        // peak resident memory as last read, bytes
	killed  bool          // the test ended it by force
	stopped bool          // the test asked it to end
}

// StartDaemon starts a prepared command as a daemon whose output goes to a log.
// The caller ends it with Terminate and Reap, or Kill, and then judges it with
// Inspect; a Host does so by itself.
func StartDaemon(t testing.TB, cmd *exec.Cmd, name, logName string) *Daemon {
	t.Helper()
	log, err := os.OpenFile(logName, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatalf("lab: starting the daemon of %s: %v", name, err)
	}
	d := &Daemon{t: t, name: name, logName: logName, cmd: cmd, ended: make(chan struct{})}
	go func() { // ends with the process
		cmd.Wait()
		close(d.ended)
	}()
	return d
}

// AwaitAnswer asks until there is an answer; the test ends when the daemon does.
func (d *Daemon) AwaitAnswer(ask func() error) {
	d.t.Helper()
	WaitFor(d.t, "an answer from the daemon of "+d.name, func() error {
		select {
		case <-d.ended:
			log, _ := os.ReadFile(d.logName)
			d.t.Fatalf("the daemon of %s ended at its start: %v\n%s", d.name, d.cmd.ProcessState, log)
		default:
		}
		return ask()
	})
}

// PID is the daemon's process id.
func (d *Daemon) PID() int { return d.cmd.Process.Pid }

// Signal sends a signal to the daemon.
func (d *Daemon) Signal(sig syscall.Signal) {
	d.t.Helper()
	if err := d.cmd.Process.Signal(sig); err != nil {
		d.t.Errorf("lab: %s: sending %v: %v", d.name, sig, err)
	}
}

// Stop halts the daemon without ending it; Cont lets it go on.
func (d *Daemon) Stop() { d.t.Helper(); d.Signal(syscall.SIGSTOP) }

// Cont lets a stopped daemon go on.
func (d *Daemon) Cont() { d.t.Helper(); d.Signal(syscall.SIGCONT) }

// Kill ends the daemon by force and waits for its end.
func (d *Daemon) Kill() {
	d.t.Helper()
	d.killed = true
	d.Peak()
	d.Signal(syscall.SIGKILL)
	<-d.ended
}

// Terminate asks the daemon to end.
func (d *Daemon) Terminate() {
	d.t.Helper()
	if d.stopped || d.killed {
		return
	}
	d.Peak()
	select {
	case <-d.ended:
		return // by itself: Inspect says so
	default:
	}
	d.stopped = true
	d.Signal(syscall.SIGTERM)
	d.cmd.Process.Signal(syscall.SIGCONT) // in case it is stopped; it may be gone already
}

// Reap waits for the end of a daemon that was asked to end, and ends it by
// force, with a test error, if that takes too long.
func (d *Daemon) Reap() {
	d.t.Helper()
	limit := time.NewTimer(Patience / 3)
	defer limit.Stop()
	select {
	case <-d.ended:
	case <-limit.C:
		d.t.Errorf("%s: the daemon did not end after SIGTERM", d.name)
		d.Signal(syscall.SIGQUIT) // for the goroutines in the log
		select {
		case <-d.ended:
		case <-time.After(2 * time.Second):
		}
		d.Kill()
	}
}

var peakLine = regexp.MustCompile(`(?m)^VmHWM:\s*(\d+) kB`)

// Peak is the most memory the daemon ever had resident, in bytes; 0 when that
// was never read while it ran.
func (d *Daemon) Peak() uint64 {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.PID()))
	if m := peakLine.FindSubmatch(status); m != nil {
		kB, _ := strconv.ParseUint(string(m[1]), 10, 64)
		d.peak = max(d.peak, kB*1024)
	}
	return d.peak
}

// alarms are what must never stand in a daemon's log.
var alarms = []string{"\npanic: ", "\nfatal error: ", "WARNING: DATA RACE", "goroutine 1 [running]"}

// Inspect judges an ended daemon: it must have ended cleanly and only when asked
// to, without alarms in its log, and with a peak of memory below MemoryLimit.
func (d *Daemon) Inspect() {
	d.t.Helper()
	log, err := os.ReadFile(d.logName)
	if err != nil {
		d.t.Errorf("%s: the daemon's log: %v", d.name, err)
	}
	for _, a := range alarms {
		if i := bytes.Index(log, []byte(a)); i >= 0 {
			d.t.Errorf("%s: the daemon's log has %q:\n%.3000s", d.name, a, log[i:])
		}
	}
	state := d.cmd.ProcessState
	switch {
	case d.killed:
	case !d.stopped:
		d.t.Errorf("%s: the daemon ended by itself: %v", d.name, state)
	case !state.Success():
		d.t.Errorf("%s: the daemon ended with %v after SIGTERM", d.name, state)
	}
	d.t.Logf("%s: peak memory %.1f MB", d.name, float64(d.peak)/1e6)
	if d.peak > MemoryLimit && !Race {
		d.t.Errorf("%s: peak memory is %d bytes, more than %d", d.name, d.peak, MemoryLimit)
	}
}

// WaitFor polls until the condition returns nil, and ends the test with its
// last error after Patience.
func WaitFor(t testing.TB, what string, condition func() error) {
	t.Helper()
	Within(t, Patience, what, condition)
}

// Within polls until the condition returns nil, and ends the test with its last
// error when the limit has passed.
func Within(t testing.TB, limit time.Duration, what string, condition func() error) {
	t.Helper()
	end := time.Now().Add(limit)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := condition()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waited %v for %s: %v", limit, what, err)
		}
		<-tick.C
	}
}
