package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"makuo/internal/control"
)

// pusher is one push as msync sees it. It is used by one goroutine.
//
//	sending ──Decided──▶ decided ──Summary──▶ end
//	   │ signal             │ signal: say that it is too late, ask how it stands
//	   ▼                    │ second signal ──▶ leave, the push goes on
//	cancelling ──Decided────┘
//	   │ Summary, Failed ──▶ end
//	   │ second signal ──▶ leave, the push is aborted by the cut
type pusher struct {
	o      *options
	client *control.Client
	screen *screen
	env    *environment

	name      string // by which the push can be cancelled; "": not known yet
	signals   int
	cancelled bool // Cancel was asked for
	decided   bool
	told      bool // the user was told that the decision is taken
	troubled  map[string]bool
	crowds    crowds
	exit      int
	ended     bool
}

// push resolves the paths and runs a push to its end.
func push(o *options, client *control.Client, stdin io.Reader, stdout, stderr io.Writer, env *environment) int {
	ctx, cut := context.WithCancel(context.Background())
	defer cut()
	lines := make(chan control.Line, 256)
	result := make(chan error, 1)
	started := make(chan error, 1)
	go func() { // ends with the push, or when cut
		err := o.prepare(ctx, client, stdin, env)
		started <- err
		if err != nil {
			return
		}
		result <- client.Push(ctx, &o.req, func(l control.Line) {
			select {
			case lines <- l:
			case <-ctx.Done():
			}
		})
		close(lines)
	}()
	select {
	case err := <-started:
		if err != nil {
			return fail(stdout, stderr, o.json, err)
		}
	case <-env.signals:
		p := newPusher(o, client, stdout, stderr, env)
		p.say(kindError, codeInterrupted, control.ExitAborted, "interrupted before the push began: nothing was changed")
		return control.ExitAborted
	}
	p := newPusher(o, client, stdout, stderr, env)
	return p.loop(ctx, lines, result)
}

func newPusher(o *options, client *control.Client, stdout, stderr io.Writer, env *environment) *pusher {
	p := &pusher{o: o, client: client, env: env, troubled: make(map[string]bool),
		screen: &screen{stdout: stdout, stderr: stderr, width: env.width, now: env.now, plain: o.told, last: env.now()}}
	if o.json || o.quiet || dumb(env.getenv("TERM")) {
		p.screen.width = func() int { return 0 }
	}
	p.screen.plain = p.screen.plain && !o.json
	return p
}

// dumb reports a terminal that can't go back to the beginning of a line, as
// those of editors.
func dumb(term string) bool { return term == "dumb" }

// say writes an error or note of msync's own. exit is not told if it is
// negative: it is not known yet.
func (p *pusher) say(kind, code string, exit int, text string) {
	s := &statement{Type: kind, Code: code, Message: control.Text(text)}
	if exit >= 0 {
		s.Exit = &exit
	}
	if p.o.json {
		p.screen.out(s.line(true))
	} else {
		p.screen.errLine(s.line(false))
	}
}

// prepare fills in what depends on files and on the daemon.
func (o *options) prepare(ctx context.Context, client *control.Client, stdin io.Reader, env *environment) error {
	rules, err := o.rules(stdin, env.open)
	if err != nil {
		return err
	}
	o.req.Rules = rules
	st, err := client.Status(ctx, nil)
	if err != nil {
		return err
	}
	if err := checkBase(st); err != nil {
		return err
	}
	cwd, err := env.getwd()
	if err != nil {
		cwd = "" // the directory is gone, or may not be seen
	}
	r, err := newResolver(string(st.Base), cwd, env.getenv("PWD"))
	if err != nil {
		return err
	}
	r.deleteMissing = o.req.DeleteMissing
	paths, err := r.resolveAll(o.paths)
	for _, p := range paths {
		o.req.Paths = append(o.req.Paths, control.Text(p))
	}
	return err
}

func (p *pusher) loop(ctx context.Context, lines <-chan control.Line, result <-chan error) int {
	cancelled := make(chan error, 1)
	for {
		select {
		case l, ok := <-lines:
			if !ok {
				return p.end(<-result)
			}
			p.line(l)
		case <-p.env.signals:
			if p.signals++; p.signals > 1 && (p.told || !p.decided) {
				return p.leave()
			}
			p.interrupted()
		case err := <-cancelled:
			p.cancelAnswered(err)
		}
		if p.signals > 0 && p.name != "" && !p.cancelled {
			p.cancelled = true
			name := p.name
			go func() { cancelled <- p.client.Cancel(ctx, name) }() // ends with the answer or ctx
		}
	}
}

// interrupted answers the first signal.
func (p *pusher) interrupted() {
	if p.decided {
		p.tellDecided()
		return
	}
	p.say(kindNote, codeInterrupted, -1, "aborting; waiting for the daemon to confirm it (interrupt again to leave at once)")
}

func (p *pusher) tellDecided() {
	p.told = true
	p.say(kindNote, codeDecided, -1, "the decision to commit is taken, the push cannot be aborted any more; the members complete it, asking the daemon how it stands (interrupt again to leave it to the daemon)")
}

func (p *pusher) cancelAnswered(err error) {
	var e *control.Error
	switch {
	case err == nil || p.ended || p.told:
	case errors.As(err, &e) && e.Code == control.CodeNotFound: // it has just ended
	default:
		p.say(kindError, codeLocal, -1, "asking the daemon to abort: "+err.Error())
	}
}

// leave is the second signal: msync goes without knowing the end.
func (p *pusher) leave() int {
	switch {
	case p.ended:
		return p.exit
	case p.decided:
		p.say(kindError, codeInterrupted, control.ExitPartial, "left; the push goes on: see msync --status")
	default:
		p.say(kindError, codeInterrupted, control.ExitPartial, "left before the daemon had confirmed the abort; it aborts the push unless the decision to commit was taken meanwhile: see msync --status")
	}
	return control.ExitPartial
}

// end is the end of the stream.
func (p *pusher) end(err error) int {
	p.screen.erase()
	p.countRest(nil)
	var e *control.Error
	switch {
	case err == nil:
		return p.exit
	case !errors.Is(err, control.ErrCut):
		if p.signals > 0 && !errors.As(err, &e) {
			return p.leave()
		}
		return fail(p.screen.stdout, p.screen.stderr, p.o.json, err)
	case p.decided:
		p.say(kindError, codeCut, control.ExitPartial, err.Error()+", after the decision to commit: the members complete the push; run it again to be sure")
	default:
		p.say(kindError, codeCut, control.ExitPartial, err.Error()+"; no decision to commit was reported: the members discard what they have, unless the daemon comes back and says otherwise; run the push again")
	}
	return control.ExitPartial
}

// line handles one line of the stream.
func (p *pusher) line(l control.Line) {
	if p.o.json {
		p.screen.out(string(l.Raw[:len(l.Raw)-1]))
	}
	switch ev := l.Event.(type) {
	case *control.Accepted:
		p.name = ev.Request
	case *control.Decided:
		p.decided = true
		if p.signals > 0 && !p.told {
			p.tellDecided()
		}
	case *control.Summary:
		p.ended, p.exit = true, exitStatus(ev.Exit)
	case *control.Failed:
		p.ended, p.exit = true, exitStatus(ev.Exit)
	}
	if !p.o.json && l.Event != nil {
		p.show(l.Event)
	}
}

// exitStatus keeps what the daemon says within the statuses of the manual.
func exitStatus(n int) int {
	if n < control.ExitOK || n > control.ExitAborted {
		return control.ExitPartial
	}
	return n
}

// show writes an event for people.
func (p *pusher) show(ev control.Event) {
	switch ev := ev.(type) {
	case *control.Waiting:
		p.aside(waitingLine(ev))
	case *control.Progress:
		p.screen.progress(progressLine(ev))
	case *control.Path:
		if line := pathLine(ev, p.o.req.Verbose, p.o.req.DryRun); line != "" && !p.o.quiet {
			p.screen.out(line)
		}
	case *control.Problem:
		p.problem(ev)
	case *control.Member:
		p.countRest(&ev.Name)
		line := memberLine(ev, p.troubled[ev.Name], p.env.now(), p.env.zone)
		if strings.HasPrefix(line, "warning: ") {
			p.aside(line)
		} else if line != "" {
			p.screen.errLine(line)
		}
	case *control.Summary:
		p.countRest(nil)
		p.summary(ev)
	case *control.Failed:
		p.countRest(nil)
		p.screen.errLine("error: " + clean(string(ev.Message)))
	}
}

// aside writes a line that is no error to stderr.
func (p *pusher) aside(line string) {
	if !p.o.quiet {
		p.screen.errLine(line)
	}
}

func (p *pusher) problem(ev *control.Problem) {
	bad := ev.Severity == control.SeverityError
	p.troubled[ev.Member] = p.troubled[ev.Member] || bad
	if bad || !p.o.quiet {
		if p.o.req.Verbose > 1 || p.crowds.admit(ev) {
			p.screen.errLine(problemLine(ev))
		}
	}
}

// countRest writes how many problems of a member, or of all, were not shown.
func (p *pusher) countRest(member *string) {
	for _, line := range p.crowds.rest(member) {
		p.screen.errLine(line)
	}
}

func (p *pusher) summary(ev *control.Summary) {
	text := ev.Text
	if text == "" {
		text = control.Text(ev.Line())
	}
	if ev.NothingSent() || ev.Exit == control.ExitAborted {
		p.screen.errLine("error: " + clean(string(text)))
	} else if !p.o.quiet {
		p.screen.out(clean(string(text)))
	}
}

// waitLimit bounds how many paths a waiting line names.
const waitLimit = 3

func waitingLine(ev *control.Waiting) string {
	line := "waiting for " + clean(ev.For)
	if ev.Push != "" {
		line += ": its push " + clean(ev.Push) + " is in progress"
	}
	for i, path := range ev.Paths {
		switch {
		case i == 0:
			line += " on " + clean(string(path))
		case i < waitLimit:
			line += ", " + clean(string(path))
		case i == waitLimit:
			line += fmt.Sprintf(" and %d more", len(ev.Paths)-waitLimit)
		}
	}
	return line
}

// pathLine is the line for a path, "" if it is not to be shown.
func pathLine(ev *control.Path, verbose int, dryRun bool) string {
	word, from := ev.Action, 1
	switch ev.Action {
	case control.ActionSkip:
		from = 2
	case control.ActionDiffers:
		word, from = "NG", 0
	case control.ActionOK:
		word = "OK"
	default:
		if dryRun || ev.DryRun {
			word, from = "(dryrun) "+word, 0
		}
	}
	if verbose < from {
		return ""
	}
	return clean(word) + " " + clean(ev.Member) + ":" + clean(string(ev.Path))
}

func problemLine(ev *control.Problem) string {
	line := severity(ev.Severity)
	switch {
	case ev.Member != "" && ev.Path != "":
		line += clean(ev.Member) + ":" + clean(string(ev.Path)) + ": "
	case ev.Member != "":
		line += clean(ev.Member) + ": "
	case ev.Path != "":
		line += clean(string(ev.Path)) + ": "
	}
	return line + clean(string(ev.Message))
}

// memberLine is the line for how the push ended at a member, "" if there is
// nothing to say. reported: its paths in error had lines already.
func memberLine(ev *control.Member, reported bool, now time.Time, zone *time.Location) string {
	head, why := "error: "+clean(ev.Name)+": ", ""
	if ev.Message != "" {
		why = ": " + clean(string(ev.Message))
	}
	switch ev.Outcome {
	case control.OutcomeDone, control.OutcomeAborted:
		return ""
	case control.OutcomeLate:
		return fmt.Sprintf("warning: %s: late: committed %.1f s after the others%s", clean(ev.Name), ev.DelayMS/1000, why)
	case control.OutcomeLost:
		return head + lostText(ev, now, zone) + why
	case control.OutcomeMissing:
		if ev.Ignored {
			head = "warning: " + clean(ev.Name) + ": "
		}
		if ev.LastHeard.IsZero() {
			return head + "missing" + why
		}
		return head + "missing since " + clock(ev.LastHeard, zone) + why
	case control.OutcomeAway:
		if ev.Ignored {
			head = "warning: " + clean(ev.Name) + ": "
		}
		return head + "away since " + clock(ev.Since, zone) + " (" + clean(ev.How) + ")" + why
	case control.OutcomeRefused:
		return head + "refused" + why
	}
	if why == "" && reported {
		return ""
	}
	if why == "" {
		why = ": " + control.Count(ev.Counts.Errors, "path", "paths") + " in error"
	}
	return head + clean(ev.Outcome) + why
}

// whereLost says how far a member was, by the words of the API.
func whereLost(stage string) string {
	switch stage {
	case "waiting for its lock":
		return "before anything was sent to it"
	case "receiving", control.StageSend:
		return "while it received"
	case "staging", control.StageFlush:
		return "while it wrote to its disk"
	case "staged":
		return "when it had everything, before the commit"
	case "committing", control.StageCommit:
		return "while it committed"
	case "parked":
		return "while it waited to be served after the others"
	}
	return "(" + clean(stage) + ")"
}

func lostText(ev *control.Member, now time.Time, zone *time.Location) string {
	text := "lost"
	if ev.Stage != "" {
		text += " " + whereLost(ev.Stage)
	}
	if !ev.LastHeard.IsZero() {
		text += fmt.Sprintf(", last heard %s (%s ago)", clock(ev.LastHeard, zone), ago(now.Sub(ev.LastHeard)))
	}
	return text
}
