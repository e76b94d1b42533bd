package tree

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"makuo/protocol"
)

// TestModel pushes random trees with random edits, and compares entry by entry.
func TestModel(t *testing.T) {
	n := 25
	if testing.Short() {
		n = 5
	}
	for seed := range n {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { modelRun(t, uint64(seed)) })
	}
}

func modelRun(t *testing.T, seed uint64) {
	f := newForest(t, seed)
	dst := tempTree(t)
	f.grow(f.dir, 3)
	p := &pusher{src: openTestModule(t, f.dir), dst: openTestModule(t, dst),
		options: protocol.OptRecursive | protocol.OptDelete | protocol.OptDevices, shuffle: f.r}
	for round := range 4 {
		if round == 2 {
			p.options |= protocol.OptChecksum
		}
		o := p.push(t)
		if e := o.errors(); len(e) > 0 || len(o.srcProblems) > 0 {
			t.Fatalf("seed %d round %d: problems: %q %q", seed, round, e, o.srcProblems)
		}
		sameTrees(t, describe(t, f.dir), describe(t, dst))
		if uint64(len(o.change)) != o.counts.Changed || uint64(len(o.deleted)) != o.counts.Deleted {
			t.Errorf("counts %+v, but %d changed and %d deleted", o.counts, len(o.change), len(o.deleted))
		}
		again := p.push(t)
		if len(again.change)+len(again.deleted)+len(again.problems) > 0 {
			t.Errorf("seed %d round %d: not stable: %q %q %v", seed, round, again.change, again.deleted, again.problems)
		}
		if t.Failed() {
			t.Fatalf("seed %d round %d", seed, round)
		}
		f.edit()
	}
}

// TestModelUnprivileged runs the model as an ordinary user.
func TestModelUnprivileged(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("is run by an ordinary user already")
	}
	tmp, err := os.MkdirTemp("", "makuo-user-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(tmp) })
	if err := os.Chmod(tmp, 0o777); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(tmp, "tree.test")
	if err := os.WriteFile(exe, b, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run", "^(TestModel|TestTypes|TestCrash|TestReadOnly.*|TestDelete.*|TestInterrupted|TestPendingCommit|TestLinkRace|TestHostile.*)$", "-test.short")
	cmd.Dir, cmd.Env = tmp, append(os.Environ(), "TMPDIR="+tmp, "HOME="+tmp)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, bytes.TrimSpace(out))
	}
}
