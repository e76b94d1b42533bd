package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"makuo/internal/control"
)

// TestErrorsAreJSON: with --json whatever goes wrong is a JSON object on
// standard output that has the exit status, and standard error is empty.
func TestErrorsAreJSON(t *testing.T) {
	l := newLab(t)
	for _, x := range []struct {
		args []string
		code string
	}{
		{[]string{"--json", "--recurse"}, codeUsage},
		{[]string{"-rz", "--json"}, codeUsage},
		{[]string{"-r", "gone\xff", "--json"}, codeLocal},
		{[]string{"-r", "--json", "--exclude-from", "/nonexistent"}, codeLocal},
		{[]string{"--json", "--status", "--socket", filepath.Join(l.cwd, "none")}, codeUnreachable},
		{[]string{"--json", "--forget", "nobody"}, control.CodeNotFound},
	} {
		exit, out, errs := l.run(x.args...)
		var got struct {
			Type, Code string
			Message    control.Text
			Exit       int
		}
		if err := json.Unmarshal([]byte(out), &got); err != nil || errs != "" || strings.Count(out, "\n") != 1 {
			t.Errorf("%q: %v in %q; stderr %q", x.args, err, out, errs)
			continue
		}
		if got.Type != "error" || got.Code != x.code || got.Exit != exit || exit != 1 || got.Message == "" {
			t.Errorf("%q: exit %d, %+v", x.args, exit, got)
		}
	}
	if _, out, errs := l.run("-r", "--", "--json"); out != "" || !strings.HasPrefix(errs, "error: ") {
		t.Errorf("a path called --json: %q %q", out, errs)
	}
	l.b.push = func(ctx context.Context, _ *control.PushRequest, emit func(control.Event)) error {
		l.signals <- os.Interrupt
		<-ctx.Done()
		emit(&control.Summary{Exit: 4})
		return nil
	}
	_, out, errs := l.run("-r", "--json")
	if errs != "" || !strings.Contains(out, `{"type":"note","code":"interrupted"`) {
		t.Errorf("interrupted: %q %q", out, errs)
	}
}

// TestCrowds: of a thousand problems of one kind ten are shown and the rest
// counted, for each member and message; -vv and --json have them all.
func TestCrowds(t *testing.T) {
	l := newLab(t)
	var all []control.Event
	for i := range 1000 {
		all = append(all, &control.Problem{Severity: control.SeverityError, Member: "m1", Path: control.Text(fmt.Sprint("a", i)), Message: "no space"})
	}
	for i := range 12 {
		all = append(all, &control.Problem{Severity: control.SeverityWarning, Path: control.Text(fmt.Sprint("w", i)),
			Message: control.Text(fmt.Sprintf("has %d bytes more", i))})
	}
	all = append(all, &control.Problem{Severity: control.SeverityError, Member: "m2", Path: "b", Message: "no space"},
		&control.Member{Name: "m1", Outcome: control.OutcomeFailed, Counts: control.Counts{Errors: 1000}},
		&control.Summary{Failed: 2, Exit: 2, Text: "end"})
	l.b.push = events(all...)
	_, _, errs := l.run("-r")
	lines := strings.Split(strings.TrimSpace(errs), "\n")
	if len(lines) != 10+10+1+1+1 || lines[21] != "error: m1: ... and 990 more like this: no space" ||
		lines[22] != "warning: ... and 2 more like this: has 0 bytes more" {
		t.Errorf("%d lines:\n%s", len(lines), errs)
	}
	if _, _, errs = l.run("-rvv"); strings.Count(errs, "\n") != 1013 {
		t.Errorf("-vv: %d lines", strings.Count(errs, "\n"))
	}
	if _, out, _ := l.run("-r", "--json"); strings.Count(out, `"problem"`) != 1013 {
		t.Errorf("--json: %d problems", strings.Count(out, `"problem"`))
	}
	if _, out, errs := l.run("-rq"); out != "" || strings.Count(errs, "\n") != 12 || strings.Contains(errs, "warning") {
		t.Errorf("-q: %q\n%s", out, errs)
	}
}

// TestQuiet: nothing but errors is shown.
func TestQuiet(t *testing.T) {
	l := newLab(t)
	l.width = 80
	l.b.push = events(&control.Waiting{For: "web9"}, &control.Progress{Stage: control.StageSend},
		&control.Path{Action: control.ActionDiffers, Member: "dst", Path: "x"},
		&control.Problem{Severity: control.SeverityWarning, Message: "odd"},
		&control.Member{Name: "late", Outcome: control.OutcomeLate},
		&control.Member{Name: "gone", Outcome: control.OutcomeMissing, Ignored: true},
		&control.Member{Name: "bad", Outcome: control.OutcomeFailed, Message: "no space"},
		&control.Summary{Exit: 2, Text: "end"})
	l.expect(2, "", "error: bad: failed: no space\n", "-rq")
	l.b.push = events(&control.Summary{Exit: 3})
	l.expect(3, "", "error: nothing sent: there is nobody to push to\n", "-r", "--quiet")
}

// TestProgressFitsTheTerminal: whatever the width becomes, no line is wider,
// wide characters counted; what a narrower terminal has wrapped is left alone.
func TestProgressFitsTheTerminal(t *testing.T) {
	var errs bytes.Buffer
	now, width := t0, 11
	s := &screen{stderr: &errs, width: func() int { return width }, now: func() time.Time { return now }}
	draw := func(text, want string) {
		t.Helper()
		now = now.Add(progressEvery)
		s.progress(text)
		if errs.String() != want {
			t.Errorf("%q, want %q", errs.String(), want)
		}
		errs.Reset()
	}
	draw("漢字漢字漢字", "\r漢字漢字漢")
	draw("a漢字漢字漢字", "\ra漢字漢字 \b")
	draw("e\u0301e\u0301", "\re\u0301e\u0301"+strings.Repeat(" ", 7)+strings.Repeat("\b", 7))
	draw("0123456789", "\r0123456789")
	width = 6
	draw("0123456789", "\n\r01234")
	width = 4
	s.erase()
	if errs.String() != "\n" {
		t.Errorf("%q", errs.String())
	}
}

// TestPlainProgress: with --progress and no terminal, or one that cannot go
// back in a line, a line comes every five seconds.
func TestPlainProgress(t *testing.T) {
	var errs bytes.Buffer
	now := t0
	s := &screen{stderr: &errs, width: func() int { return 0 }, now: func() time.Time { return now }, plain: true, last: t0}
	for i := range 24 {
		now = now.Add(time.Second / 2)
		s.progress(fmt.Sprint(i))
	}
	if errs.String() != "9\n19\n" {
		t.Errorf("%q", errs.String())
	}
	l := newLab(t)
	l.width, l.env["TERM"] = 80, "dumb"
	l.b.push = events(&control.Progress{Stage: control.StageSend}, &control.Summary{Done: 1})
	l.expect(0, summaryLine, "", "-r")
}
