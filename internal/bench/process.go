//go:build linux

package main

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// usage is what a program took.
type usage struct {
	CPU  time.Duration // with its children
	Peak uint64        // the largest of its processes, bytes
}

// add sums processor time and keeps the larger peak.
func (u usage) add(v usage) usage { return usage{u.CPU + v.CPU, max(u.Peak, v.Peak)} }

// process is a started program on a host, in a process group of its own.
type process struct {
	what  string
	cmd   *exec.Cmd
	crew  *crew
	out   tail
	ended chan struct{} // closed when it is gone
	err   error         // set before ended is closed
	at    time.Time     // when it was gone; set before ended is closed
}

// tail keeps the end of a program's output, for messages.
type tail struct {
	mu   sync.Mutex
	data []byte
}

const tailSize = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.data = append(t.data, p...)
	if len(t.data) > 2*tailSize {
		t.data = append(t.data[:0], t.data[len(t.data)-tailSize:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.data[max(0, len(t.data)-tailSize):]))
}

// launch starts a prepared command. Output that the command has no writer for
// is kept in the process's tail.
func (c *crew) launch(what string, cmd *exec.Cmd) (*process, error) {
	p := &process{what: what, cmd: cmd, crew: c, ended: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = &p.out
	}
	cmd.Stderr = &p.out
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	// A child of the program that outlives it must not keep Wait from returning.
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", what, err)
	}
	c.watch.add(cmd.Process.Pid)
	go func() { // ends with the process
		err := cmd.Wait()
		p.at = time.Now()
		if !errors.Is(err, exec.ErrWaitDelay) {
			p.err = err
		}
		close(p.ended)
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// wait waits for the process's end, at most until the deadline; then it is
// ended by force, with all that is in its process group.
func (p *process) wait(deadline time.Time) error {
	limit := time.NewTimer(time.Until(deadline))
	defer limit.Stop()
	select {
	case <-p.ended:
	case <-limit.C:
		p.kill()
		return errTooLong
	case <-p.crew.stop:
		p.kill()
		return errInterrupted
	}
	if p.err != nil {
		return fmt.Errorf("%s: %w: %s", p.what, p.err, lastLines(p.out.String(), 6))
	}
	return nil
}

// errTooLong says that a contender did not end within its limit.
var errTooLong = errors.New("did not end in time")

// errInterrupted says that the user, or the limit of the whole run, ended it.
var errInterrupted = errors.New("interrupted")

// signalEnd asks a server to end and waits; it is ended by force after 2 s.
func (p *process) signalEnd() {
	syscall.Kill(-p.pid(), syscall.SIGTERM)
	limit := time.NewTimer(2 * time.Second)
	defer limit.Stop()
	select {
	case <-p.ended:
	case <-limit.C:
		p.kill()
	}
}

func (p *process) kill() {
	syscall.Kill(-p.pid(), syscall.SIGKILL)
	<-p.ended
}

// usage of an ended process.
func (p *process) usage() usage {
	u := usage{Peak: p.crew.watch.of(p.pid())}
	if s := p.cmd.ProcessState; s != nil {
		u.CPU = s.UserTime() + s.SystemTime() // with those of waited-for children
	}
	return u
}

// lastLines are the last n lines of a text, joined by semicolons.
func lastLines(text string, n int) string {
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' })
	lines = lines[max(0, len(lines)-n):]
	return strings.TrimSpace(strings.Join(lines, "; "))
}
