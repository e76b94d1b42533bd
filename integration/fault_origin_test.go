//go:build linux

package integration

import (
	"os"
	"syscall"
	"testing"

	"makuo/integration/lab"
)

func TestOriginKilledBeforeItsDecision(t *testing.T) {
	t.Parallel()
	s := newSite(t, lab.Options{})
	run := s.beginSending()
	s.origin.Kill()
	if r := run.Wait(); r.Exit == 0 {
		t.Errorf("success without a daemon: %s", r)
	}
	s.wantOld(s.members...)
	s.origin.Start()
	s.lab.Settle()
	s.wantOld(s.members...)
	s.heal()
}

// TestOriginKilledAfterItsDecision strikes as soon as the decision is on disk:
// members may or may not have heard of it, and all must come to follow it.
func TestOriginKilledAfterItsDecision(t *testing.T) {
	t.Parallel()
	s := newSite(t, lab.Options{})
	run := s.begin()
	run.WaitEvent("the decision", decided)
	s.origin.Kill()
	if r := run.Wait(); r.Exit == 0 { // it was over before the blow: then success is true
		s.wantEqual(s.members...)
	}
	s.origin.Start()
	for _, m := range s.members {
		lab.WaitFor(t, m.Name+" to follow the decision", func() error {
			now, err := tryRead(m, "site")
			if err != nil {
				return err
			}
			return same(s.new, now)
		})
	}
	s.heal()
}

// TestOriginAndMembersKilledAfterTheDecision kills everybody at the decision:
// what is on their disks must be enough.
func TestOriginAndMembersKilledAfterTheDecision(t *testing.T) {
	t.Parallel()
	s := newSite(t, lab.Options{})
	run := s.begin()
	run.WaitEvent("the decision", decided)
	for _, h := range s.lab.Hosts() {
		h.Kill()
	}
	run.Wait()
	for _, m := range s.members {
		s.wantEach(m)
	}
	for _, h := range s.lab.Hosts() {
		h.Start()
	}
	for _, m := range s.members {
		lab.WaitFor(t, m.Name+" to follow the decision", func() error {
			now, err := tryRead(m, "site")
			if err != nil {
				return err
			}
			return same(s.new, now)
		})
	}
	s.heal()
}

// TestUnreadableDirectory has an origin that cannot list a directory: it says
// so, and members delete nothing there.
func TestUnreadableDirectory(t *testing.T) {
	t.Parallel()
	l := lab.New(t, lab.Options{Hosts: 3, RateMbit: 100, CutTrains: true})
	origin := l.Host(0)
	check(t, os.Chown(origin.Path(lab.StateDir), nobody, nobody))
	for _, path := range []string{"site/dark/a", "site/dark/deep/b", "site/light/c"} {
		write(t, origin, path, path)
	}
	origin.Start("-u", "nobody", "-g", "nogroup")
	l.Host(1).Start()
	l.Host(2).Start()
	l.Settle()
	wantExit(t, origin.Msync("-r", "--delete", "site"), 0)
	for _, m := range l.Hosts()[1:] {
		write(t, m, "site/dark/extra", "stays")
		write(t, m, "site/light/extra", "goes")
	}
	check(t, os.Chmod(origin.Base("site/dark"), 0o700))
	write(t, origin, "site/light/c", "changed content")

	r := origin.Msync("-r", "--delete", "site")
	wantExit(t, r, 2)
	wantNamed(t, r, "site/dark", "permission")
	for _, m := range l.Hosts()[1:] {
		wantContent(t, m, "site/dark/extra", "stays")
		wantContent(t, m, "site/dark/a", "site/dark/a")
		wantContent(t, m, "site/dark/deep/b", "site/dark/deep/b")
		wantAbsent(t, m, "site/light/extra")
		wantContent(t, m, "site/light/c", "changed content")
	}
	check(t, os.Chmod(origin.Base("site/dark"), 0o755))
	wantExit(t, origin.Msync("-r", "--delete", "site"), 0)
	wantEqual(t, origin, "site", l.Hosts()[1:]...)
	wantClean(t, l.Hosts()...)
}

// TestCtrlC aborts a push from the keyboard: nothing changes anywhere.
func TestCtrlC(t *testing.T) {
	t.Parallel()
	s := newSite(t, lab.Options{})
	run := s.beginSending()
	run.Signal(syscall.SIGINT)
	r := run.Wait()
	wantExit(t, r, 4)
	s.origin.AwaitIdle()
	s.wantOld(s.members...)
	s.heal()
}

// TestMsyncKilled ends msync without a word: the daemon aborts the push.
func TestMsyncKilled(t *testing.T) {
	t.Parallel()
	s := newSite(t, lab.Options{})
	run := s.beginSending()
	run.Signal(syscall.SIGKILL)
	run.Wait()
	s.origin.AwaitIdle()
	for _, m := range s.members {
		m.AwaitIdle()
	}
	s.wantOld(s.members...)
	s.heal()
}

// TestOriginTerminated stops the origin's daemon in order: the push in progress
// is aborted and said to be.
func TestOriginTerminated(t *testing.T) {
	t.Parallel()
	s := newSite(t, lab.Options{})
	run := s.beginSending()
	s.origin.Leave()
	r := run.Wait()
	if r.Exit != 4 && r.Exit != 2 {
		t.Errorf("a push whose daemon ends: %s", r)
	}
	wantNamed(t, r, "abort|stop|shut")
	s.wantOld(s.members...)
	s.origin.Start()
	s.heal()
}

// TestTwoPushesOfOnePath lets two origins push the same path at once: one waits
// for the other, and all end with the same tree.
func TestTwoPushesOfOnePath(t *testing.T) {
	t.Parallel()
	s := newSite(t, lab.Options{})
	h1 := s.members[0]
	write(t, h1, "site/d0/f000", "from h1")
	run := s.beginSending("--wait", "60")
	second := h1.Msync("-r", "--delete", "--wait", "60", "site")
	first := run.Wait()
	wantExit(t, first, 0)
	wantExit(t, second, 0)
	s.wantEqual(s.members...)
	s.heal()
}

// TestABusyPathIsNotWaitedForForever has a push that may not wait.
func TestABusyPathIsNotWaitedForForever(t *testing.T) {
	t.Parallel()
	s := newSite(t, lab.Options{})
	h1 := s.members[0]
	write(t, h1, "site/d0/f000", "from h1")
	run := s.beginSending()
	second := h1.Msync("-r", "--wait", "0", "site")
	if second.Exit == 0 {
		t.Errorf("two pushes of one path at once: %s", second)
	}
	wantNamed(t, second, "h0")
	wantExit(t, run.Wait(), 0)
	s.wantEqual(s.members...)
	s.heal()
}

// TestTwoPushesOfDifferentPaths run side by side.
func TestTwoPushesOfDifferentPaths(t *testing.T) {
	t.Parallel()
	s := newSite(t, lab.Options{})
	h1 := s.members[0]
	for i := range 50 {
		write(t, h1, "other/f"+string(rune('a'+i%26))+"/x", "from h1")
	}
	run := s.beginSending()
	second := h1.Msync("-r", "--wait", "0", "other")
	if run.Over() {
		t.Log("the first push was over before the second: nothing ran side by side")
	}
	wantExit(t, second, 0)
	wantExit(t, run.Wait(), 0)
	s.wantEqual(s.members...)
	wantEqual(t, h1, "other", s.origin, s.members[1])
	s.heal()
}
