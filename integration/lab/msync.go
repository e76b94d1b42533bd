//go:build linux

package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// runLimit is the longest a run of msync may take; a program that hangs longer
// is ended, and the test with it.
const runLimit = 5 * time.Minute

// Result is what a run of msync left.
type Result struct {
	Args           []string
	Stdout, Stderr string
	Exit           int // exit status; -1 when it was ended by a signal
	Took           time.Duration
}

// String is the whole result, for messages.
func (r Result) String() string {
	return fmt.Sprintf("msync %s: exit %d after %v\n--- stdout\n%s--- stderr\n%s---",
		strings.Join(r.Args, " "), r.Exit, r.Took.Round(time.Millisecond), clip(r.Stdout), clip(r.Stderr))
}

func clip(s string) string {
	const most = 4000
	if len(s) > most {
		return s[:most/2] + "\n...\n" + s[len(s)-most/2:]
	}
	return s
}

// Lines are the lines of standard output that begin with any of the words.
func (r Result) Lines(words ...string) []string {
	var out []string
	for line := range strings.Lines(r.Stdout) {
		for _, w := range words {
			if strings.HasPrefix(line, w+" ") {
				out = append(out, strings.TrimSuffix(line, "\n"))
			}
		}
	}
	return out
}

// Errors are the lines of standard error that begin with "error:".
func (r Result) Errors() []string {
	var out []string
	for line := range strings.Lines(r.Stderr) {
		if strings.HasPrefix(line, "error:") {
			out = append(out, strings.TrimSuffix(line, "\n"))
		}
	}
	return out
}

// Event is one object of msync's --json output.
type Event map[string]any

// Type is the event's kind.
func (e Event) Type() string {
	s, _ := e["type"].(string)
	return s
}

// Run is a running msync.
type Run struct {
	t     testing.TB
	args  []string
	cmd   *exec.Cmd
	stop  context.CancelFunc
	began time.Time

	mu     sync.Mutex
	change *sync.Cond
	stdout bytes.Buffer
	stderr bytes.Buffer
	events []Event
	seen   int // events looked at by WaitEvent
	over   bool
	result Result
}

// Msync runs msync in the host's base to its end.
func (h *Host) Msync(args ...string) Result {
	h.lab.t.Helper()
	return h.MsyncIn(BaseDir, args...)
}

// MsyncIn runs msync in a directory of the host to its end.
func (h *Host) MsyncIn(dir string, args ...string) Result {
	h.lab.t.Helper()
	r := h.run(dir, args...)
	h.lab.t.Logf("%s: msync %s: exit %d, %v", h.Name, strings.Join(args, " "), r.Exit, r.Took.Round(time.Millisecond))
	return r
}

func (h *Host) run(dir string, args ...string) Result {
	h.lab.t.Helper()
	return h.begin(dir, args...).Wait()
}

// Begin starts msync in the host's base. With --json among the options its
// events can be waited for.
func (h *Host) Begin(args ...string) *Run {
	h.lab.t.Helper()
	return h.begin(BaseDir, args...)
}

func (h *Host) begin(dir string, args ...string) *Run {
	h.lab.t.Helper()
	cmd := h.Command(dir, append([]string{Binary(h.lab.t, "msync")}, args...)...)
	return StartMsync(h.lab.t, cmd, args)
}

// StartMsync starts a prepared command as a run of msync; args are for messages.
func StartMsync(t testing.TB, cmd *exec.Cmd, args []string) *Run {
	t.Helper()
	r := &Run{t: t, args: args, cmd: cmd, began: time.Now()}
	r.change = sync.NewCond(&r.mu)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("lab: starting msync: %v", err)
	}
	ctx, stop := context.WithTimeout(context.Background(), runLimit)
	r.stop = stop
	context.AfterFunc(ctx, func() { cmd.Process.Kill() })
	var readers sync.WaitGroup
	readers.Go(func() { r.collect(stdout, &r.stdout) })
	readers.Go(func() { r.collect(stderr, &r.stderr) })
	go func() { // ends with the process
		readers.Wait()
		r.finish(cmd.Wait(), ctx.Err() != nil)
	}()
	return r
}

// collect keeps what a pipe delivers, and the events among it.
func (r *Run) collect(pipe io.Reader, into *bytes.Buffer) {
	buf := make([]byte, 64<<10)
	var rest []byte
	for {
		n, err := pipe.Read(buf)
		r.mu.Lock()
		into.Write(buf[:n])
		if into == &r.stdout {
			rest = r.takeEvents(append(rest, buf[:n]...))
		}
		r.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// takeEvents takes the events from whole lines and returns the unfinished rest.
// It is called with mu held.
func (r *Run) takeEvents(data []byte) []byte {
	for {
		line, rest, ok := bytes.Cut(data, []byte("\n"))
		if !ok {
			return data
		}
		data = rest
		var e Event
		if len(line) > 0 && line[0] == '{' && json.Unmarshal(line, &e) == nil {
			r.events = append(r.events, e)
			r.change.Broadcast()
		}
	}
}

func (r *Run) finish(err error, late bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stop()
	r.result = Result{Args: r.args, Stdout: r.stdout.String(), Stderr: r.stderr.String(), Took: time.Since(r.began)}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		r.result.Exit = exit.ExitCode()
	case err != nil:
		r.result.Exit = -1
		r.result.Stderr += "lab: " + err.Error() + "\n"
	}
	if late {
		r.result.Stderr += fmt.Sprintf("lab: msync was ended after %v\n", runLimit)
	}
	r.over = true
	r.change.Broadcast()
}

// Signal sends a signal to msync.
func (r *Run) Signal(sig syscall.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(sig); err != nil {
		r.t.Errorf("lab: sending %v to msync: %v", sig, err)
	}
}

// Wait waits for msync's end.
func (r *Run) Wait() Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	for !r.over {
		r.change.Wait()
	}
	return r.result
}

// Over says whether msync has ended.
func (r *Run) Over() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.over
}

// TryEvent waits for the next event that the condition holds for; ok is false
// when msync ended without one. Each event is looked at once.
func (r *Run) TryEvent(condition func(Event) bool) (e Event, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		for r.seen < len(r.events) {
			e := r.events[r.seen]
			r.seen++
			if condition(e) {
				return e, true
			}
		}
		if r.over {
			return nil, false
		}
		r.change.Wait()
	}
}

// WaitEvent is TryEvent for an event that must come: the test ends without it.
func (r *Run) WaitEvent(what string, condition func(Event) bool) Event {
	r.t.Helper()
	e, ok := r.TryEvent(condition)
	if !ok {
		r.t.Fatalf("msync ended before %s: %s", what, r.Wait())
	}
	return e
}
