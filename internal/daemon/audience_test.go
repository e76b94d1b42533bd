package daemon

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"makuo/internal/control"
	"makuo/internal/push"
	"makuo/membership"
	"makuo/protocol"
)

// TestTooFew: nothing is sent, and the exit status tells a cluster of one from
// members that are away.
func TestTooFew(t *testing.T) {
	there := []push.RosterMember{{Name: "b"}}
	away := []push.Absent{{Name: "c", Missing: true}}
	other := []push.Absent{{Name: "d", Text: "it speaks another protocol"}}
	for name, c := range map[string]struct {
		a    audience
		req  control.PushRequest
		exit int
	}{
		"nobody":                       {audience{}, control.PushRequest{}, control.ExitNobody},
		"alone":                        {audience{alone: true}, control.PushRequest{}, control.ExitNobody},
		"none that receives":           {audience{skipped: []string{"x"}}, control.PushRequest{}, control.ExitNobody},
		"this host":                    {audience{roster: there, self: []string{"a"}}, control.PushRequest{}, control.ExitNobody},
		"missing only":                 {audience{absent: away}, control.PushRequest{}, control.ExitPartial},
		"missing only, ignored":        {audience{absent: away}, control.PushRequest{IgnoreMissing: true}, control.ExitNobody},
		"missing only, expected":       {audience{absent: away}, control.PushRequest{Expect: 1}, control.ExitNobody},
		"foreign only":                 {audience{absent: other}, control.PushRequest{IgnoreMissing: true}, control.ExitPartial},
		"some":                         {audience{roster: there, absent: away}, control.PushRequest{}, control.ExitOK},
		"all or none":                  {audience{roster: there, absent: away}, control.PushRequest{AllOrNone: true}, control.ExitAborted},
		"all or none, ignored":         {audience{roster: there, absent: away}, control.PushRequest{AllOrNone: true, IgnoreMissing: true}, control.ExitOK},
		"all or none, foreign":         {audience{roster: there, absent: other}, control.PushRequest{AllOrNone: true, IgnoreMissing: true}, control.ExitAborted},
		"unknown target":               {audience{roster: there, unknown: []string{"x"}}, control.PushRequest{}, control.ExitNobody},
		"all or none with all of them": {audience{roster: there}, control.PushRequest{AllOrNone: true}, control.ExitOK},
	} {
		if why, exit := c.a.tooFew(&c.req); exit != c.exit || (why == "") != (exit == control.ExitOK) {
			t.Errorf("%s: exit %d, %q; want %d", name, exit, why, c.exit)
		}
	}
}

// TestReplaced: only a run at the same address takes the place of an older
// one; another host of the same name does not.
func TestReplaced(t *testing.T) {
	at := func(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
	old := membership.Member{Session: 1, Name: "web", Addr: at("10.0.0.1:5000"), Superseded: true}
	again := membership.Member{Session: 2, Name: "web", Addr: at("10.0.0.1:40000")}
	twin := membership.Member{Session: 3, Name: "web", Addr: at("10.0.0.2:5000")}
	for _, m := range []*membership.Member{&again, &twin} {
		m.State = membership.Alive
	}
	if !replaced(&old, []membership.Member{old, again}) {
		t.Error("its own next run does not replace it")
	}
	if replaced(&old, []membership.Member{old, twin}) {
		t.Error("another host replaces it")
	}
	var a audience
	a.add(&old, "web@10.0.0.1:5000", false)
	if len(a.absent) != 1 || a.absent[0].Text == "" || len(a.roster) != 0 {
		t.Errorf("a member that may be gone is not named: %+v", a)
	}
}

func TestExcludedPathsAreNamed(t *testing.T) {
	base := t.TempDir()
	if err := os.MkdirAll(filepath.Join(base, "a/cache"), 0o755); err != nil {
		t.Fatal(err)
	}
	h := &protocol.PushHeader{Paths: []string{"a/cache", "a/x.tmp", "b"},
		Rules: []protocol.Rule{{Pattern: "cache/"}, {Include: true, Pattern: "x.tmp"}, {Pattern: "*.tmp"}}}
	got := excludedPaths(h, base)
	if len(got) != 1 || !strings.HasPrefix(got[0], "a/cache is excluded") {
		t.Errorf("%q", got)
	}
}
