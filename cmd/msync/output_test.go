package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"makuo/internal/control"
)

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain": "plain", "grün 漢": "grün 漢", `a\b`: `a\b`, `a\#12x`: `a\#12x`, `a\#012`: `a\#134#012`,
		"a\nb\x00\x7f": `a\#012b\#000\#177`, "\xff\xc3": `\#377\#303`, "\u0085": `\#302\#205`,
		"\u202e": `\#342\#200\#256`, "\u2028": `\#342\#200\#250`,
	} {
		if got := clean(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestProgressLine(t *testing.T) {
	var out, errs bytes.Buffer
	now, width := t0, 20
	s := &screen{stdout: &out, stderr: &errs, width: func() int { return width }, now: func() time.Time { return now }}
	s.progress("first text")
	s.progress("too early")
	now = now.Add(progressEvery)
	s.progress("second")
	now = now.Add(progressEvery)
	s.progress("longer than the terminal is wide\n")
	s.out("line")
	s.erase()
	width = 0
	now = now.Add(progressEvery)
	s.progress("no terminal any more")
	want := "\rfirst text" + "\rsecond    \b\b\b\b" + "\rlonger than the ter" + "\r" + strings.Repeat(" ", 19) + "\r"
	if errs.String() != want || out.String() != "line\n" {
		t.Errorf("stderr %q\nwant   %q\nstdout %q", errs.String(), want, out.String())
	}
}

func TestProgressOnTerminalOnly(t *testing.T) {
	l := newLab(t)
	l.b.push = events(&control.Progress{Stage: control.StageSend, Bytes: 12 << 20, BytesTotal: 30 << 20, Percent: 40.4, Entries: 7,
		RateMbit: 940, LeftS: 75.5, WaitingFor: []control.Awaited{{Name: "web3", Doing: "syncing its disk"}}, Members: control.MemberCounts{Active: 3, Parked: 1, Lost: 1}},
		&control.Summary{Done: 1})
	l.expect(0, summaryLine, "", "-r")
	l.width = 200
	text := "sending  40% 12.0 MiB of 30.0 MiB, 7 entries, 940 Mbit/s, 1 min 15 s left, waiting for web3 (syncing its disk), 3 active, 1 parked, 1 lost"
	l.expect(0, summaryLine, "\r"+text+"\r"+strings.Repeat(" ", len(text))+"\r", "-r")
	_, _, errs := l.run("-r", "--json")
	if errs != "" {
		t.Errorf("with --json: %q", errs)
	}
}

func TestJSONIsTheStream(t *testing.T) {
	l := newLab(t)
	n := 2
	l.b.push = events(
		&control.Start{Push: "p1", Module: "default", Origin: "src", Roster: []control.Peer{{Name: "dst", Addr: "10.0.0.2"}}, Missing: []control.Peer{}},
		&control.Path{Action: control.ActionUpdate, Member: "dst", Path: "<a>\xff\n"},
		&control.Problem{Severity: control.SeverityError, Member: "dst", Path: "b", Message: "no space"},
		&control.Member{Name: "dst", Outcome: control.OutcomeFailed, LastHeard: t0, Counts: control.Counts{Errors: 1}},
		&control.Decided{Push: "p1"},
		&control.Summary{Failed: 1, Exit: n, Text: "end"},
	)
	l.expect(2, `{"type":"accepted","request":"r1"}
{"type":"start","push":"p1","module":"default","origin":"src","dry_run":false,"roster":[{"name":"dst","addr":"10.0.0.2"}],"missing":[]}
{"type":"path","action":"update","member":"dst","path":"<a>\udcff\u000a"}
{"type":"problem","severity":"error","member":"dst","path":"b","message":"no space"}
{"type":"member","name":"dst","outcome":"failed","last_heard":"2026-03-04T05:06:07Z","counts":{"changed":0,"deleted":0,"errors":1,"warnings":0,"bytes":0},"commit_ms":0,"delay_ms":0}
{"type":"decided","push":"p1"}
{"type":"summary","dry_run":false,"done":0,"late":0,"failed":1,"lost":0,"missing":0,"entries":0,"updated":0,"deleted":0,"files":0,"bytes":0,"bytes_sent":0,"bytes_repaired":0,"seconds":0,"commit_skew_ms":0,"exit":2,"text":"end"}
`, "", "-r", "--json")
	_, out, _ := l.run("--status", "--json")
	var st control.Status
	if err := json.Unmarshal([]byte(out), &st); err != nil || strings.Count(out, "\n") != 1 || st.Members[3].State != control.StateMissing {
		t.Errorf("status: %v in %s", err, out)
	}
}

func TestStdoutGone(t *testing.T) {
	l := newLab(t)
	l.b.push = events(allPaths()...)
	l.stdout = failing{syscall.EPIPE}
	l.expect(0, "", "", "-rv")
	l.stdout = failing{errors.New("disk full")}
	l.expect(0, "", "warning: writing the output: disk full: the push goes on without it\n", "-rv")
}

func TestStreamCut(t *testing.T) {
	for _, decided := range []bool{false, true} {
		l := newLab(t)
		l.b.push = func(_ context.Context, _ *control.PushRequest, emit func(control.Event)) error {
			if decided {
				emit(&control.Decided{Push: "p1"})
			}
			emit(badEvent{})
			return nil
		}
		exit, out, errs := l.run("-r")
		if exit != 2 || out != "" || strings.Contains(errs, "after the decision") != decided ||
			!strings.HasPrefix(errs, "error: the connection to makuod was cut") {
			t.Errorf("decided %v: exit %d %q %q", decided, exit, out, errs)
		}
	}
}

// badEvent has a known type and a body that cannot be one: the client gives up.
type badEvent struct{}

func (badEvent) Kind() string                 { return "summary" }
func (badEvent) MarshalJSON() ([]byte, error) { return []byte(`{"done":"many"}`), nil }
