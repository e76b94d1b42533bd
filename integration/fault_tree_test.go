//go:build linux

package integration

import (
	"os"
	"testing"

	"makuo/integration/lab"
)

// TestMemberRestarted kills a member in the middle of a push and starts it again
// at once: it is lost for this push, and whole.
func TestMemberRestarted(t *testing.T) {
	t.Parallel()
	s := newSite(t, lab.Options{})
	h1, h2 := s.members[0], s.members[1]
	run := s.beginSending("--timeout", "10")
	h2.Kill()
	h2.Start()
	r := run.Wait()
	wantExit(t, r, 2)
	wantNamed(t, r, "h2", "lost")
	s.wantEqual(h1)
	s.wantWhole(h2)
	s.heal()
}

// TestSlowMember has a member on a link a tenth as fast as the others': all
// arrive, the slow one perhaps late.
func TestSlowMember(t *testing.T) {
	t.Parallel()
	s := newSite(t, lab.Options{PortRateMbit: map[int]int{2: 10}})
	r := s.push()
	wantExit(t, r, 0)
	s.wantEqual(s.members...)
	t.Logf("%v, %d packets dropped at the slow port: %s", r.Took, s.members[1].PortDrops(), lastLine(r.Stdout))
	s.heal()
}

// TestLinksAreNeverEntered has members with a symbolic link out of the base
// where the tree has a directory, and where it has a file: both are replaced,
// and nothing outside changes.
func TestLinksAreNeverEntered(t *testing.T) {
	t.Parallel()
	s := newSite(t, lab.Options{})
	h1, h2 := s.members[0], s.members[1]
	for _, h := range s.members {
		h.Shell("mkdir /run/outside; echo precious >/run/outside/f000; echo precious >/run/outside/other")
	}
	h1.Shell("rm -r site/d0; ln -s /run/outside site/d0; rm -r site/old; ln -s /run/outside site/old")
	h2.Shell("ln -sf /run/outside/other site/d1/f050; rm -r site/d2; ln -s ../../outside site/d2")
	wantExit(t, s.push(), 0)
	s.wantEqual(s.members...)
	for _, h := range s.members {
		if got := h.Shell("cat /run/outside/*; ls /run/outside | wc -l"); got != "precious\nprecious\n2\n" {
			t.Errorf("%s: outside the base: %q", h.Name, got)
		}
	}
	s.heal()
}

// TestFileChangesWhileItIsSent writes to a file at the origin all the time: the
// push ends, and members have no mixture of versions.
func TestFileChangesWhileItIsSent(t *testing.T) {
	t.Parallel()
	s := newSite(t, lab.Options{})
	run := s.beginSending()
	write(t, s.origin, "site/big", "small now")
	r := run.Wait()
	if r.Exit != 0 && r.Exit != 2 {
		t.Errorf("a file that changed: %s", r)
	}
	if r.Exit == 2 {
		wantNamed(t, r, "site/big")
	}
	for _, m := range s.members {
		now := read(t, m, "site")
		if e, ok := now["big"]; ok && !sameFile(e, s.new["big"]) && e.Size != int64(len("small now")) {
			t.Errorf("%s: site/big is neither version: %+v", m.Name, e)
		}
		wantContent(t, m, "site/d0/f000", "version 2 of 0, longer\n")
	}
	s.heal()
}

// TestParentsAreNotPushed pushes a single file into a directory that the member
// has with other rights: the directory is not part of the push.
func TestParentsAreNotPushed(t *testing.T) {
	t.Parallel()
	l, h0, h1, _ := trio(t, lab.Options{})
	l.Start()
	wantExit(t, h0.Msync("-r", "tree"), 0)
	check(t, os.Chmod(h1.Base("tree"), 0o700))
	write(t, h0, "tree/f1", "changed content")
	wantExit(t, h0.Msync("tree/f1"), 0)
	wantContent(t, h1, "tree/f1", "changed content")
	if info, err := os.Stat(h1.Base("tree")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the parent of a pushed file: %v, %v", info.Mode(), err)
	}
}
