package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"makuo/internal/control"
)

const (
	abortingLine = "note: aborting; waiting for the daemon to confirm it (interrupt again to leave at once)\n"
	decidedLine  = "note: the decision to commit is taken, the push cannot be aborted any more; the members complete it, asking the daemon how it stands (interrupt again to leave it to the daemon)\n"
)

// tap calls f when text is written.
type tap struct {
	strings.Builder
	text string
	f    func()
}

func (w *tap) Write(b []byte) (int, error) {
	if strings.Contains(string(b), w.text) {
		w.f()
	}
	return w.Builder.Write(b)
}

// WriteString keeps io.WriteString from passing Write by.
func (w *tap) WriteString(s string) (int, error) { return w.Write([]byte(s)) }

func TestInterruptBeforeDecision(t *testing.T) {
	l := newLab(t)
	l.b.push = func(ctx context.Context, _ *control.PushRequest, emit func(control.Event)) error {
		l.signals <- os.Interrupt
		<-ctx.Done()
		emit(&control.Summary{Exit: 4, Reason: "interrupted"})
		return ctx.Err()
	}
	l.expect(4, "", abortingLine+"error: aborted, nothing was changed anywhere: interrupted\n", "-r")
	l.b.push = func(ctx context.Context, _ *control.PushRequest, emit func(control.Event)) error {
		l.signals <- syscall.SIGTERM
		<-ctx.Done()
		return fmt.Errorf("aborted: %w", ctx.Err())
	}
	l.expect(4, "", abortingLine+"error: aborted: nothing was changed anywhere\n", "-r")
}

func TestInterruptMeetsDecision(t *testing.T) {
	l := newLab(t)
	l.b.push = func(ctx context.Context, _ *control.PushRequest, emit func(control.Event)) error {
		emit(&control.Start{Push: "p1"})
		l.signals <- os.Interrupt
		<-ctx.Done() // cancelled, but the decision is on disk already
		emit(&control.Decided{Push: "p1"})
		emit(&control.Summary{Done: 1})
		return nil
	}
	l.expect(0, summaryLine, abortingLine+decidedLine, "-r")
}

func TestInterruptAfterDecision(t *testing.T) {
	l := newLab(t)
	errs := &strings.Builder{}
	l.b.push = func(ctx context.Context, _ *control.PushRequest, emit func(control.Event)) error {
		emit(&control.Decided{Push: "p1"})
		emit(&control.Path{Action: control.ActionUpdate, Member: "m", Path: "p"})
		<-ctx.Done() // the daemon waits for the members no longer
		emit(&control.Summary{Done: 1})
		return nil
	}
	out := &tap{text: "update m:p", f: func() { l.signals <- os.Interrupt }}
	exit := run([]string{"-rv"}, strings.NewReader(""), out, errs, l.environment())
	if exit != 0 || out.String() != "update m:p\n"+summaryLine || errs.String() != decidedLine {
		t.Errorf("exit %d\n%s\n%s", exit, out.String(), errs.String())
	}
}

func TestSecondInterruptLeaves(t *testing.T) {
	for _, decided := range []bool{false, true} {
		l := newLab(t)
		cut := make(chan struct{})
		l.b.push = func(ctx context.Context, _ *control.PushRequest, emit func(control.Event)) error {
			if decided {
				emit(&control.Decided{Push: "p1"})
			}
			emit(&control.Path{Action: control.ActionUpdate, Member: "m", Path: "p"})
			<-cut
			<-ctx.Done()
			return ctx.Err()
		}
		out := &tap{text: "update m:p", f: func() { l.signals <- os.Interrupt }}
		errs := &tap{text: "interrupt again", f: func() { l.signals <- os.Interrupt }}
		exit := run([]string{"-rv"}, strings.NewReader(""), out, errs, l.environment())
		want := abortingLine + "error: left before the daemon had confirmed the abort; it aborts the push unless the decision to commit was taken meanwhile: see msync --status\n"
		if decided {
			want = decidedLine + "error: left; the push goes on: see msync --status\n"
		}
		if exit != 2 || errs.String() != want {
			t.Errorf("decided %v: exit %d\n%s", decided, exit, errs.String())
		}
		close(cut)
	}
}
