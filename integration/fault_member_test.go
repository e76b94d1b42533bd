//go:build linux

package integration

import (
	"fmt"
	"os"
	"testing"
	"time"

	"makuo/integration/lab"
)

// A member that something happens to during a push is named with the cause; the
// others finish; nothing is half-written; the next push heals it. In all these
// tests h0 is the origin, h1 is spared and h2 is hit.

func TestMemberKilled(t *testing.T) {
	t.Parallel()
	s := newSite(t, lab.Options{})
	h1, h2 := s.members[0], s.members[1]
	run := s.beginSending("--timeout", "5")
	h2.Kill()
	r := run.Wait()
	wantExit(t, r, 2)
	wantNamed(t, r, "h2", "lost")
	s.wantEqual(h1)
	s.wantEach(h2)
	h2.Start()
	s.wantWhole(h2)
	s.heal()
}

// TestMemberStoppedAndBack halts a member for 10 seconds, less than it takes to
// be lost: it finishes with the push, at most late.
func TestMemberStoppedAndBack(t *testing.T) {
	t.Parallel()
	s := newSite(t, lab.Options{})
	run := s.beginSending()
	d := s.members[1].Daemon()
	d.Stop()
	time.Sleep(10 * time.Second) // the fault itself
	d.Cont()
	r := run.Wait()
	wantExit(t, r, 0)
	s.wantEqual(s.members...)
	s.heal()
}

// TestMemberStoppedTooLong halts a member until it is lost.
func TestMemberStoppedTooLong(t *testing.T) {
	t.Parallel()
	s := newSite(t, lab.Options{})
	h1, h2 := s.members[0], s.members[1]
	run := s.beginSending("--timeout", "3")
	h2.Daemon().Stop()
	r := run.Wait()
	wantExit(t, r, 2)
	wantNamed(t, r, "h2", "lost")
	s.wantEqual(h1)
	s.wantOld(h2)
	h2.Daemon().Cont()
	s.wantWhole(h2)
	s.heal()
}

func TestMemberCutOff(t *testing.T) {
	t.Parallel()
	s := newSite(t, lab.Options{})
	run := s.beginSending()
	s.members[1].Cut()
	time.Sleep(5 * time.Second) // the fault itself
	s.members[1].Mend()
	r := run.Wait()
	wantExit(t, r, 0)
	s.wantEqual(s.members...)
	s.heal()
}

// TestOriginCutOff cuts the origin's own cable: everybody is away at once.
func TestOriginCutOff(t *testing.T) {
	t.Parallel()
	s := newSite(t, lab.Options{})
	run := s.beginSending()
	s.origin.Cut()
	time.Sleep(5 * time.Second) // the fault itself
	s.origin.Mend()
	r := run.Wait()
	wantExit(t, r, 0)
	s.wantEqual(s.members...)
	s.heal()
}

// TestMemberFull has a member whose base is too small from the start.
func TestMemberFull(t *testing.T) {
	t.Parallel()
	s := newSite(t, lab.Options{BaseSizes: map[int]string{2: fullSize}})
	h1, h2 := s.members[0], s.members[1]
	r := s.push()
	wantExit(t, r, 2)
	wantNamed(t, r, "h2", "space")
	s.wantEqual(h1)
	s.wantEach(h2)
	h2.Exec("mount", "-o", "remount,size=1g", lab.BaseDir)
	s.heal()
}

// TestMemberRunsFull has a member whose base is filled by somebody else while
// the push is under way.
func TestMemberRunsFull(t *testing.T) {
	t.Parallel()
	s := newSite(t, lab.Options{BaseSizes: map[int]string{2: fmt.Sprintf("%dm", bigSize>>20+40)}})
	h1, h2 := s.members[0], s.members[1]
	run := s.beginSending()
	h2.Shell("dd if=/dev/zero of=filler bs=64k 2>/dev/null || true")
	r := run.Wait()
	wantExit(t, r, 2)
	wantNamed(t, r, "h2", "space")
	s.wantEqual(h1)
	s.wantEach(h2)
	h2.Exec("rm", "filler")
	s.heal()
}

// nobody is the user that daemons without privileges run as.
const nobody = 65534

// TestMemberMayNotWrite has a member that runs as an ordinary user and has a
// directory that belongs to somebody else.
func TestMemberMayNotWrite(t *testing.T) {
	t.Parallel()
	l := lab.New(t, lab.Options{Hosts: 3, RateMbit: 100, CutTrains: true})
	h1, h2 := l.Host(1), l.Host(2)
	check(t, os.Chown(h2.Base(), nobody, nobody))
	check(t, os.Chown(h2.Path(lab.StateDir), nobody, nobody))
	write(t, l.Host(0), "site/locked/file", "version 1")
	chownSite := func(h *lab.Host) { h.Shell("chown -hR 65534:65534 site") }
	chownSite(l.Host(0))
	check(t, firstVersion(l.Host(0).Base("site")))
	chownSite(l.Host(0))
	h1.Start()
	h2.Start("-u", "nobody", "-g", "nogroup")
	l.Host(0).Start()
	l.Settle()
	s := &site{t: t, lab: l, origin: l.Host(0), members: l.Hosts()[1:]}
	wantExit(t, s.push(), 0)
	s.wantEqual(s.members...)

	s.old = read(t, s.origin, "site")
	check(t, secondVersion(s.origin.Base("site")))
	write(t, s.origin, "site/locked/file", "version 2, longer")
	chownSite(s.origin)
	s.new = read(t, s.origin, "site")
	h2.Shell("chown -R root:root site/locked")
	r := s.push()
	wantExit(t, r, 2)
	wantNamed(t, r, "h2", "site/locked", "permi|denied")
	s.wantEqual(h1)
	s.wantEach(h2)
	wantContent(t, h2, "site/locked/file", "version 1")
	wantContent(t, h2, "site/d0/f000", "version 2 of 0, longer\n")
	chownSite(h2)
	s.heal()
}

// TestNameInTheWay has members with a name that the daemon cannot remove: a
// mount point where a file is to be, and a file that is immutable.
func TestNameInTheWay(t *testing.T) {
	t.Parallel()
	l := lab.New(t, lab.Options{Hosts: 4, RateMbit: 100, CutTrains: true})
	write(t, l.Host(0), "site/way/below", "version 1")
	s := startSite(t, l)
	check(t, os.RemoveAll(s.origin.Base("site/way")))
	write(t, s.origin, "site/way", "now a file")
	s.new = read(t, s.origin, "site")
	h1, h2, h3 := s.members[0], s.members[1], s.members[2]
	h2.Shell("mount -t tmpfs none site/way; echo precious >site/way/file")
	h3.Shell("chattr +i site/d0/f000 site/old/a")

	r := s.push()
	wantExit(t, r, 2)
	wantNamed(t, r, "h2", "site/way", "mount|busy|device")
	wantNamed(t, r, "h3", "site/d0/f000", "permitted|immutable")
	s.wantEqual(h1)
	s.wantEach(h2, "way", "way/file")
	s.wantEach(h3)
	wantContent(t, h2, "site/way/file", "precious\n")
	wantContent(t, h2, "site/d0/f000", "version 2 of 0, longer\n")
	wantContent(t, h3, "site/d0/f000", "version 1 of 0\n")
	wantContent(t, h3, "site/d0/f002", "version 2 of 2, longer\n")

	h2.Shell("umount site/way")
	h3.Shell("chattr -i site/d0/f000; if test -e site/old/a; then chattr -i site/old/a; fi")
	s.heal()
}

// TestDeleteMeetsAMountPoint has a member with a mount point below a directory
// that is to be deleted.
func TestDeleteMeetsAMountPoint(t *testing.T) {
	t.Parallel()
	s := newSite(t, lab.Options{})
	h1, h2 := s.members[0], s.members[1]
	h2.Shell("mount -t tmpfs none site/old/deep; echo precious >site/old/deep/file")
	r := s.push()
	wantExit(t, r, 2)
	wantNamed(t, r, "h2", "site/old/deep")
	s.wantEqual(h1)
	wantContent(t, h2, "site/old/deep/file", "precious\n")
	h2.Shell("umount site/old/deep")
	s.heal()
}
