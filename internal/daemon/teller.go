package daemon

import (
	"time"

	"makuo/internal/control"
	"makuo/internal/push"
	"makuo/protocol"
)

// teller turns a push's notes into the API's events.
type teller struct {
	n    *node
	req  *control.PushRequest
	who  *audience
	emit func(control.Event)
	id   protocol.PushID
	told toldSoFar
}

func (t *teller) dry() bool { return t.req.DryRun || t.req.Check }

// absent tells of members that should take part and cannot, and of what else
// is odd about the members.
func (t *teller) absent() {
	for _, w := range t.who.notes {
		t.emit(&control.Problem{Severity: control.SeverityWarning, Message: control.Text(w)})
	}
	for _, a := range t.who.absent {
		m := &control.Member{Name: a.Name, Addr: a.Addr, Outcome: control.OutcomeRefused, Message: control.Text(a.Text)}
		if a.Missing {
			m.Outcome, m.LastHeard, m.Ignored = control.OutcomeMissing, a.LastHeard, t.req.IgnoreMissing
		}
		if a.Away {
			m.Outcome, m.Since, m.How = control.OutcomeAway, a.Since, stoppedText
		}
		t.emit(m)
	}
}

func (t *teller) note(note push.Note) {
	switch e := note.(type) {
	case push.NoteStart:
		t.start(e.ID)
	case push.NoteWaiting:
		t.emit(&control.Waiting{For: e.Holder.Name, Push: e.Holder.ID.String(), Paths: t.req.Paths})
	case push.NoteProgress:
		t.emit(t.told.progress(t.id, &e.Status))
	case push.NoteProblem:
		p := &control.Problem{Severity: control.SeverityError, Member: e.Member, Path: control.Text(e.Path), Message: control.Text(e.Text)}
		if e.Warning {
			p.Severity = control.SeverityWarning
		}
		t.emit(p)
	case push.NoteParked:
		t.emit(&control.Problem{Severity: control.SeverityWarning, Member: e.Member,
			Message: control.Text("is slower than the others and is served after them: " + e.Why)})
	case push.NoteDecided:
		t.emit(&control.Decided{Push: t.id.String()})
	case push.NotePath:
		t.path(&e)
	case push.NoteMember:
		t.member(&e)
	case push.NoteSummary:
		t.joined(&e.Summary)
		t.summary(&e.Summary)
	}
}

func (t *teller) start(id protocol.PushID) {
	t.id = id
	s := &control.Start{Push: id.String(), Module: t.req.Module, Origin: t.n.cfg.Name, DryRun: t.dry(), Roster: []control.Peer{}, Missing: []control.Peer{}}
	if s.Module == "" {
		s.Module = control.DefaultModule
	}
	for _, r := range t.who.roster {
		s.Roster = append(s.Roster, control.Peer{Name: r.Name, Addr: r.Addr.Addr().String()})
	}
	for _, a := range t.who.absent {
		if a.Missing {
			s.Missing = append(s.Missing, control.Peer{Name: a.Name, Addr: a.Addr})
		}
	}
	t.emit(s)
	t.absent()
}

// joined names the members that came while the push was under way: they do not
// have what was pushed.
func (t *teller) joined(s *push.Summary) {
	if t.dry() || s.Ending == push.EndedAborted {
		return
	}
	var late audience
	if err := t.n.call(func(time.Time) { late = t.n.audience(t.req.Targets) }); err != nil {
		return // the daemon is being stopped
	}
	known := make(map[string]bool)
	sessions := make(map[protocol.Session]bool)
	for _, r := range t.who.roster {
		known[r.Name], sessions[r.Session] = true, true
	}
	for _, a := range t.who.absent {
		known[a.Name] = true
	}
	for _, r := range late.roster {
		if known[r.Name] || sessions[r.Session] {
			continue // also one that was started again: that ended its old session's part
		}
		t.emit(&control.Member{Name: r.Name, Addr: r.Addr.Addr().String(), Outcome: control.OutcomeMissing, Ignored: t.req.IgnoreMissing,
			Message: "it joined during the push and does not have it: push again"})
		s.Missing++
		if !t.req.IgnoreMissing && s.Ending == push.EndedDone {
			s.Ending = push.EndedPartial
		}
	}
}

func (t *teller) path(e *push.NotePath) {
	p := &control.Path{Action: e.Action, Member: e.Member, Path: control.Text(e.Path), DryRun: t.dry()}
	if t.req.Check {
		p.Action = control.ActionDiffers
		if e.Action == push.ActionSkip {
			p.Action = control.ActionOK
		}
	}
	t.emit(p)
}

var outcomes = map[push.MemberState]string{push.MemberDone: control.OutcomeDone, push.MemberFailed: control.OutcomeFailed,
	push.MemberLost: control.OutcomeLost, push.MemberRefused: control.OutcomeRefused, push.MemberAborted: control.OutcomeAborted,
	push.MemberLate: control.OutcomeLate}

func (t *teller) member(e *push.NoteMember) {
	m := &control.Member{Name: e.Name, Addr: e.Addr.Addr().String(), Outcome: outcomes[e.Outcome], Message: control.Text(e.Text),
		Counts: control.Counts{Changed: e.Counts.Changed, Deleted: e.Counts.Deleted, Errors: e.Counts.Errors,
			Warnings: e.Counts.Warnings, Bytes: e.Counts.Bytes},
		CommitMS: float64(e.Took) / float64(time.Millisecond), DelayMS: float64(e.Delay) / float64(time.Millisecond)}
	if e.Maybe {
		m.Message += "; it may have the new tree: the order to commit had been sent"
	}
	t.told.ended(m.Outcome)
	if e.Outcome == push.MemberLost {
		m.LastHeard, m.Stage = e.LastHeard, e.Where
	}
	if !t.dry() && e.Outcome != push.MemberAborted {
		id, session := t.id, e.Session
		t.n.post(func(now time.Time) { t.n.last[session] = lastPush{id, now, m.Outcome, string(m.Message)} })
	}
	t.emit(m)
}

func (t *teller) summary(s *push.Summary) {
	c := &control.Summary{DryRun: t.dry(), Check: t.req.Check, Updated: s.Updated, Deleted: s.Deleted, Done: s.Done, Late: s.Late, Failed: s.Failed, Lost: s.Lost, Missing: s.Missing, Away: s.Away,
		Entries: s.Entries, Files: s.Files, Bytes: s.Bytes, BytesSent: s.SentBytes, BytesRepaired: s.RepairedBytes,
		Seconds: s.Took.Seconds(), CommitSkewMS: float64(s.Skew) / float64(time.Millisecond), Reason: control.Text(s.Reason)}
	switch s.Ending {
	case push.EndedPartial:
		c.Exit = control.ExitPartial
	case push.EndedAborted:
		c.Exit = control.ExitAborted
	}
	if t.req.Check && c.Exit == control.ExitOK && s.Differing > 0 {
		c.Exit = control.ExitPartial
	}
	t.emit(c)
}
