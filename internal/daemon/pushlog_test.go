package daemon

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"makuo/internal/control"
	"makuo/internal/transport/leak"
)

// TestPushLog: the origin's log has a line for each push: whose, of what, how it
// ended and with which counts; the members' logs have one for their part. What
// did not go well is a warning.
func TestPushLog(t *testing.T) {
	leak.Check(t)
	c := newCluster(t)
	l := c.machines("a", "b")
	logs := make([]*observer.ObservedLogs, len(l))
	for i, m := range l {
		m.stop()
		var core zapcore.Core
		core, logs[i] = observer.New(zapcore.DebugLevel)
		m.log = zap.New(core)
		m.start()
	}
	c.settle(l...)
	// line returns the only line of a machine with the message, and forgets it.
	line := func(m int, message string) string {
		t.Helper()
		var found []observer.LoggedEntry
		c.until(message, func() bool {
			found = logs[m].FilterMessage(message).All()
			return len(found) > 0
		})
		logs[m].TakeAll()
		if len(found) != 1 {
			t.Fatalf("%d lines %q", len(found), message)
		}
		return fmt.Sprint(found[0].Level, " ", found[0].ContextMap())
	}
	has := func(line string, parts ...string) {
		t.Helper()
		for _, p := range parts {
			if !strings.Contains(line, p) {
				t.Errorf("%q is not in %s", p, line)
			}
		}
	}
	l[0].site("t", 3)
	o, req := &outcome{}, paths("t")
	req.UID = os.Getuid()
	o.err = (&backend{l[0].n}).Push(context.Background(), &req, func(e control.Event) { o.events = append(o.events, e) })
	s := o.exits(t, control.ExitOK)
	if n := logs[0].FilterMessage("push begins").FilterLevelExact(zapcore.DebugLevel).Len(); n != 1 {
		t.Errorf("%d lines say that the push begins", n)
	}
	has(line(0, "push ended"), "info ", fmt.Sprint("uid:", os.Getuid()), "user:", "module:default", "paths:[t]", "options:--recursive",
		"outcome:done", "exit:0", "done:1", "late:0", "failed:0", "lost:0", "missing:0", "away:0", fmt.Sprint("files:", s.Files),
		fmt.Sprint("bytes:", s.Bytes), fmt.Sprint("updated:", s.Updated), "deleted:0", "seconds:")
	has(line(1, "push ended here"), "info", "origin:a", "module:default", "outcome:done", fmt.Sprint("changed:", s.Updated), fmt.Sprint("bytes:", s.Bytes))

	l[1].site("t/more", 4)
	none := 0
	del := paths("t")
	del.Delete, del.MaxDelete = true, &none
	l[0].push(del, nil).exits(t, control.ExitPartial)
	has(line(0, "push ended"), "warn", "uid:-1", "--delete --max-delete 0", "outcome:not on all members", "exit:2", "failed:1", "not_done:[b: failed")
	has(line(1, "push failed here"), "warn", "origin:a", "outcome:failed")

	for name, x := range map[string]struct {
		change func(*control.PushRequest)
		part   string
	}{
		"no such path":   {func(r *control.PushRequest) { r.Paths = []control.Text{"nowhere"} }, "nowhere"},
		"no such target": {func(r *control.PushRequest) { r.Targets = []string{"x"} }, "outcome:nothing was sent: no member is called x"},
	} {
		bad := paths("t")
		x.change(&bad)
		l[0].push(bad, nil)
		t.Log(name)
		has(line(0, "push ended"), "warn", x.part)
	}
	l[1].stop()
	c.until("b is away", func() bool {
		for _, s := range l[0].status().Members {
			if s.Name == "b" {
				return s.State == control.StateAway
			}
		}
		return false
	})
	l[0].push(paths("t"), nil).exits(t, control.ExitPartial)
	has(line(0, "push ended"), "warn", "outcome:nothing was sent: none of the members", "away:1", "not_done:[b: away]")
}
