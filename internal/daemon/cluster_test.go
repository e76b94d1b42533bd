package daemon

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"makuo/internal/control"
	"makuo/internal/transport"
	"makuo/membership"
	"makuo/protocol"
)

// Whole daemons in this process, but for signals and privileges: real trees,
// state directories and API sockets, and a network in memory.

// patience is how long a condition may take to come true. Nothing depends on
// its length but when a broken test gives up.
const patience = 20 * time.Second

// cluster is a network and what is on it.
type cluster struct {
	t   *testing.T
	net *transport.Memory

	mu     sync.Mutex // guards what the router reads
	chaos  transport.Router
	filter func(from, to netip.Addr, p protocol.Prefix, body []byte) bool // false: lost
}

// machine is one host: its directories outlive its daemons.
type machine struct {
	c           *cluster
	name        string
	base, state string
	tune        func(*Config)
	wrap        func(transport.Conn) transport.Conn // of the connection; nil: as it is
	log         *zap.Logger                         // nil: none

	n      *node // of the daemon that runs now
	socket string
	dir    *StateDir
	cancel context.CancelFunc
	served chan error
}

func newCluster(t *testing.T) *cluster {
	c := &cluster{t: t}
	c.net = transport.NewMemory(transport.MemoryConfig{Router: c.route, Seed: 1})
	return c
}

func (c *cluster) route(r *rand.Rand, h transport.Hop) transport.Fate {
	c.mu.Lock()
	chaos, filter := c.chaos, c.filter
	c.mu.Unlock()
	if filter != nil {
		p, body, err := protocol.ParsePrefix(h.Data)
		if err == nil && !filter(h.From.Addr(), h.To.Addr(), p, body[:len(body)-protocol.CheckLen]) {
			return transport.Fate{Drop: true}
		}
	}
	if chaos != nil {
		return chaos(r, h)
	}
	return transport.Fate{}
}

// lose loses the packets for which f is false; nil: none.
func (c *cluster) lose(f func(from, to netip.Addr, p protocol.Prefix, body []byte) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.filter = f
}

func (c *cluster) harm(r transport.Router) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.chaos = r
}

// withoutStaged loses every word that a member is staged.
func withoutStaged(_, _ netip.Addr, p protocol.Prefix, body []byte) bool {
	if p.Type != protocol.TypeReport {
		return true
	}
	rep, err := protocol.ParseReport(body)
	return err != nil || !slices.ContainsFunc(rep.Records, func(r protocol.Record) bool { return r.Type == protocol.RecordStaged })
}

// withoutOrder loses the order to commit, and the end, on the way to the
// given machines.
func withoutOrder(to ...*machine) func(_, _ netip.Addr, p protocol.Prefix, body []byte) bool {
	var addrs []netip.Addr
	for _, m := range to {
		addrs = append(addrs, m.addr())
	}
	return func(_, to netip.Addr, p protocol.Prefix, body []byte) bool {
		if p.Type != protocol.TypeState || !slices.Contains(addrs, to) {
			return true
		}
		st, err := protocol.ParseState(body)
		return err != nil || st.Phase < protocol.PhaseCommit
	}
}

// machine adds a host and starts its daemon.
func (c *cluster) machine(name string, tune func(*Config)) *machine {
	c.t.Helper()
	dir := c.t.TempDir()
	m := &machine{c: c, name: name, base: filepath.Join(dir, "base"), state: filepath.Join(dir, "state"), tune: tune}
	if err := os.Mkdir(m.base, 0o755); err != nil {
		c.t.Fatal(err)
	}
	m.start()
	c.t.Cleanup(m.stop)
	return m
}

func (c *cluster) machines(names ...string) []*machine {
	c.t.Helper()
	var list []*machine
	for _, n := range names {
		list = append(list, c.machine(n, nil))
	}
	c.settle(list...)
	return list
}

// settle waits until all know each other.
func (c *cluster) settle(list ...*machine) {
	c.t.Helper()
	for _, m := range list {
		c.until(m.name+" knows the others", func() bool {
			alive := 0
			for _, s := range m.status().Members {
				if s.State == control.StateAlive && !s.Self {
					alive++
				}
			}
			return alive == len(list)-1
		})
	}
}

func (c *cluster) until(what string, is func() bool) {
	c.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !is(); <-tick.C {
		if time.Now().After(end) {
			c.t.Fatalf("waited %v in vain: %s", patience, what)
		}
	}
}

func (m *machine) start() {
	t := m.c.t
	t.Helper()
	cfg := Defaults()
	cfg.Name, cfg.Base, cfg.State = m.name, m.base, m.state
	cfg.Socket.Path = filepath.Join(filepath.Dir(m.base), "s")
	if m.tune != nil {
		m.tune(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	m.base, m.socket = cfg.Base, cfg.Socket.Path
	var err error
	if m.dir, err = OpenStateDir(m.state, Credentials{UID: os.Getuid(), GID: os.Getgid()}); err != nil {
		t.Fatal(err)
	}
	listener, err := control.Listen(m.socket, control.SocketOptions{UID: -1, GID: -1})
	if err != nil {
		t.Fatal(err)
	}
	session := newSession()
	conn := m.c.net.Host(protocol.ClusterID(cfg.Cluster), session)
	if m.wrap != nil {
		conn = m.wrap(conn)
	}
	m.n = newNode(cfg, cmp.Or(m.log, zap.NewNop()), session, conn)
	if err := m.n.open(m.state); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel, m.served = cancel, make(chan error, 1)
	n := m.n
	go func(served chan error) { served <- n.serve(ctx, listener) }(m.served)
}

// stop ends the daemon as a signal would.
func (m *machine) stop() {
	if m.n == nil {
		return
	}
	m.cancel()
	if err := <-m.served; err != nil {
		m.c.t.Errorf("%s: %v", m.name, err)
	}
	m.clear()
}

// crash ends the daemon's loop between two events. What it had handed to the
// disk before is done, nothing else is, and nobody is told.
func (m *machine) crash() {
	m.n.conn.Close()
	m.n.post(func(time.Time) { runtime.Goexit() })
	<-m.n.stopped
	m.cancel()
	<-m.served
	m.n.mgr.Close() // the loop that owned it is gone
	m.clear()
}

func (m *machine) clear() {
	m.n.close()
	m.dir.Close()
	m.n = nil
}

func (m *machine) addr() netip.Addr { return m.n.conn.Local().Addr() }

func (m *machine) status() *control.Status {
	s, err := (&backend{m.n}).Status(context.Background())
	if err != nil {
		m.c.t.Fatalf("status of %s: %v", m.name, err)
	}
	return s
}

// stage returns the stage of the first push in which m has the role, or "".
func (m *machine) stage(role string) string {
	for _, p := range m.status().Pushes {
		if p.Role == role {
			return p.Now.Stage
		}
	}
	return ""
}

// outcome is all that a push told.
type outcome struct {
	events []control.Event
	err    error
}

func (m *machine) push(req control.PushRequest, each func(control.Event)) *outcome {
	return m.pushUntil(context.Background(), req, each)
}

func (m *machine) pushUntil(ctx context.Context, req control.PushRequest, each func(control.Event)) *outcome {
	o := &outcome{}
	req.UID = -1
	o.err = (&backend{m.n}).Push(ctx, &req, func(e control.Event) {
		o.events = append(o.events, e)
		if each != nil {
			each(e)
		}
	})
	return o
}

// begin runs a push beside the test; events are told to each.
func (m *machine) begin(ctx context.Context, req control.PushRequest, each func(control.Event)) <-chan *outcome {
	c := make(chan *outcome, 1)
	b := *m
	go func() { c <- b.pushUntil(ctx, req, each) }()
	return c
}

func (o *outcome) summary(t *testing.T) *control.Summary {
	t.Helper()
	if o.err != nil {
		t.Fatalf("push: %v", o.err)
	}
	s, ok := o.events[len(o.events)-1].(*control.Summary)
	if !ok {
		t.Fatalf("the last event is a %T", o.events[len(o.events)-1])
	}
	return s
}

// exits checks the exit status.
func (o *outcome) exits(t *testing.T, want int) *control.Summary {
	t.Helper()
	s := o.summary(t)
	if s.Exit != want {
		t.Fatalf("exit status %d, want %d: %s\n%s", s.Exit, want, s.Line(), o)
	}
	return s
}

func (o *outcome) String() string {
	var b strings.Builder
	for _, e := range o.events {
		if _, ok := e.(*control.Progress); !ok {
			line, _ := control.AppendEvent(nil, e)
			b.Write(line)
		}
	}
	return b.String()
}

// members returns how the push ended at each member.
func (o *outcome) members() map[string]string {
	list := map[string]string{}
	for _, e := range o.events {
		if m, ok := e.(*control.Member); ok {
			list[m.Name] = m.Outcome
		}
	}
	return list
}

// paths returns the path lines, sorted.
func (o *outcome) paths() []string {
	list := []string{}
	for _, e := range o.events {
		if p, ok := e.(*control.Path); ok {
			list = append(list, fmt.Sprintf("%s %s %s", p.Action, p.Member, p.Path))
		}
	}
	slices.Sort(list)
	return list
}

// write makes a file of m's tree, with the directories above it.
func (m *machine) write(name string, content []byte) {
	m.c.t.Helper()
	p := filepath.Join(m.base, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		m.c.t.Fatal(err)
	}
	if err := os.WriteFile(p, content, 0o644); err != nil {
		m.c.t.Fatal(err)
	}
}

func (m *machine) writeAll(names ...string) {
	m.c.t.Helper()
	for _, n := range names {
		m.write(n, []byte(m.name+" has "+n))
	}
}

// has reports whether name is there.
func (m *machine) has(name string) bool {
	_, err := os.Lstat(filepath.Join(m.base, name))
	return err == nil
}

// content returns all that is told of a tree, one line an entry.
func (m *machine) content(dir string) string {
	m.c.t.Helper()
	var b bytes.Buffer
	root := filepath.Join(m.base, dir)
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.Name() == protocol.StageName {
			return filepath.SkipDir
		}
		i, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		if rel == "." && dir == "." {
			return nil // its own times are not pushed by name
		}
		fmt.Fprintf(&b, "%s %v %v", rel, i.Mode(), i.ModTime().UnixNano())
		switch i.Mode().Type() {
		case 0:
			c, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %x", c)
		case fs.ModeSymlink:
			l, err := os.Readlink(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " -> %s", l)
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil && !os.IsNotExist(err) {
		m.c.t.Fatal(err)
	}
	return b.String()
}

// same checks that a tree is the same on all machines.
func same(t *testing.T, dir string, list ...*machine) {
	t.Helper()
	want := list[0].content(dir)
	if want == "" {
		t.Fatalf("%s has no %s", list[0].name, dir)
	}
	for _, m := range list[1:] {
		if got := m.content(dir); got != want {
			t.Errorf("%s at %s is not what it is at %s:\n%.2000s\n---\n%.2000s", dir, m.name, list[0].name, got, want)
		}
	}
}

// clean checks that nothing of a push is left at m.
func (m *machine) clean() {
	m.c.t.Helper()
	m.c.until(m.name+" has left all pushes", func() bool { return len(m.status().Pushes) == 0 })
	m.c.until(m.name+" has no staging directory", func() bool {
		_, err := os.Lstat(filepath.Join(m.base, protocol.StageName))
		return os.IsNotExist(err)
	})
}

// knows reports whether m has a member of that name in that state.
func (m *machine) knows(name string, state membership.State) bool {
	found := false
	err := m.n.call(func(time.Time) {
		for _, x := range m.n.table.ByName(name) {
			found = found || x.State == state
		}
	})
	return err == nil && found
}
