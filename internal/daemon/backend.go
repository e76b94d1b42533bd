package daemon

import (
	"context"
	"fmt"
	"os"
	"time"

	"makuo/internal/control"
	"makuo/internal/push"
	"makuo/membership"
	"makuo/protocol"
)

// backend is the local API's view of the node. Its methods run on the API's
// goroutines and reach the loop through call.
type backend struct{ n *node }

// Status implements control.Backend.
func (b *backend) Status(context.Context) (*control.Status, error) {
	var s *control.Status
	err := b.n.call(func(now time.Time) { s = b.n.status(now) })
	return s, err
}

// Forget implements control.Backend.
func (b *backend) Forget(_ context.Context, name string) error {
	var err error
	err2 := b.n.call(func(now time.Time) {
		switch members := b.n.table.ByName(name); {
		case b.n.table.Forget(now, name):
			b.n.saveMembers()
		case len(members) > 0:
			err = control.NewError(control.CodeConflict, name+" is there: only a member that is missing or away can be forgotten")
		default:
			err = control.ErrNotFound
		}
	})
	if err2 != nil {
		return err2
	}
	return err
}

func (n *node) status(now time.Time) *control.Status {
	info := n.conn.Info()
	s := &control.Status{Version: control.Version, Protocol: protocol.Version, Name: n.cfg.Name, Cluster: n.cfg.Cluster,
		Session: fmt.Sprintf("%016x", uint64(n.session)), PID: os.Getpid(), Started: n.started, Base: control.Text(n.cfg.Base),
		BaseNamed: control.Text(n.cfg.baseNamed), BaseDevice: n.modules[0].Root.Dev(), BaseInode: n.modules[0].Root.Ino(),
		StageDir: control.Text(n.cfg.Stage), StateDir: control.Text(n.cfg.State), Group: n.conn.Group().Addr().String(),
		Port: int(n.conn.Group().Port()), UnicastPort: int(n.conn.Local().Port()), Interface: info.Interface,
		Address: addrText(n.conn.Local()), Waiting: n.waiting(), TTL: info.TTL, MTU: n.conn.Payload() + ipUDPHeader,
		RateMbit: float64(n.cfg.Network.Rate) / 1e6, Receive: !n.cfg.NoReceive, Send: !n.cfg.NoSend,
		Buffers:  control.Buffers{ReceiveAsked: info.RecvAsked, ReceiveGot: info.RecvGot, SendAsked: info.SendAsked, SendGot: info.SendGot},
		Warnings: n.cfg.Warnings(), Members: n.memberStatuses(), Pushes: n.pushStatuses(now)}
	s.Warnings = append(s.Warnings, n.troubles...)
	if info.Warning != "" {
		s.Warnings = append(s.Warnings, info.Warning)
	}
	return s
}

func (n *node) memberStatuses() []control.MemberStatus {
	self := n.table.Self()
	list := []control.MemberStatus{}
	placed := false
	own := control.MemberStatus{Name: n.cfg.Name, Addr: addrText(n.conn.Local()), Port: int(n.conn.Local().Port()),
		Version: control.Version, Protocol: protocol.Version, State: control.StateAlive, Since: n.started, Self: true,
		Receive: !n.cfg.NoReceive, Send: !n.cfg.NoSend}
	if self.DuplicateName {
		own.State, own.Message = control.StateDuplicate, duplicateText
	}
	own.LastPush = n.ownLastPush()
	for _, m := range n.table.Members() {
		if !placed && m.Name > n.cfg.Name {
			list, placed = append(list, own), true
		}
		list = append(list, n.memberStatus(&m))
	}
	if !placed {
		list = append(list, own)
	}
	return list
}

// stoppedText says how a member went that is away.
const stoppedText = "it was stopped there"

const duplicateText = "another member has the same name: give each its own with --name"

func (n *node) memberStatus(m *membership.Member) control.MemberStatus {
	s := control.MemberStatus{Name: m.Name, Addr: m.Addr.Addr().String(), Port: int(m.Addr.Port()), Protocol: int(m.MaxVersion),
		State: control.StateAlive, Since: m.Since, Receive: m.Flags&protocol.FlagNoReceive == 0, Send: m.Flags&protocol.FlagNoSend == 0}
	switch {
	case m.State == membership.Missing:
		s.State, s.Since = control.StateMissing, m.LastHeard
	case m.State == membership.Away:
		s.State, s.How = control.StateAway, stoppedText
	case m.State == membership.Foreign:
		s.State, s.Message = control.StateForeign, control.Text(foreignText(m))
	case m.DuplicateName:
		s.State, s.Message = control.StateDuplicate, duplicateText
	}
	if d := m.Detail; d != nil {
		s.Version = d.Version
		if len(d.Modules) > 0 && !d.Modules[0].LastPush.IsZero() {
			s.LastPush = n.lastPushOf(d.Modules[0].LastPush, time.Unix(0, d.Modules[0].At), control.OutcomeDone, "")
		}
	}
	if l, ok := n.last[m.Session]; ok && (s.LastPush == nil || s.LastPush.Push <= l.id.String()) {
		s.LastPush = n.lastPushOf(l.id, l.at, l.outcome, l.text)
	}
	return s
}

// ownLastPush is how the last push ended here.
func (n *node) ownLastPush() *control.LastPush {
	l := n.store.Last(n.modules[0].Name()).Ended
	if l.ID.IsZero() {
		return nil
	}
	outcome, text := control.OutcomeDone, ""
	switch {
	case l.Failed != "":
		outcome, text = control.OutcomeFailed, l.Failed
	case l.Errors > 0:
		outcome, text = control.OutcomeFailed, control.Count(l.Errors, "path", "paths")+" in error"
	}
	p := n.lastPushOf(l.ID, l.At, outcome, text)
	if l.Origin != "" {
		p.Origin = l.Origin
	}
	return p
}

func (n *node) lastPushOf(id protocol.PushID, at time.Time, outcome, text string) *control.LastPush {
	origin := "a member that left or was restarted since"
	if id.Origin == n.session {
		origin = n.cfg.Name
	} else if m, ok := n.table.Lookup(id.Origin); ok {
		origin = m.Name
	}
	return &control.LastPush{Push: id.String(), Origin: origin, Module: n.modules[0].Name(), At: at, Outcome: outcome, Message: control.Text(text)}
}

func foreignText(m *membership.Member) string {
	if m.MinVersion == m.MaxVersion {
		return fmt.Sprintf("it speaks protocol version %d, this daemon %d: run the same release on both", m.MinVersion, protocol.Version)
	}
	return fmt.Sprintf("it speaks protocol versions %d to %d, this daemon %d: run the same release on both", m.MinVersion, m.MaxVersion, protocol.Version)
}

func (n *node) pushStatuses(now time.Time) []control.PushStatus {
	list := []control.PushStatus{}
	for _, s := range n.mgr.Status(now) {
		ps := control.PushStatus{Push: s.ID.String(), Origin: n.cfg.Name, Role: control.RoleOrigin, Module: s.Module,
			Paths: texts(s.Paths), DryRun: s.DryRun, Started: s.Started, UID: s.UID, Decided: s.Decided,
			Waiting: s.Waiting, Now: *progress(&s)}
		for _, m := range s.Members {
			ps.Members = append(ps.Members, control.PushMember{Name: m.Name, Addr: m.Addr.Addr().String(), State: m.State.String(), Message: control.Text(m.Text)})
		}
		list = append(list, ps)
	}
	for _, r := range n.mgr.Receiving() {
		list = append(list, control.PushStatus{Push: r.ID.String(), Origin: r.Origin, Role: control.RoleMember, Module: r.Module,
			Paths: texts(r.Paths), DryRun: r.DryRun, Decided: r.Decided, Started: time.Unix(0, r.ID.Start), UID: -1,
			Now:     control.Progress{Stage: r.Stage, Percent: -1, Entries: r.Entries, Bytes: r.Bytes, RateMbit: r.Rate * 8 / 1e6},
			Members: []control.PushMember{{Name: n.cfg.Name, Addr: addrText(n.conn.Local()), State: r.State.String(), Message: control.Text(r.Text)}}})
	}
	return list
}

func texts(list []string) []control.Text {
	out := make([]control.Text, len(list))
	for i, s := range list {
		out[i] = control.Text(s)
	}
	return out
}

var stageNames = map[push.Stage]string{push.StageLock: control.StageLock, push.StageWait: control.StageWait,
	push.StageSend: control.StageSend, push.StageFlush: control.StageFlush, push.StageCommit: control.StageCommit,
	push.StageReport: control.StageReport, push.StageAbort: control.StageAbort}

func progress(s *push.Status) *control.Progress {
	p := &control.Progress{Stage: stageNames[s.Stage], Entries: s.Entries, Bytes: s.Content, Sent: s.Sent, Repaired: s.Repaired,
		RateMbit: s.Rate * 8 / 1e6, Percent: s.Percent}
	if s.TotalKnown {
		p.BytesTotal = s.Total
	}
	if s.Left >= 0 {
		p.LeftS = s.Left.Seconds()
	}
	for _, a := range s.Awaited {
		p.WaitingFor = append(p.WaitingFor, control.Awaited{Name: a.Name, Doing: a.Doing})
	}
	p.WaitingN = s.More
	for _, m := range s.Members {
		switch m.State {
		case push.MemberActive:
			p.Members.Active++
		case push.MemberParked:
			p.Members.Parked++
		case push.MemberStaged:
			p.Members.Staged++
		case push.MemberDone:
			p.Members.Done++
		case push.MemberFailed:
			p.Members.Failed++
		case push.MemberLost:
			p.Members.Lost++
		case push.MemberRefused:
			p.Members.Refused++
		}
	}
	return p
}
