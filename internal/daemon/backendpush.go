package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"makuo/internal/control"
	"makuo/internal/push"
	"makuo/internal/tree"
	"makuo/membership"
	"makuo/protocol"
)

// Defaults of a push.
const (
	defaultWait    = time.Minute      // for locks
	defaultTimeout = 30 * time.Second // of a member's silence
	settlePoll     = 50 * time.Millisecond
	settleAtMost   = 4 * time.Second
)

// Push implements control.Backend.
func (b *backend) Push(ctx context.Context, req *control.PushRequest, emit func(control.Event)) error {
	n := b.n
	if n.cfg.NoSend {
		return control.NewError(control.CodeForbidden, n.cfg.Name+" was started with --no-send: push from another member")
	}
	r, err := pushRequest(req)
	if err != nil {
		return err
	}
	if err := n.settle(ctx); err != nil {
		return err
	}
	var who audience
	if err := n.call(func(time.Time) { who = n.audience(req.Targets) }); err != nil {
		return control.NewError(control.CodeUnavailable, err.Error())
	}
	if why := who.tooFew(req); why != "" {
		nobody(n, req, &who, why, emit)
		return nil
	}
	r.Roster, r.Absent = who.roster, who.absent
	t := &teller{n: n, req: req, who: &who, emit: emit}
	err = n.mgr.Push(ctx, r, t.note)
	var unknown *control.Error
	switch {
	case errors.Is(err, push.ErrNoModule):
		return &control.Error{Code: control.CodeBadRequest, Message: control.Text(err.Error()), Exit: control.ExitUsage}
	case errors.Is(err, push.ErrShutdown):
		return control.NewError(control.CodeUnavailable, err.Error())
	case err != nil && !errors.As(err, &unknown):
		return control.NewError(control.CodeBadRequest, err.Error())
	}
	return err
}

// pushRequest turns the API's request into the manager's.
func pushRequest(req *control.PushRequest) (*push.Request, error) {
	h := protocol.PushHeader{Module: req.Module}
	if h.Module == "" {
		h.Module = protocol.DefaultModule
	}
	for _, o := range [...]struct {
		set bool
		bit uint32
	}{{req.Recursive, protocol.OptRecursive}, {req.Delete, protocol.OptDelete}, {req.DryRun || req.Check, protocol.OptDryRun},
		{req.Checksum || req.Check, protocol.OptChecksum}, {req.Devices, protocol.OptDevices}, {req.ForceEmpty, protocol.OptForceEmpty},
		{req.AllOrNone, protocol.OptAllOrNone}, {req.Check, protocol.OptCheck}, {req.MaxDelete != nil, protocol.OptMaxDelete}} {
		if o.set {
			h.Options |= o.bit
		}
	}
	if req.MaxDelete != nil {
		h.MaxDelete = uint64(max(0, *req.MaxDelete))
	}
	for _, r := range req.Rules {
		h.Rules = append(h.Rules, protocol.Rule{Include: r.Include, Pattern: string(r.Pattern)})
	}
	var paths []string
	for _, p := range req.Paths {
		paths = append(paths, string(p))
	}
	var err error
	if h.Paths, err = tree.MergePaths(paths, req.Recursive); err != nil {
		return nil, &control.Error{Code: control.CodeBadRequest, Message: control.Text(err.Error()), Exit: control.ExitUsage}
	}
	if _, err := tree.NewFilter(h.Rules); err != nil {
		return nil, &control.Error{Code: control.CodeBadRequest, Message: control.Text(err.Error()), Exit: control.ExitUsage}
	}
	r := &push.Request{Header: h, IgnoreMissing: req.IgnoreMissing, AllOrNone: req.AllOrNone, Wait: defaultWait,
		Timeout: defaultTimeout, Verbose: req.Verbose, UID: req.UID}
	if req.WaitSeconds != nil {
		r.Wait = time.Duration(*req.WaitSeconds * float64(time.Second))
	}
	if req.TimeoutSeconds > 0 {
		r.Timeout = time.Duration(req.TimeoutSeconds * float64(time.Second))
	}
	return r, nil
}

// settle waits until a young daemon knows its cluster, and until a member that
// was started again has taken its old session's place.
func (n *node) settle(ctx context.Context) error {
	start := time.Now()
	for {
		var ready bool
		err := n.call(func(now time.Time) {
			ready = n.table.Settled(now) && !slices.ContainsFunc(n.table.Members(), func(m membership.Member) bool {
				return m.Superseded && m.State == membership.Alive
			})
		})
		if err != nil {
			return control.NewError(control.CodeUnavailable, err.Error())
		}
		if ready || time.Since(start) > settleAtMost {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(settlePoll):
		}
	}
}

// audience is whom a push is for.
type audience struct {
	roster  []push.RosterMember
	absent  []push.Absent
	skipped []string // take no pushes, by their own choice
	notes   []string // warnings for people
	unknown []string // targets nobody has
}

// audience sorts the members that the targets name (all, if there are none).
func (n *node) audience(targets []string) audience {
	var a audience
	found := make(map[string]bool)
	shared := make(map[string]int)
	for _, m := range n.table.Members() {
		name := m.Name
		if m.DuplicateName {
			name = m.Name + "@" + m.Addr.String()
		}
		if len(targets) > 0 {
			hit := false
			for _, t := range targets {
				if t == m.Name || t == name || t == m.Name+"@"+m.Addr.Addr().String() || t == m.Addr.Addr().String() {
					found[t], hit = true, true
				}
			}
			if !hit {
				continue
			}
		}
		if m.DuplicateName {
			shared[m.Name]++
		}
		a.add(&m, name, len(targets) > 0)
	}
	for name := range shared {
		a.notes = append(a.notes, fmt.Sprintf("the name %s is in use by more than one member, all of them are pushed to: give each its own with --name", name))
	}
	slices.Sort(a.notes)
	for _, t := range targets {
		if !found[t] {
			a.unknown = append(a.unknown, t)
		}
	}
	return a
}

func (a *audience) add(m *membership.Member, name string, targeted bool) {
	absent := push.Absent{Name: name, Addr: m.Addr.Addr().String(), LastHeard: m.LastHeard}
	switch {
	case m.State == membership.Missing:
		absent.Missing = true
		a.absent = append(a.absent, absent)
	case m.State == membership.Foreign:
		absent.Text = foreignText(m)
		a.absent = append(a.absent, absent)
	case m.Superseded:
		// A newer session has its name and address: its earlier run.
	case m.Flags&protocol.FlagNoReceive != 0 && targeted:
		absent.Text = "it takes no pushes (--no-receive)"
		a.absent = append(a.absent, absent)
	case m.Flags&protocol.FlagNoReceive != 0:
		a.skipped = append(a.skipped, name)
	default:
		a.roster = append(a.roster, push.RosterMember{Session: m.Session, Name: name, Addr: m.Addr})
	}
}

// tooFew says why nothing is sent, if so.
func (a *audience) tooFew(req *control.PushRequest) string {
	switch {
	case len(a.unknown) == 1:
		return fmt.Sprintf("no member is called %s; msync --members lists them", a.unknown[0])
	case len(a.unknown) > 1:
		return fmt.Sprintf("no members are called %v; msync --members lists them", a.unknown)
	case len(a.roster) > protocol.MaxRoster:
		return fmt.Sprintf("there are %d members, a push can have %d: use -t", len(a.roster), protocol.MaxRoster)
	case len(a.roster) == 0:
		return "there is no member to push to"
	case len(a.roster) < req.Expect:
		return fmt.Sprintf("there are %d members to push to, %d are expected", len(a.roster), req.Expect)
	}
	return ""
}

// nobody ends a push that has no one, or too few, to go to.
func nobody(n *node, req *control.PushRequest, a *audience, why string, emit func(control.Event)) {
	t := &teller{n: n, req: req, who: a, emit: emit}
	t.absent()
	s := &control.Summary{DryRun: req.DryRun || req.Check, Exit: control.ExitNobody, Reason: control.Text(why)}
	for _, x := range a.absent {
		if x.Missing {
			s.Missing++
		} else {
			s.Failed++
		}
	}
	emit(s)
}
