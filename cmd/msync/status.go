package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"makuo/internal/control"
)

// question answers --status, --members and --forget: the text for stdout.
func question(ctx context.Context, o *options, c *control.Client, env *environment) (string, error) {
	var raw []byte
	var text string
	var err error
	switch o.mode {
	case modeStatus:
		var st *control.Status
		if st, err = c.Status(ctx, &raw); err == nil {
			text = statusText(st, env.now(), env.zone)
		}
	case modeMembers:
		var m *control.Members
		if m, err = c.Members(ctx, &raw); err == nil {
			text = membersText(m)
		}
	case modeForget:
		err = c.Forget(ctx, o.forget, &raw)
		text = "forgot " + clean(o.forget) + "\n"
	}
	if o.json {
		text = string(raw)
	}
	return text, err
}

func membersText(m *control.Members) string {
	var b strings.Builder
	for _, x := range m.Members {
		fmt.Fprintf(&b, "%s %s (%s) %s\n", clean(x.Name), clean(x.Addr), version(&x), clean(x.State))
	}
	fmt.Fprintf(&b, "Total: %s\n", control.Count(m.Total, "member", "members"))
	return b.String()
}

// version is a member's program version, or else what it speaks.
func version(m *control.MemberStatus) string {
	if m.Version != "" {
		return clean(m.Version)
	}
	return fmt.Sprintf("protocol %d", m.Protocol)
}

func statusText(st *control.Status, now time.Time, zone *time.Location) string {
	var b strings.Builder
	fmt.Fprintf(&b, "makuod %s on %s, pid %d, up %s\n", clean(st.Version), clean(st.Name), st.PID, ago(now.Sub(st.Started)))
	row := func(head, format string, args ...any) {
		fmt.Fprintf(&b, "  %-10s %s\n", head, fmt.Sprintf(format, args...))
	}
	row("base", "%s", clean(string(st.Base)))
	if st.Cluster != "" {
		row("cluster", "%s", clean(st.Cluster))
	}
	row("group", "%s port %d, TTL %d", clean(st.Group), st.Port, st.TTL)
	if st.Waiting != "" {
		row("network", "%s", clean(st.Waiting))
	}
	if st.Interface != "" {
		row("interface", "%s, address %s, unicast port %d, MTU %d", clean(st.Interface), clean(st.Address), st.UnicastPort, st.MTU)
	}
	row("buffers", "receive %s, send %s", buffer(st.Buffers.ReceiveAsked, st.Buffers.ReceiveGot, "rmem_max"),
		buffer(st.Buffers.SendAsked, st.Buffers.SendGot, "wmem_max"))
	if st.RateMbit > 0 {
		row("rate", "at most %g Mbit/s", st.RateMbit)
	}
	row("key", "%s", map[bool]string{true: "yes", false: "none: who can send to the group can push"}[st.Key])
	row("takes part", "%s", map[[2]bool]string{{true, true}: "sends and receives", {true, false}: "sends only (--no-receive)",
		{false, true}: "receives only (--no-send)", {false, false}: "neither sends nor receives"}[[2]bool{st.Send, st.Receive}])
	for _, w := range st.Warnings {
		row("warning", "%s", clean(w))
	}
	fmt.Fprintf(&b, "\n%s", memberTable(st.Members, zone))
	if len(st.Pushes) == 0 {
		b.WriteString("\nno push in progress\n")
	}
	for i := range st.Pushes {
		b.WriteString("\n" + pushText(&st.Pushes[i], now))
	}
	return b.String()
}

func buffer(asked, got int, sysctl string) string {
	text := control.Bytes(uint64(max(got, 0)))
	if asked > 0 && got < asked {
		text += fmt.Sprintf(" (asked for %s: raise net.core.%s)", control.Bytes(uint64(asked)), sysctl)
	}
	return text
}

func memberTable(members []control.MemberStatus, zone *time.Location) string {
	rows := [][]string{{"NAME", "ADDRESS", "VERSION", "STATE", "SINCE", "LAST PUSH"}}
	var notes strings.Builder
	for i := range members {
		m := &members[i]
		since, name := "-", clean(m.Name)
		if !m.Since.IsZero() {
			since = clock(m.Since, zone)
		}
		if m.Self {
			name += " (this)"
		}
		rows = append(rows, []string{name, clean(m.Addr), version(m), memberState(m), since, lastPush(m.LastPush, zone)})
		if m.Message != "" {
			fmt.Fprintf(&notes, "  %s: %s\n", clean(m.Name), clean(string(m.Message)))
		}
	}
	return fmt.Sprintf("members: %d\n", len(members)) + columns(rows) + notes.String()
}

func memberState(m *control.MemberStatus) string {
	text := clean(m.State)
	if m.State != control.StateAlive {
		return text
	}
	switch {
	case !m.Receive && !m.Send:
		text += ", idle"
	case !m.Receive:
		text += ", sends only"
	case !m.Send:
		text += ", receives only"
	}
	return text
}

func lastPush(p *control.LastPush, zone *time.Location) string {
	if p == nil {
		return "-"
	}
	text := fmt.Sprintf("%s at %s, from %s", clean(p.Outcome), clock(p.At, zone), clean(p.Origin))
	if p.Message != "" {
		text += ": " + clean(string(p.Message))
	}
	return text
}

// columns aligns rows in columns, indented by two.
func columns(rows [][]string) string {
	var width []int
	for _, r := range rows {
		for i, cell := range r {
			if i == len(width) {
				width = append(width, 0)
			}
			width[i] = max(width[i], textWidth(cell))
		}
	}
	var b strings.Builder
	for _, r := range rows {
		var line strings.Builder
		for i, cell := range r {
			line.WriteString("  " + cell + strings.Repeat(" ", width[i]-textWidth(cell)))
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}

func pushText(p *control.PushStatus, now time.Time) string {
	var b strings.Builder
	var paths []string
	for i, x := range p.Paths {
		if i == waitLimit {
			paths = append(paths, fmt.Sprintf("and %d more", len(p.Paths)-waitLimit))
			break
		}
		paths = append(paths, clean(string(x)))
	}
	kind := "push"
	if p.DryRun {
		kind = "dry run"
	}
	fmt.Fprintf(&b, "%s %s from %s: %s, for %s\n", kind, clean(p.Push), clean(p.Origin), strings.Join(paths, " "), ago(now.Sub(p.Started)))
	fmt.Fprintf(&b, "  %s\n", progressLine(&p.Now))
	if p.Waiting != "" {
		fmt.Fprintf(&b, "  waiting for %s\n", clean(p.Waiting))
	}
	if p.Decided {
		b.WriteString("  the decision to commit is taken\n")
	}
	members := slices.Clone(p.Members)
	slices.SortFunc(members, func(x, y control.PushMember) int { return strings.Compare(x.Name, y.Name) })
	var rows [][]string
	for _, m := range members {
		rows = append(rows, []string{clean(m.Name), clean(m.Addr), clean(m.State), clean(string(m.Message))})
	}
	b.WriteString(columns(rows))
	return b.String()
}

// clock is a time for people.
func clock(t time.Time, zone *time.Location) string { return t.In(zone).Format("2006-01-02 15:04:05") }

// ago is a length of time for people, in its one or two largest units.
func ago(d time.Duration) string {
	s := int64(max(d, 0) / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600:
		return fmt.Sprintf("%d min %d s", s/60, s%60)
	case s < 86400:
		return fmt.Sprintf("%d h %d min", s/3600, s%3600/60)
	}
	return fmt.Sprintf("%d d %d h", s/86400, s%86400/3600)
}
