package daemon

import (
	"context"
	"testing"

	"makuo/internal/control"
	"makuo/internal/transport/leak"
)

// TestPushesInProgress: what the API tells of a push under way has every field
// it is documented to have, at the origin and at a member.
func TestPushesInProgress(t *testing.T) {
	leak.Check(t)
	c := newCluster(t)
	l := c.machines("a", "b")
	l[0].site("t", 5)
	look := func(m *machine, role string) control.PushStatus {
		t.Helper()
		for _, p := range m.status().Pushes {
			if p.Role == role && len(p.Members) == 1 {
				return p
			}
		}
		t.Fatalf("%s has no push as %s", m.name, role)
		return control.PushStatus{}
	}
	for _, dry := range []bool{true, false} {
		req := paths("t")
		req.DryRun = dry
		c.lose(withoutStaged)
		end := l[0].begin(context.Background(), req, nil)
		c.until("b is staged", staged(l[1:]))
		for _, p := range []control.PushStatus{look(l[0], control.RoleOrigin), look(l[1], control.RoleMember)} {
			m := p.Members[0]
			if p.DryRun != dry || p.Decided || p.Origin != "a" || m.Name != "b" || m.Addr != l[1].addr().String() {
				t.Errorf("dry run %v: %+v", dry, p)
			}
			if want := map[string]string{control.RoleOrigin: "active", control.RoleMember: "staged"}[p.Role]; m.State != want {
				t.Errorf("as %s: state %q, want %q", p.Role, m.State, want)
			}
		}
		c.lose(nil)
		(<-end).exits(t, control.ExitOK)
		l[1].clean()
	}
	// The origin dies when all is here: the member says what it is at.
	l[0].site("t2", 5)
	c.lose(withoutStaged)
	end := l[0].begin(context.Background(), paths("t2"), nil)
	c.until("b is staged", staged(l[1:]))
	l[0].crash()
	<-end
	c.until("b is in doubt", func() bool { return l[1].stage(control.RoleMember) == "undecided" })
	if p := look(l[1], control.RoleMember); p.Members[0].State != "staged" || p.Members[0].Message == "" || p.Decided {
		t.Errorf("in doubt: %+v", p)
	}
	l[1].stop() // and started again: the same
	l[1].start()
	if p := look(l[1], control.RoleMember); p.Origin != "a" || p.Members[0].State != "staged" || p.Members[0].Message == "" || p.Decided {
		t.Errorf("in doubt, started again: %+v", p)
	}
}
