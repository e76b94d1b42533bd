//go:build linux

package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"makuo/integration/lab"
	"makuo/integration/trees"
)

// node is one of several daemons on this host, on the loopback interface.
type node struct {
	t      *testing.T
	name   string
	dir    string // with base, state and socket
	uid    int    // 0: the test's own user
	daemon *lab.Daemon
}

// command is a command that runs as the node's user, in its base.
func (n *node) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(lab.Binary(n.t, name), args...)
	cmd.Dir = n.base()
	cmd.Env = lab.CleanEnv()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if n.uid != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(n.uid), Gid: uint32(n.uid)}
	}
	return cmd
}

func (n *node) base() string   { return filepath.Join(n.dir, "base") }
func (n *node) socket() string { return filepath.Join(n.dir, "sock") }

func (n *node) msync(args ...string) lab.Result {
	n.t.Helper()
	args = append([]string{"--socket", n.socket()}, args...)
	return lab.StartMsync(n.t, n.command("msync", args...), args).Wait()
}

// start starts the node's daemon; it is ended and judged when the test ends.
func (n *node) start(port int) {
	n.t.Helper()
	log := filepath.Join(n.dir, "log")
	n.daemon = lab.StartDaemon(n.t, n.command("makuod", "-b", n.base(), "-U", n.socket(),
		"--state", filepath.Join(n.dir, "state"), "--name", n.name, "-i", "lo", "-p", strconv.Itoa(port)), n.name, log)
	n.t.Cleanup(func() {
		n.daemon.Terminate()
		n.daemon.Reap()
		n.daemon.Inspect()
		if n.t.Failed() {
			data, _ := os.ReadFile(log)
			n.t.Logf("log of %s:\n%s", n.name, data)
		}
	})
	n.daemon.AwaitAnswer(func() error {
		if r := n.msync("--members"); r.Exit != 0 {
			return fmt.Errorf("no answer: %s", r)
		}
		return nil
	})
}

// settle waits until the node knows so many members.
func (n *node) settle(members int) {
	n.t.Helper()
	lab.WaitFor(n.t, fmt.Sprintf("%s to know %d members", n.name, members), func() error {
		r := n.msync("--status", "--json")
		s, err := lab.ParseStatus(r.Stdout)
		if err == nil && len(s.Members) != members {
			err = fmt.Errorf("it knows %v", s.Members)
		}
		return err
	})
}

// startNodes starts daemons of a user on the loopback interface, each with
// directories of its own. The directory is short: a socket's path has 108 bytes.
func startNodes(t *testing.T, count, uid int) []*node {
	t.Helper()
	root, err := os.MkdirTemp("/tmp", "mk")
	check(t, err)
	t.Cleanup(func() { os.RemoveAll(root) })
	check(t, os.Chmod(root, 0o755))
	port := 20000 + os.Getpid()%20000 + uid%7
	var nodes []*node
	for i := range count {
		n := &node{t: t, name: fmt.Sprintf("n%d", i), dir: filepath.Join(root, fmt.Sprintf("n%d", i)), uid: uid}
		for _, dir := range []string{n.dir, n.base(), filepath.Join(n.dir, "state")} {
			check(t, os.Mkdir(dir, 0o755))
			if uid != 0 {
				check(t, os.Chown(dir, uid, uid))
			}
		}
		n.start(port)
		nodes = append(nodes, n)
	}
	for _, n := range nodes {
		n.settle(count)
	}
	return nodes
}

// TestLoopback runs several daemons on one host, as this user, and when that is
// root as an ordinary user too.
func TestLoopback(t *testing.T) {
	t.Run("this user", func(t *testing.T) { loopback(t, 0) })
	t.Run("an ordinary user", func(t *testing.T) {
		if os.Geteuid() != 0 {
			t.Skip("left out: another ordinary user; this one is ordinary already")
		}
		loopback(t, nobody)
	})
}

func loopback(t *testing.T, uid int) {
	nodes := startNodes(t, 4, uid)
	origin := nodes[0]
	tree := filepath.Join(origin.base(), "tree")
	check(t, trees.Small(tree, 500, 3))
	check(t, os.Mkdir(filepath.Join(tree, "zoo"), 0o755))
	check(t, trees.Zoo(filepath.Join(tree, "zoo"), false))
	check(t, trees.Random(filepath.Join(tree, "random"), 4<<20, 3))
	giveTo(t, tree, uid)
	push := func(args ...string) lab.Result {
		t.Helper()
		r := origin.msync(append(append([]string{"-r", "-v", "--delete"}, args...), "tree")...)
		wantExit(t, r, 0)
		want, err := trees.Read(tree, nil)
		check(t, err)
		for _, n := range nodes[1:] {
			got, err := trees.Read(filepath.Join(n.base(), "tree"), nil)
			check(t, err)
			wantSame(t, n.name, want, got)
		}
		return r
	}
	r := push()
	if lines := r.Lines("update"); len(lines) == 0 {
		t.Errorf("no word of what was updated: %s", r)
	}
	if lines := push().Lines("update", "delete"); len(lines) != 0 {
		t.Errorf("a second push of the same tree changes %q", lines)
	}
	check(t, os.RemoveAll(filepath.Join(tree, "d000")))
	r = push()
	if !strings.Contains(r.Stdout, "delete n3:tree/d000\n") {
		t.Errorf("no word of what was deleted: %s", r)
	}
}

// giveTo gives a tree to a user.
func giveTo(t *testing.T, tree string, uid int) {
	t.Helper()
	if uid == 0 {
		return
	}
	out, err := exec.Command("chown", "-hR", fmt.Sprintf("%d:%d", uid, uid), tree).CombinedOutput()
	if err != nil {
		t.Fatalf("giving the tree to user %d: %v %s", uid, err, out)
	}
}
