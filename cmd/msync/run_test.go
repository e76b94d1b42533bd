package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"makuo/internal/control"
)

// backend is a daemon whose pushes are a function of the test.
type backend struct {
	base string
	push func(ctx context.Context, req *control.PushRequest, emit func(control.Event)) error

	mu  sync.Mutex
	got *control.PushRequest
}

var t0 = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func (b *backend) Status(context.Context) (*control.Status, error) {
	return &control.Status{
		Version: "1.2.3", Protocol: 1, Name: "src", Cluster: "prod", PID: 42, Started: t0.Add(-3*time.Hour - 12*time.Minute),
		Base: control.Text(b.base), Group: "224.0.0.108", Port: 5000, UnicastPort: 43121, Interface: "eth0", Address: "10.0.0.1",
		TTL: 1, MTU: 1500, RateMbit: 500, Receive: true, Send: true,
		Buffers:  control.Buffers{ReceiveAsked: 16 << 20, ReceiveGot: 208 << 10, SendAsked: 4 << 20, SendGot: 4 << 20},
		Warnings: []string{"no key: who can send to the group can push"},
		Members: []control.MemberStatus{
			{Name: "dst", Addr: "10.0.0.2", Version: "1.2.3", State: control.StateAlive, Since: t0.Add(-time.Hour), Receive: true, Send: true,
				LastPush: &control.LastPush{Push: "p0", Origin: "src", At: t0.Add(-time.Minute), Outcome: control.OutcomeDone}},
			{Name: "old", Addr: "10.0.0.3", Protocol: 9, State: control.StateForeign, Since: t0.Add(-time.Hour), Message: "speaks protocol 9 only"},
			{Name: "src", Addr: "10.0.0.1", Version: "1.2.3", State: control.StateAlive, Since: t0.Add(-3 * time.Hour), Self: true, Send: true},
			{Name: "web3", Addr: "10.0.0.4", Version: "1.2.2", State: control.StateMissing, Since: t0.Add(-24 * time.Hour),
				LastPush: &control.LastPush{Push: "p0", Origin: "src", At: t0.Add(-25 * time.Hour), Outcome: control.OutcomeFailed, Message: "disk\x1b[31m full"}},
		},
		Pushes: []control.PushStatus{{Push: "p1", Origin: "src", Role: control.RoleOrigin, Paths: []control.Text{"a", "b\n", "c", "d"},
			Started: t0.Add(-10 * time.Second), Decided: true,
			Now: control.Progress{Stage: control.StageCommit, Percent: 100, Bytes: 1 << 20, Entries: 7, RateMbit: 900,
				Members: control.MemberCounts{Done: 1, Staged: 1}},
			Members: []control.PushMember{{Name: "web2", Addr: "10.0.0.5", State: "staged"}, {Name: "dst", Addr: "10.0.0.2", State: "done", Message: "x"}}}},
	}, nil
}

func (b *backend) Forget(_ context.Context, name string) error {
	if name == "web3" {
		return nil
	}
	return control.ErrNotFound
}

func (b *backend) Push(ctx context.Context, req *control.PushRequest, emit func(control.Event)) error {
	b.mu.Lock()
	b.got = req
	b.mu.Unlock()
	return b.push(ctx, req, emit)
}

// events is a push that emits fixed events.
func events(all ...control.Event) func(context.Context, *control.PushRequest, func(control.Event)) error {
	return func(_ context.Context, _ *control.PushRequest, emit func(control.Event)) error {
		for _, ev := range all {
			emit(ev)
		}
		return nil
	}
}

// lab is a daemon and the world of one msync.
type lab struct {
	t       *testing.T
	b       *backend
	socket  string
	cwd     string
	env     map[string]string
	signals chan os.Signal
	width   int
	stdin   string
	stdout  io.Writer
}

func newLab(t *testing.T) *lab {
	t.Helper()
	dir := t.TempDir()
	l := &lab{t: t, b: &backend{base: filepath.Join(dir, "base")}, socket: filepath.Join(dir, "s"), cwd: dir,
		env: map[string]string{}, signals: make(chan os.Signal, 4)}
	if err := os.Mkdir(l.b.base, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b", "-r", "x"} {
		if err := os.Mkdir(filepath.Join(l.b.base, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	l.env["MSYNC_TARGET"] = "unix:" + l.socket
	l.b.push = events(&control.Start{Push: "p1"}, &control.Summary{Done: 1})
	listener, err := control.Listen(l.socket, control.SocketOptions{UID: -1, GID: -1})
	if err != nil {
		t.Fatal(err)
	}
	s := control.NewServer(l.b)
	done := make(chan error, 1)
	go func() { done <- s.Serve(listener) }()
	t.Cleanup(func() {
		s.Shutdown(context.Background())
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l
}

// run runs msync and returns its status and what it wrote.
func (l *lab) run(args ...string) (exit int, stdout, stderr string) {
	l.t.Helper()
	var out, errs bytes.Buffer
	w := io.Writer(&out)
	if l.stdout != nil {
		w = l.stdout
	}
	exit = run(args, strings.NewReader(l.stdin), w, &errs, l.environment())
	return exit, out.String(), errs.String()
}

func (l *lab) environment() *environment {
	return &environment{
		getenv: func(k string) string { return l.env[k] }, getwd: func() (string, error) { return l.cwd, nil },
		signals: l.signals, width: func() int { return l.width }, now: func() time.Time { return t0 }, zone: time.UTC,
		open: func(name string) (io.ReadCloser, error) { return os.Open(name) },
	}
}

func (l *lab) expect(exit int, stdout, stderr string, args ...string) {
	l.t.Helper()
	e, out, errs := l.run(args...)
	if e != exit || out != stdout || errs != stderr {
		l.t.Errorf("msync %q:\nexit %d, want %d\nstdout:\n%s\nwant:\n%s\nstderr:\n%s\nwant:\n%s", args, e, exit, out, stdout, errs, stderr)
	}
}

const summaryLine = "members: 1 done, 0 late, 0 failed, 0 lost, 0 missing; 0 names updated, 0 deleted; 0 files, 0 bytes of content; " +
	"sent 0 bytes, repaired 0 bytes; 0.00 seconds\n"

func allPaths() []control.Event {
	return []control.Event{
		&control.Start{Push: "p1"},
		&control.Path{Action: control.ActionUpdate, Member: "dst", Path: "hoge"},
		&control.Path{Action: control.ActionDelete, Member: "dst", Path: "hoge/test1\nupdate dst:fake"},
		&control.Path{Action: control.ActionSkip, Member: "dst", Path: "hoge/\x1b[2J"},
		&control.Path{Action: control.ActionOK, Member: "dst", Path: "x"},
		&control.Path{Action: control.ActionDiffers, Member: "dst", Path: "y\xff\\#101\\n"},
		&control.Summary{Done: 1},
	}
}

func TestPathLines(t *testing.T) {
	l := newLab(t)
	l.b.push = events(allPaths()...)
	const ng = "NG dst:y\\#377\\#134#101\\n\n"
	update := "update dst:hoge\ndelete dst:hoge/test1\\#012update dst:fake\n"
	skip := "skip dst:hoge/\\#033[2J\n"
	dry := "(dryrun) update dst:hoge\n(dryrun) delete dst:hoge/test1\\#012update dst:fake\n"
	l.expect(0, ng+summaryLine, "", "-r")
	l.expect(0, update+"OK dst:x\n"+ng+summaryLine, "", "-rv")
	l.expect(0, update+"OK dst:x\n"+ng+summaryLine, "", "-r", "-l", "1")
	l.expect(0, update+skip+"OK dst:x\n"+ng+summaryLine, "", "-rvv", "--verbose")
	l.expect(0, update+skip+"OK dst:x\n"+ng+summaryLine, "", "-rl9")
	l.expect(0, dry+ng+summaryLine, "", "-rn")
	l.expect(0, dry+skip+"OK dst:x\n"+ng+summaryLine, "", "-rnvv")
}

func TestTroubleLines(t *testing.T) {
	l := newLab(t)
	heard := t0.Add(-31 * time.Second)
	l.b.push = events(
		&control.Start{Push: "p1"},
		&control.Waiting{For: "web9", Push: "p0", Paths: []control.Text{"a", "b", "c", "d"}},
		&control.Waiting{For: "web9"},
		&control.Problem{Severity: control.SeverityError, Member: "dst", Path: "a\rb", Message: "writing: no space left on device"},
		&control.Problem{Severity: control.SeverityError, Path: "c", Message: "reading: permission denied"},
		&control.Problem{Severity: control.SeverityWarning, Path: "d", Message: "vanished"},
		&control.Problem{Severity: control.SeverityError, Member: "dst", Message: "whole member"},
		&control.Problem{Severity: control.SeverityError, Message: "the push"},
		&control.Member{Name: "ok", Outcome: control.OutcomeDone},
		&control.Member{Name: "dst", Outcome: control.OutcomeFailed, Counts: control.Counts{Errors: 2}},
		&control.Member{Name: "dst2", Outcome: control.OutcomeFailed, Counts: control.Counts{Errors: 2}},
		&control.Member{Name: "dst3", Outcome: control.OutcomeFailed, Message: "no space"},
		&control.Member{Name: "late", Outcome: control.OutcomeLate, DelayMS: 1234},
		&control.Member{Name: "gone", Outcome: control.OutcomeLost, Stage: control.StageSend, LastHeard: heard, Message: "killed?"},
		&control.Member{Name: "gone2", Outcome: control.OutcomeLost},
		&control.Member{Name: "off", Outcome: control.OutcomeMissing, LastHeard: heard},
		&control.Member{Name: "off2", Outcome: control.OutcomeMissing, LastHeard: heard, Ignored: true},
		&control.Member{Name: "ro", Outcome: control.OutcomeRefused, Message: "--no-receive"},
		&control.Summary{Exit: 2, Text: "the end"},
	)
	l.expect(2, "the end\n", `waiting for web9: its push p0 is in progress on a, b, c and 1 more
waiting for web9
error: dst:a\#015b: writing: no space left on device
error: c: reading: permission denied
warning: d: vanished
error: dst: whole member
error: the push
error: dst2: failed: 2 paths in error
error: dst3: failed: no space
warning: late: late: committed 1.2 s after the others
error: gone: lost while it received, last heard 2026-03-04 05:05:36 (31 s ago): killed?
error: gone2: lost
error: off: missing since 2026-03-04 05:05:36
warning: off2: missing since 2026-03-04 05:05:36
error: ro: refused: --no-receive
`, "-r")
}

func TestExitStatuses(t *testing.T) {
	l := newLab(t)
	for _, x := range []struct {
		exit   int
		end    control.Event
		stdout string
		stderr string
	}{
		{0, &control.Summary{Done: 1}, summaryLine, ""},
		{2, &control.Summary{Exit: 2, Text: "some"}, "some\n", ""},
		{3, &control.Summary{Exit: 3, Reason: "2 members, 3 expected"}, "", "error: nothing sent: 2 members, 3 expected\n"},
		{3, &control.Summary{Exit: 3}, "", "error: nothing sent: there is nobody to push to\n"},
		{2, &control.Summary{Exit: 2, Away: 1, Reason: "all are away"}, "", "error: nothing sent: all are away\n"},
		{4, &control.Summary{Exit: 4, Reason: "--all-or-none"}, "", "error: aborted, nothing was changed anywhere: --all-or-none\n"},
		{2, &control.Summary{Exit: 77, Text: "odd"}, "odd\n", ""},
		{1, &control.Failed{Exit: 1, Message: "this daemon does not send"}, "", "error: this daemon does not send\n"},
		{2, &control.Failed{Exit: -1, Message: "odd"}, "", "error: odd\n"},
	} {
		l.b.push = events(x.end)
		l.expect(x.exit, x.stdout, x.stderr, "-r")
	}
	l.b.push = func(context.Context, *control.PushRequest, func(control.Event)) error {
		return control.NewError(control.CodeForbidden, "this daemon does not send")
	}
	l.expect(1, "", "error: this daemon does not send\n", "-r")
}

func TestWrongUse(t *testing.T) {
	l := newLab(t)
	hint := "\nTry 'msync --help'.\n"
	for _, x := range []struct {
		args   string
		stderr string
	}{
		{"-v", "error: nothing to push: name a path, or use -r for all that is below the current directory"},
		{"--delete x", "error: --delete works only with --recursive (-r)"},
		{"-rz x", "error: there is no option -z: it is rsync's; what can be compressed always is"},
		{"--recurse", "error: unknown option --recurse; did you mean --recursive?"},
		{"--exlude=x", "error: unknown option --exlude; did you mean --exclude?"},
		{"-R x", "error: unknown option -R; did you mean -r?"},
		{"-rdelete x", "error: unknown option -d"},
		{"-delete x", "error: unknown option -delete; did you mean --delete?"},
		{"-ü x", "error: unknown option -ü"},
		{"--frobnicate", "error: unknown option --frobnicate"},
		{"--socket= x", "error: --socket: it needs the path of a socket"},
		{"--exclude-from= x", "error: --exclude-from: it needs the name of a file, or - for standard input"},
		{"-qv x", "error: --quiet does not go with --verbose or --progress"},
		{"--delete-missing -r", "error: --delete-missing needs the paths that it may remove"},
		{"--sync x", "error: there is no option --sync: it is makuosan's; --delete-missing removes a named path that is not here on the members, -r --delete what is missing below a directory"},
		{"-K f", "error: there is no option -K: it is makuosan's; the socket's mode and group say who may push"},
		{"-r --max-delete -1", `error: --max-delete: "-1" is not a whole number from 0 to 2147483647`},
		{"-r --wait NaN", `error: --wait: "NaN" is not a number of seconds from 0 to 604800`},
		{"-r --timeout=0", `error: --timeout: "0" is not a number of seconds from 1 to 604800`},
		{"-r --expect", "error: --expect needs an argument: --expect N"},
		{"-rt", "error: -t needs an argument: -t MEMBER"},
		{"--recursive=yes", "error: --recursive takes no argument"},
		{"--status --members", "error: only one of --status, --members and --forget can be asked for"},
		{"--status x", "error: --status, --members and --forget do not go with a push or its options"},
		{"--members --delete", "error: --status, --members and --forget do not go with a push or its options"},
		{"--status --wait 3", "error: --status, --members and --forget do not go with a push or its options"},
		{"--members --exclude x", "error: --status, --members and --forget do not go with a push or its options"},
		{"-r --max-delete 3", "error: --max-delete does nothing without --delete"},
		{"-r --force-empty", "error: --force-empty does nothing without --delete"},
		{"--forget=", "error: --forget needs the name of a member"},
		{"--expect 99999 x", `error: --expect: "99999" is not a whole number from 0 to 10000`},
		{"--wait abc x", `error: --wait: "abc" is not a number of seconds from 0 to 604800`},
		{"--wait -1 x", `error: --wait: "-1" is not a number of seconds from 0 to 604800`},
		{"--timeout 0.5 x", `error: --timeout: "0.5" is not a number of seconds from 1 to 604800`},
		{"--recursive=1 x", "error: --recursive takes no argument"},
		{"--exclude", "error: --exclude needs an argument: --exclude PATTERN"},
		{"--status --members", "error: only one of --status, --members and --forget can be asked for"},
		{"--quiet --progress x", "error: --quiet does not go with --verbose or --progress"},
		{"--socket= --status", "error: --socket: it needs the path of a socket"},
		{"-r --exclude=", "error: --exclude: a pattern must have 1 to 4096 bytes"},
	} {
		l.expect(1, "", x.stderr+hint, strings.Fields(x.args)...)
	}
	l.expect(1, "", "error: a path is empty"+hint, "-r", "")
	l.expect(1, "", usage())
	l.expect(0, usage(), "", "-rh", "--nonsense")
	l.expect(0, "msync (makuo) "+control.Version+"\n", "", "-V")
	l.expect(1, "", "error: path ../x is outside the base directory "+l.b.base+"\n", "../x")
	l.expect(1, "", "error: target \"tcp:host:1\": makuod listens at a Unix socket only: run msync on the member itself, by ssh for example\n", "-c", "tcp:host:1", "x")
	l.expect(1, "", "error: --exclude-from: open /nonexistent: no such file or directory\n", "--exclude-from=/nonexistent", "x")
	if l.b.got != nil {
		t.Error("wrong use reached the daemon")
	}
}

func TestUnreachable(t *testing.T) {
	l := newLab(t)
	none := filepath.Join(t.TempDir(), "none")
	for _, args := range [][]string{{"-r"}, {"--status"}, {"--members"}, {"--forget", "x"}} {
		l.expect(1, "", "error: cannot reach makuod at unix:"+none+": no such file or directory; is makuod running? Start it with 'makuod -b DIR', or name its socket with -c, --socket or MSYNC_TARGET\n",
			append(args, "--socket", none)...)
	}
}

func TestRequest(t *testing.T) {
	l := newLab(t)
	file := filepath.Join(t.TempDir(), "rules")
	os.WriteFile(file, []byte("# comment\n\n; comment\n*.o\r\n+ keep\n- - drop\n"), 0o600)
	l.stdin = "from-stdin\n"
	args := []string{"a", "-rv", "--delete", "--include", "*.c", "b/", "--exclude=*.tmp", "--exclude-from", file, "-tweb1", "--target", "web2",
		"--exclude-from", "-", "--include=last", "--checksum", "--check", "--devices", "--max-delete", "5", "--force-empty", "--expect=3",
		"--ignore-missing", "--all-or-none", "--wait", "0", "--timeout=1.5", "-n", "--", "-r", "a"}
	if exit, _, errs := l.run(args...); exit != 0 || errs != "" {
		t.Fatalf("exit %d: %s", exit, errs)
	}
	g := *l.b.got
	got := fmt.Sprintf("%v %v %v %v %v %v %v %v %v %v %v %v %v %v", g.Paths, g.Recursive, g.Delete, g.DryRun, g.Checksum, g.Check, g.Devices,
		g.ForceEmpty, g.Targets, g.Expect, g.IgnoreMissing, g.AllOrNone, g.TimeoutSeconds, g.Verbose)
	want := "[a b -r] true true true true true true true [web1 web2] 3 true true 1.5 1"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if *g.MaxDelete != 5 || *g.WaitSeconds != 0 || g.Module != control.DefaultModule || g.UID != os.Getuid() {
		t.Errorf("%+v", g)
	}
	rules := fmt.Sprint(g.Rules)
	if want := "[{true *.c} {false *.tmp} {false *.o} {true keep} {false - drop} {false from-stdin} {true last}]"; rules != want {
		t.Errorf("got  %s\nwant %s", rules, want)
	}
	if l.run("-r"); len(l.b.got.Paths) != 1 || l.b.got.Paths[0] != "." || l.b.got.WaitSeconds != nil || l.b.got.MaxDelete != nil {
		t.Errorf("defaults: %+v", l.b.got)
	}
	os.WriteFile(file, []byte("x\n!\ny\n"), 0o600)
	if l.run("-r", "--exclude", "z", "--exclude-from", file); fmt.Sprint(l.b.got.Rules) != "[{false y}]" {
		t.Errorf("after !: %v", l.b.got.Rules)
	}
}

func TestStatusText(t *testing.T) {
	l := newLab(t)
	want := `makuod 1.2.3 on src, pid 42, up 3 h 12 min
  base       ` + l.b.base + `
  cluster    prod
  group      224.0.0.108 port 5000, TTL 1
  interface  eth0, address 10.0.0.1, unicast port 43121, MTU 1500
  buffers    receive 208 KiB (asked for 16.0 MiB: raise net.core.rmem_max), send 4.00 MiB
  rate       at most 500 Mbit/s
  key        none: who can send to the group can push
  takes part sends and receives
  warning    no key: who can send to the group can push

members: 4
  NAME        ADDRESS   VERSION     STATE              SINCE                LAST PUSH
  dst         10.0.0.2  1.2.3       alive              2026-03-04 04:06:07  done at 2026-03-04 05:05:07, from src
  old         10.0.0.3  protocol 9  foreign            2026-03-04 04:06:07  -
  src (this)  10.0.0.1  1.2.3       alive, sends only  2026-03-04 02:06:07  -
  web3        10.0.0.4  1.2.2       missing            2026-03-03 05:06:07  failed at 2026-03-03 04:06:07, from src: disk\#033[31m full
  old: speaks protocol 9 only

push p1 from src: a b\#012 c and 1 more, for 10 s
  committing 100% 1.00 MiB, 7 entries, 900 Mbit/s, 1 staged, 1 done
  the decision to commit is taken
  dst   10.0.0.2  done    x
  web2  10.0.0.5  staged
`
	l.expect(0, want, "", "--status")
	l.expect(0, `dst 10.0.0.2 (1.2.3) alive
old 10.0.0.3 (protocol 9) foreign
src 10.0.0.1 (1.2.3) alive
web3 10.0.0.4 (1.2.2) missing
Total: 4 members
`, "", "--members")
	l.expect(0, "forgot web3\n", "", "--forget", "web3")
	l.expect(0, "{\"forgotten\":\"web3\"}\n", "", "--forget", "web3", "--json")
	l.expect(1, "", "error: no member \"nobody\" is known\n", "--forget=nobody")
	l.stdout = failing{errors.New("disk full")}
	l.expect(1, "", "error: writing the output: disk full\n", "--members")
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }
