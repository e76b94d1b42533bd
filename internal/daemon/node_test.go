package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"makuo/internal/control"
	"makuo/internal/transport"
	"makuo/internal/transport/leak"
	"makuo/protocol"
)

func paths(p ...control.Text) control.PushRequest {
	return control.PushRequest{Paths: p, Recursive: true, TimeoutSeconds: 10}
}

// site makes a tree with something of each kind.
func (m *machine) site(dir string, files int) {
	t := m.c.t
	t.Helper()
	r := rand.New(rand.NewPCG(uint64(files), 7))
	for i := range files {
		b := make([]byte, r.IntN(3000))
		for j := range b {
			b[j] = byte(r.Uint32())
		}
		m.write(fmt.Sprintf("%s/d%d/e%d/f%d", dir, i%7, i%3, i), b)
	}
	big := make([]byte, 1<<20+12345)
	for j := range big {
		big[j] = byte(r.Uint32())
	}
	m.write(dir+"/big", big)
	m.write(dir+"/empty", nil)
	if err := os.Symlink("d1/e1", filepath.Join(m.base, dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(m.base, dir, "big"), filepath.Join(m.base, dir, "twin")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(m.base, dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(m.base, dir, "hollow"), 0o750); err != nil {
		t.Fatal(err)
	}
}

// TestPushes runs pushes of many kinds in one cluster.
func TestPushes(t *testing.T) {
	leak.Check(t)
	c := newCluster(t)
	list := c.machines("a", "b", "c", "d")
	for _, s := range []struct {
		name string
		run  func(*testing.T, []*machine)
	}{
		{"Loss", testLoss}, {"PathLines", testPathLines}, {"PathErrors", testPathErrors}, {"FirstName", testFirstName}, {"MissingPath", testMissingPath}, {"Check", testCheck}, {"DryRun", testDryRun},
		{"Overlap", testOverlap}, {"AtOnce", testAtOnce}, {"Ring", testRing}, {"NoWait", testNoWait},
		{"Targets", testTargets}, {"CancelBefore", testCancelBefore}, {"CancelAfter", testCancelAfter},
		{"MissedOrder", testMissedOrder}, {"OriginSilent", testOriginSilent},
	} {
		t.Run(s.name, func(t *testing.T) {
			c.t = t
			s.run(t, list)
			c.lose(nil)
			c.harm(nil)
			for _, m := range list {
				m.clean()
			}
		})
		c.t = t
	}
}

func testLoss(t *testing.T, l []*machine) {
	a, c := l[0], l[0].c
	a.site("loss", 150)
	l[1].writeAll("loss/stale", "loss/d1/e1/stale")
	c.harm(transport.Chaos(0.05, 0.03, 0.01, 2*time.Millisecond))
	req := paths("loss")
	req.Delete = true
	first := a.push(req, nil)
	if s := first.exits(t, control.ExitOK); s.Done != 3 || s.BytesRepaired == 0 || s.Updated < s.Files || s.Files == 0 || s.Deleted != 2 {
		t.Errorf("%d done, %d bytes repaired, %d names updated, %d deleted:\n%s", s.Done, s.BytesRepaired, s.Updated, s.Deleted, first)
	}
	same(t, "loss", l...)

	// The same once more: nothing is sent, nothing is changed.
	req.Verbose = 1
	o := a.push(req, nil)
	if s := o.exits(t, control.ExitOK); s.Files != 0 || s.Updated+s.Deleted != 0 || s.Bytes != 0 || len(o.paths()) != 0 {
		t.Errorf("again: %d files, %d bytes, %v", s.Files, s.Bytes, o.paths())
	}
	same(t, "loss", l...)
}

// testMissingPath: a path that is not at the origin ends the push before
// anybody is asked, and is removed only when that was asked for.
func testMissingPath(t *testing.T, l []*machine) {
	a, b := l[0], l[1]
	a.writeAll("there/x")
	b.writeAll("missing/x")
	req := paths("missing", "there")
	req.Delete = true
	o := a.push(req, nil)
	var refused *control.Error
	if !errors.As(o.err, &refused) || refused.ExitStatus() != control.ExitUsage || !strings.Contains(refused.Error(), filepath.Join(a.base, "missing")) {
		t.Errorf("%v:\n%s", o.err, o)
	}
	if !b.has("missing/x") || b.has("there") {
		t.Error("the push changed something")
	}
	req.DeleteMissing = true
	a.push(req, nil).exits(t, control.ExitOK)
	if b.has("missing") || !b.has("there/x") {
		t.Error("the missing path is not removed, or the other did not arrive")
	}
}

// testPathLines checks that the path lines are what happened, no more and no
// less.
func testPathLines(t *testing.T, l []*machine) {
	a, b := l[0], l[1]
	a.writeAll("lines/new", "lines/same", "lines/sub/x")
	if r := a.push(paths("lines"), nil); r.exits(t, control.ExitOK).Done != 3 {
		t.Fatal(r)
	}
	same(t, "lines", l...)
	a.write("lines/new", []byte("newer than before"))
	b.write("lines/extra", nil)
	b.write("lines/gone/deep", nil)
	req := paths("lines")
	req.Delete, req.Verbose, req.Targets = true, 1, []string{"b", "c"}
	want := []string{"delete b lines/extra", "delete b lines/gone", "delete b lines/gone/deep", "update b lines", "update b lines/new", "update c lines/new"}
	got := a.push(req, nil)
	got.exits(t, control.ExitOK)
	if !slices.Equal(got.paths(), want) {
		t.Errorf("lines of -v\n%s\nwant\n%s", strings.Join(got.paths(), "\n"), strings.Join(want, "\n"))
	}
	same(t, "lines", a, b, l[2])

	req.Verbose, req.Targets = 2, []string{"d"}
	want = []string{"skip d lines", "skip d lines/same", "skip d lines/sub", "skip d lines/sub/x", "update d lines/new"}
	got = a.push(req, nil)
	got.exits(t, control.ExitOK)
	if !slices.Equal(got.paths(), want) {
		t.Errorf("lines of -vv\n%s\nwant\n%s", strings.Join(got.paths(), "\n"), strings.Join(want, "\n"))
	}
}

// testPathErrors checks the lines of a push with paths in error at a member:
// a full directory stands where the origin has a file.
func testPathErrors(t *testing.T, l []*machine) {
	a, b := l[0], l[1]
	a.writeAll("errs/file", "errs/other")
	b.writeAll("errs/file/in/the/way")
	req := paths("errs")
	req.Verbose = 1
	o := a.push(req, nil)
	s := o.exits(t, control.ExitPartial)
	if m := o.members(); m["b"] != control.OutcomeFailed || m["c"] != control.OutcomeDone || s.Failed != 1 || s.Done != 2 {
		t.Errorf("%v, %d failed, %d done", m, s.Failed, s.Done)
	}
	var problems []string
	for _, e := range o.events {
		if p, ok := e.(*control.Problem); ok {
			problems = append(problems, p.Severity+" "+p.Member+" "+string(p.Path))
		}
	}
	if !slices.Equal(problems, []string{"error b errs/file"}) {
		t.Errorf("problems %q", problems)
	}
	want := []string{}
	for _, m := range []string{"b", "c", "d"} {
		for _, p := range []string{"errs", "errs/file", "errs/other"} {
			if line := "update " + m + " " + p; line != "update b errs/file" {
				want = append(want, line)
			}
		}
	}
	got := o.paths()
	// b had the directory: whether its time differed is a matter of clocks.
	got = slices.DeleteFunc(got, func(s string) bool { return s == "update b errs" })
	want = slices.DeleteFunc(want, func(s string) bool { return s == "update b errs" })
	if !slices.Equal(got, want) {
		t.Errorf("lines\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if _, err := os.Lstat(filepath.Join(b.base, "errs/file/in/the/way")); err != nil {
		t.Error(err)
	}
}

func testCheck(t *testing.T, l []*machine) {
	a, b := l[0], l[1]
	a.writeAll("check/x", "check/y")
	a.push(paths("check"), nil).exits(t, control.ExitOK)
	req := paths("check")
	req.Check, req.Delete = true, true
	o := a.push(req, nil)
	if o.exits(t, control.ExitOK); len(o.paths()) != 0 {
		t.Errorf("lines of a check of equal trees: %q", o.paths())
	}
	// Same size and time, other content.
	i, err := os.Lstat(filepath.Join(b.base, "check/x"))
	if err != nil {
		t.Fatal(err)
	}
	b.write("check/x", bytes.Repeat([]byte("z"), int(i.Size())))
	if err := os.Chtimes(filepath.Join(b.base, "check/x"), i.ModTime(), i.ModTime()); err != nil {
		t.Fatal(err)
	}
	o = a.push(req, nil)
	if s := o.exits(t, control.ExitPartial); !strings.Contains(s.Line(), " 1 path differs;") || !slices.Equal(o.paths(), []string{"differs b check/x"}) {
		t.Errorf("lines %q", o.paths())
	}
	req.Verbose = 1
	o = a.push(req, nil)
	o.exits(t, control.ExitPartial)
	want := []string{"differs b check/x"}
	for _, m := range []string{"b", "c", "d"} {
		for _, p := range []string{"check", "check/x", "check/y"} {
			if m+p != "bcheck/x" {
				want = append(want, "ok "+m+" "+p)
			}
		}
	}
	slices.Sort(want)
	if !slices.Equal(o.paths(), want) {
		t.Errorf("lines %q, want %q", o.paths(), want)
	}
	a.push(paths("check"), nil)

	// What only a member has differs as well.
	req = paths("check/only")
	a.writeAll("check/only/x")
	a.push(req, nil).exits(t, control.ExitOK)
	l[2].writeAll("check/only/extra")
	mtime := time.Unix(1_700_000_000, 5)
	for _, m := range l {
		if err := os.Chtimes(filepath.Join(m.base, "check/only"), mtime, mtime); err != nil {
			t.Fatal(err)
		}
	}
	req.Check, req.Delete = true, true
	o = a.push(req, nil)
	if o.exits(t, control.ExitPartial); !slices.Equal(o.paths(), []string{"differs c check/only/extra"}) {
		t.Errorf("lines %q", o.paths())
	}
}

func testDryRun(t *testing.T, l []*machine) {
	a, b := l[0], l[1]
	a.site("dry", 20)
	b.writeAll("dry/extra")
	before := b.content("dry")
	req := paths("dry")
	req.DryRun, req.Delete = true, true
	o := a.push(req, nil)
	o.exits(t, control.ExitOK)
	if b.content("dry") != before || l[2].content("dry") != "" {
		t.Error("a dry run has changed something")
	}
	if p := o.paths(); !slices.Contains(p, "delete b dry/extra") || !slices.Contains(p, "update c dry/big") || slices.Contains(p, "delete c dry/extra") {
		t.Errorf("lines %q", p)
	}
}

// testOverlap has a push meet another one that is under way: it says whom it
// waits for, and both end well.
func testOverlap(t *testing.T, l []*machine) {
	a, b, c := l[0], l[1], l[0].c
	a.writeAll("over/x")
	b.writeAll("over/sub/y")
	c.lose(withoutStaged)
	first := a.begin(context.Background(), paths("over"), nil)
	c.until("the members are staged", func() bool {
		return l[3].stage(control.RoleMember) == "staged" && b.stage(control.RoleMember) == "staged"
	})
	var waits atomic.Value
	second := b.begin(context.Background(), paths("over/sub"), func(e control.Event) {
		if w, ok := e.(*control.Waiting); ok {
			waits.Store(*w)
		}
	})
	c.until("the second push waits", func() bool { return waits.Load() != nil })
	if w := waits.Load().(control.Waiting); w.For != "a" {
		t.Errorf("it waits for %q", w.For)
	}
	c.until("the status says so", func() bool {
		for _, p := range b.status().Pushes {
			if p.Role == control.RoleOrigin {
				return p.Waiting == "a" && p.Now.Stage == control.StageWait
			}
		}
		return false
	})
	c.lose(nil)
	(<-first).exits(t, control.ExitOK)
	(<-second).exits(t, control.ExitOK)
	same(t, "over/x", l...)
	same(t, "over/sub", l...)
}

func testAtOnce(t *testing.T, l []*machine) {
	for i := range 4 {
		dir := control.Text(fmt.Sprintf("once%d", i))
		l[0].writeAll(string(dir) + "/x")
		l[1].writeAll(string(dir) + "/y")
		var ends []<-chan *outcome
		for _, m := range l[:2] {
			ends = append(ends, m.begin(context.Background(), paths(dir), nil))
		}
		for _, e := range ends {
			(<-e).exits(t, control.ExitOK)
		}
		same(t, string(dir), l...)
	}
}

// testRing has three members push the same path to the next one, all at once.
func testRing(t *testing.T, l []*machine) {
	for i := range 4 {
		dir := control.Text(fmt.Sprintf("ring%d", i))
		for _, m := range l[:3] {
			m.writeAll(string(dir) + "/" + m.name)
		}
		var ends []<-chan *outcome
		for k, m := range l[:3] {
			req := paths(dir)
			req.Targets = []string{l[(k+1)%3].name}
			ends = append(ends, m.begin(context.Background(), req, nil))
		}
		for k, e := range ends {
			// An older push that a newer one overtook on its paths leaves them as
			// the newer one made them, says so, and does it when pushed again.
			o := <-e
			if o.summary(t).Exit == control.ExitPartial && strings.Contains(o.String(), "as the newer push") {
				req := paths(dir)
				req.Targets = []string{l[(k+1)%3].name}
				o = l[k].push(req, nil)
			}
			o.exits(t, control.ExitOK)
		}
		for k, m := range l[:3] {
			if next := l[(k+1)%3].content(string(dir)); !strings.Contains(next, m.name+" -rw") {
				t.Errorf("%s has not got what %s pushed:\n%s", l[(k+1)%3].name, m.name, next)
			}
		}
	}
}

func testNoWait(t *testing.T, l []*machine) {
	a, b, c := l[0], l[1], l[0].c
	a.writeAll("nowait/x")
	b.writeAll("nowait/x")
	c.lose(withoutStaged)
	first := a.begin(context.Background(), paths("nowait"), nil)
	c.until("d is staged", func() bool { return l[3].stage(control.RoleMember) == "staged" })
	req, none := paths("nowait"), 0.0
	req.WaitSeconds = &none
	s := b.push(req, nil).exits(t, control.ExitAborted)
	if !strings.Contains(string(s.Reason), "a is pushing to the same paths") {
		t.Errorf("reason %q", s.Reason)
	}
	// Paths beside it are nobody's business.
	b.writeAll("beside/x")
	req = paths("beside")
	c.lose(func(from, to netip.Addr, p protocol.Prefix, body []byte) bool {
		return to != a.addr() || withoutStaged(from, to, p, body)
	})
	o := b.push(req, nil)
	c.lose(nil)
	o.exits(t, control.ExitOK)
	(<-first).exits(t, control.ExitOK)
}

func testTargets(t *testing.T, l []*machine) {
	a := l[0]
	a.writeAll("targets/x")
	for _, x := range []struct {
		what   string
		change func(*control.PushRequest)
		reason string
	}{
		{"expect", func(r *control.PushRequest) { r.Expect = 4 }, "there are 3 members to push to, 4 are expected"},
		{"self", func(r *control.PushRequest) { r.Targets = []string{"b", "a"} }, "a is this host: it is the origin"},
		{"unknown target", func(r *control.PushRequest) { r.Targets = []string{"b", "nobody"} }, "no member is called nobody"},
	} {
		req := paths("targets")
		x.change(&req)
		if s := a.push(req, nil).exits(t, control.ExitNobody); !strings.Contains(string(s.Reason), x.reason) {
			t.Errorf("%s: %q", x.what, s.Reason)
		}
	}
	if l[1].content("targets") != "" {
		t.Error("something was sent all the same")
	}
	req := paths("targets")
	req.Targets, req.Expect = []string{"c"}, 1
	a.push(req, nil).exits(t, control.ExitOK)
	same(t, "targets", a, l[2])
	if l[1].content("targets") != "" {
		t.Error("b was no target")
	}
	req = paths("targets")
	req.Module = "nonesuch"
	if o := a.push(req, nil); o.err == nil || !strings.Contains(o.err.Error(), "nonesuch") {
		t.Errorf("a module that is not there: %v", o.err)
	}
}

func testCancelBefore(t *testing.T, l []*machine) {
	a, c := l[0], l[0].c
	a.site("cancel", 10)
	c.lose(withoutStaged)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	end := a.begin(ctx, paths("cancel"), nil)
	c.until("all are staged", func() bool {
		return !slices.ContainsFunc(l[1:], func(m *machine) bool { return m.stage(control.RoleMember) != "staged" })
	})
	cancel()
	s := (<-end).exits(t, control.ExitAborted)
	if !strings.Contains(string(s.Reason), "cancelled") {
		t.Errorf("reason %q", s.Reason)
	}
	c.lose(nil)
	for _, m := range l[1:] {
		m.clean()
		if m.content("cancel") != "" {
			t.Errorf("%s was changed", m.name)
		}
	}
}

func testCancelAfter(t *testing.T, l []*machine) {
	a, c := l[0], l[0].c
	a.site("late", 10)
	c.lose(withoutOrder(l[1:]...))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	decided := make(chan struct{})
	end := a.begin(ctx, paths("late"), func(e control.Event) {
		if _, ok := e.(*control.Decided); ok {
			close(decided)
		}
	})
	<-decided
	cancel()
	o := <-end
	o.exits(t, control.ExitPartial)
	for name, outcome := range o.members() {
		if outcome != control.OutcomeLost {
			t.Errorf("%s, which did not get the order, is %s", name, outcome)
		}
	}
	c.lose(nil)
	c.until("the push goes on to its end", func() bool { return len(a.status().Pushes) == 0 })
	for _, m := range l[1:] {
		c.until("all have the tree", func() bool { return m.content("late") == a.content("late") })
	}
}

// testMissedOrder keeps the order to commit from one member: it asks the
// others how the push ended, commits, and says so.
func testMissedOrder(t *testing.T, l []*machine) {
	a, b, c := l[0], l[1], l[0].c
	a.site("missed", 10)
	c.lose(withoutOrder(b))
	req := paths("missed")
	req.TimeoutSeconds = 3
	a.push(req, nil).exits(t, control.ExitOK)
	same(t, "missed", l...)
}

// testOriginSilent cuts the origin off for longer than it takes to be missing,
// and shorter than the timeout: the push goes on afterwards.
func testOriginSilent(t *testing.T, l []*machine) {
	a, b, c := l[0], l[1], l[0].c
	a.site("silent", 10)
	// Data does not get through, so that everything stops in the middle.
	c.lose(func(_, _ netip.Addr, p protocol.Prefix, body []byte) bool {
		d, err := protocol.ParseData(body)
		return p.Type != protocol.TypeData || err != nil || d.Kind.Base() != protocol.BlockData
	})
	req := paths("silent")
	req.TimeoutSeconds = 60
	end := a.begin(context.Background(), req, nil)
	c.until("b takes part", func() bool { return b.stage(control.RoleMember) == "stream" })
	cut := a.addr()
	c.lose(func(from, to netip.Addr, _ protocol.Prefix, _ []byte) bool { return from != cut && to != cut })
	for _, m := range l[1:] {
		c.until(m.name+" misses a", func() bool {
			return slices.ContainsFunc(m.status().Members, func(s control.MemberStatus) bool { return s.Name == "a" && s.State == control.StateMissing })
		})
	}
	c.lose(nil)
	(<-end).exits(t, control.ExitOK)
	same(t, "silent", l...)
	c.settle(l...)
}
