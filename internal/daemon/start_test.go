package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"makuo/internal/control"
	"makuo/internal/transport/leak"
	"makuo/protocol"
)

// TestOwnPathsInTheBase: a daemon whose base holds its state directory and its
// socket, as a base of "/" does, pushes neither, and loses neither.
func TestOwnPathsInTheBase(t *testing.T) {
	leak.Check(t)
	c := newCluster(t)
	whole := func(cfg *Config) { cfg.Base = filepath.Dir(cfg.State) }
	l := []*machine{c.machine("a", whole), c.machine("b", whole), c.machine("c", nil)}
	c.settle(l...)
	l[0].write("x", []byte("new"))
	l[2].write("state/theirs", []byte("precious"))
	req := paths(".")
	req.Delete = true
	l[0].push(req, nil).exits(t, control.ExitOK)
	for _, m := range l[1:] {
		if b, err := os.ReadFile(filepath.Join(m.base, "x")); string(b) != "new" {
			t.Errorf("%s: %q, %v", m.name, b, err)
		}
	}
	list, err := os.ReadDir(filepath.Join(l[2].base, "state"))
	if err != nil || len(list) != 1 || list[0].Name() != "theirs" {
		t.Errorf("the state of a went to c, or took what c had: %v, %v", list, err)
	}
	l[1].stop()
	l[1].start() // as its state says
	c.settle(l...)
	l[0].push(req, nil).exits(t, control.ExitOK)
}

// TestFailedRecovery: a commit that cannot be finished keeps no daemon from
// starting, and is named in its status.
func TestFailedRecovery(t *testing.T) {
	leak.Check(t)
	c := newCluster(t)
	id := protocol.PushID{Start: 5, Origin: 9}.String()
	damaged := c.machine("a", func(cfg *Config) {
		dir := filepath.Join(cfg.Base, protocol.StageName, id)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"plan", "mark"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		knowStage(t, cfg)
	})
	l := []*machine{damaged, c.machine("b", nil)}
	c.settle(l...)
	if all := strings.Join(damaged.status().Warnings, "\n"); !strings.Contains(all, id) || !strings.Contains(all, "could not be finished") {
		t.Errorf("warnings %q", all)
	}
	for _, m := range l {
		m.write("d/of-"+m.name, nil)
		m.push(paths(control.Text("d/of-"+m.name)), nil).exits(t, control.ExitOK)
	}
}

// knowStage notes in the state directory that the daemon made the stage.
func knowStage(t *testing.T, cfg *Config) {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat(filepath.Join(cfg.Base, protocol.StageName), &st); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(cfg.State, 0o700); err != nil {
		t.Fatal(err)
	}
	note := fmt.Sprintf("- %d %d\n", st.Dev, st.Ino) // of another boot
	if err := os.WriteFile(filepath.Join(cfg.State, "stage-"+protocol.DefaultModule), []byte(note), 0o600); err != nil {
		t.Fatal(err)
	}
}
