package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
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
	l := newPushLog(b.n.log, req)
	err := b.push(ctx, req, func(ev control.Event) {
		l.see(ev)
		emit(ev)
	})
	l.end(err)
	return err
}

func (b *backend) push(ctx context.Context, req *control.PushRequest, emit func(control.Event)) error {
	n := b.n
	if n.cfg.NoSend {
		return control.NewError(control.CodeForbidden, n.cfg.Name+" was started with --no-send: push from another member")
	}
	if err := n.cfg.baseSwitched(); err != nil {
		return control.NewError(control.CodeConflict, err.Error())
	}
	r, err := pushRequest(req)
	if err != nil {
		return err
	}
	if w := n.waiting(); w != "" {
		return &control.Error{Code: control.CodeUnavailable, Exit: control.ExitNobody,
			Message: control.Text("nothing was sent: the daemon on this host is " + w)}
	}
	if err := n.checkPaths(&r.Header); err != nil {
		return &control.Error{Code: control.CodeBadRequest, Message: control.Text(err.Error()), Exit: control.ExitUsage}
	}
	if err := n.settle(ctx); err != nil {
		return err
	}
	var who audience
	if err := n.call(func(time.Time) { who = n.audience(req.Targets) }); err != nil {
		return control.NewError(control.CodeUnavailable, err.Error())
	}
	if why, exit := who.tooFew(req); why != "" {
		if who.alone {
			why += ": " + n.lookAt()
		}
		nothing(n, req, &who, why, exit, emit)
		return nil
	}
	r.Roster, r.Absent = who.roster, who.absent
	who.notes = append(who.notes, excludedPaths(&r.Header, n.cfg.Base)...)
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
		{req.DeleteMissing, protocol.OptDeleteMissing},
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

// checkPaths looks whether what was named is there, if the module is served.
func (n *node) checkPaths(h *protocol.PushHeader) error {
	for _, m := range n.modules {
		if m.Name() == h.Module {
			return m.CheckPaths(h)
		}
	}
	return nil
}

// excludedPaths warns of pushed paths that a pattern excludes: nothing of them
// is pushed, though they were named.
func excludedPaths(h *protocol.PushHeader, base string) (warnings []string) {
	f, err := tree.NewFilter(h.Rules)
	if err != nil {
		return nil // said elsewhere
	}
	for _, p := range h.Paths {
		st, err := os.Lstat(filepath.Join(base, p))
		if f.Excluded(path.Base(p), err == nil && st.IsDir()) {
			warnings = append(warnings, p+" is excluded by a pattern: nothing of it is pushed")
		}
	}
	return warnings
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
	self    []string // targets that name this daemon
	alone   bool     // no other member was ever seen
}

// audience sorts the members that the targets name (all, if there are none).
func (n *node) audience(targets []string) audience {
	var a audience
	found := make(map[string]bool)
	shared := make(map[string]bool)
	members := n.table.Members()
	for _, m := range members {
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
			shared[m.Name] = true
		}
		if m.Superseded && replaced(&m, members) {
			continue // its daemon was started again
		}
		a.add(&m, name, len(targets) > 0)
	}
	for name := range shared {
		a.notes = append(a.notes, fmt.Sprintf("the name %s is in use by more than one member: give each its own with --name", name))
	}
	slices.Sort(a.notes)
	own := n.conn.Local().Addr().String()
	for _, t := range targets {
		switch {
		case found[t]:
		case t == n.cfg.Name || t == own || t == n.cfg.Name+"@"+own:
			a.self = append(a.self, t)
		default:
			a.unknown = append(a.unknown, t)
		}
	}
	a.alone = len(members) == 0
	return a
}

// replaced reports whether a newer run has the member's name and address.
func replaced(m *membership.Member, members []membership.Member) bool {
	return slices.ContainsFunc(members, func(x membership.Member) bool {
		return x.Session != m.Session && x.Name == m.Name && !x.Superseded && x.State == membership.Alive && x.Addr.Addr() == m.Addr.Addr()
	})
}

func (a *audience) add(m *membership.Member, name string, targeted bool) {
	absent := push.Absent{Name: name, Addr: m.Addr.Addr().String(), LastHeard: m.LastHeard}
	switch {
	case m.State == membership.Missing:
		absent.Missing = true
		a.absent = append(a.absent, absent)
	case m.State == membership.Away:
		absent.Missing, absent.Away, absent.Since = true, true, m.Since
		a.absent = append(a.absent, absent)
	case m.State == membership.Foreign:
		absent.Text = foreignText(m)
		a.absent = append(a.absent, absent)
	case m.Superseded:
		absent.Text = "a member of this name has appeared at another address, and this one has not been heard since"
		a.absent = append(a.absent, absent)
	case m.Flags&protocol.FlagNoReceive != 0 && targeted:
		absent.Text = "it takes no pushes (--no-receive)"
		a.absent = append(a.absent, absent)
	case m.Flags&protocol.FlagNoReceive != 0:
		a.skipped = append(a.skipped, name)
	default:
		a.roster = append(a.roster, push.RosterMember{Session: m.Session, Name: name, Addr: m.Addr})
	}
}

// tooFew says why nothing is sent, if so, and the exit status of that.
func (a *audience) tooFew(req *control.PushRequest) (why string, exit int) {
	lacking := 0
	for _, x := range a.absent {
		if !x.Missing || !req.IgnoreMissing {
			lacking++
		}
	}
	switch {
	case len(a.self) > 0:
		return a.self[0] + " is this host: it is the origin of the push, and has what is pushed; name other members", control.ExitNobody
	case len(a.unknown) > 0:
		return fmt.Sprintf("no member is called %s; msync --members lists them", strings.Join(a.unknown, ", nor ")), control.ExitNobody
	case len(a.roster) > protocol.MaxRoster:
		return fmt.Sprintf("there are %d members, a push can have %d: use -t", len(a.roster), protocol.MaxRoster), control.ExitNobody
	case len(a.roster) < req.Expect:
		return fmt.Sprintf("there %s to push to, %d are expected (--expect); msync --members lists them",
			isAre(len(a.roster), "member"), req.Expect), control.ExitNobody
	case len(a.roster) == 0 && lacking > 0:
		return "none of the members can be pushed to now; msync --members says what they are at", control.ExitPartial
	case a.alone:
		return "no other member was seen", control.ExitNobody
	case len(a.roster) == 0 && len(a.skipped) > 0:
		return "the members that are there take no pushes (--no-receive): " + strings.Join(a.skipped, ", "), control.ExitNobody
	case len(a.roster) == 0:
		return "all members are away; msync --members lists them", control.ExitNobody
	case req.AllOrNone && lacking > 0:
		return "not every member can take part, and --all-or-none was given", control.ExitAborted
	}
	return "", control.ExitOK
}

func isAre(n int, word string) string {
	if n == 1 {
		return "is 1 " + word
	}
	return fmt.Sprintf("are %d %ss", n, word)
}

// lookAt says what to look at when no other member was ever seen.
func (n *node) lookAt() string {
	group := n.conn.Group()
	return fmt.Sprintf("on interface %s, group %s, UDP port %d, cluster %q. Is makuod running on the others, with the same group, port, "+
		"cluster and key? Does a firewall let UDP in, multicast to this port and unicast between the members? Does a switch with IGMP snooping "+
		"have a querier, or pass the group on?", n.conn.Info().Interface, group.Addr(), group.Port(), n.cfg.Cluster)
}

// nothing ends a push that cannot do what it is for before anything is sent.
func nothing(n *node, req *control.PushRequest, a *audience, why string, exit int, emit func(control.Event)) {
	t := &teller{n: n, req: req, who: a, emit: emit}
	t.absent()
	s := &control.Summary{DryRun: req.DryRun || req.Check, Exit: exit, Reason: control.Text(why)}
	for _, x := range a.absent {
		switch {
		case x.Away:
			s.Away++
		case x.Missing:
			s.Missing++
		default:
			s.Failed++
		}
	}
	emit(s)
}
