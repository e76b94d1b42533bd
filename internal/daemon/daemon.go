// Package daemon is one running makuod: its configuration, what it opens at
// the start, the identity it takes on, its loop, its signals and its end.
package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"go.uber.org/zap"

	"makuo/internal/control"
	"makuo/internal/transport"
	"makuo/internal/tree"
	"makuo/protocol"
)

// memoryLimit keeps the garbage collector ahead of what is live: one window of
// 24 MiB, which the pushes started here share, the receivers' memory, which
// the pushes received share (but 1 MiB each at least), and tables that grow
// with members and manifests. It is a soft limit, and what is resident is some
// 10 MiB more: the program itself, and what it maps. A daemon stays below 100 MB.
const memoryLimit = 80 << 20

// settle makes the runtime's settings, once a process: the limit of the memory,
// and a processor in Go's sense for the socket thread that keeps one while it
// naps.
var settle = sync.OnceFunc(func() {
	debug.SetMemoryLimit(memoryLimit)
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + transport.NappingThreads)
})

// Run runs a daemon until ctx ends, and returns when everything it opened is
// closed again. cfg must have passed Validate.
func Run(ctx context.Context, cfg Config, log *zap.Logger) error {
	settle()
	who, err := cfg.Identity.Resolve()
	if err != nil {
		return err
	}
	state, err := OpenStateDir(cfg.State, who)
	if err != nil {
		return err
	}
	defer state.Close()
	session := newSession()
	conn, err := follow(&cfg, session)
	if err != nil {
		return err
	}
	defer conn.Close()
	listener, err := openSocket(&cfg, who)
	if err != nil {
		return err
	}
	defer listener.Close()
	transport.AllowHaste()
	if err := who.Drop(); err != nil {
		return fmt.Errorf("give up privileges: %w", err)
	}
	n := newNode(cfg, log, session, conn)
	if err := n.open(state.Path()); err != nil {
		return err
	}
	defer n.close()
	n.greet(who)
	n.tellPlace(conn.Place())
	conn.Watch(func(p transport.Place) { n.post(func(now time.Time) { n.moved(now, p) }) })
	return n.serve(ctx, listener)
}

// newNode returns the daemon behind a connection that was opened for session.
func newNode(cfg Config, log *zap.Logger, session protocol.Session, conn transport.Conn) *node {
	return &node{cfg: cfg, log: log, session: session, started: time.Now(), trimmedAt: time.Now(), conn: conn, last: make(map[protocol.Session]lastPush),
		prefix: protocol.Prefix{Version: protocol.Version, Cluster: protocol.ClusterID(cfg.Cluster), Session: session},
		wake:   make(chan struct{}, 1), stopped: make(chan struct{})}
}

// open opens the modules and takes over what the last run left in them and in
// the directory state. After an error nothing is open; else close undoes it.
func (n *node) open(state string) error {
	module, err := tree.OpenModule(tree.ModuleConfig{Name: protocol.DefaultModule, Base: cmp.Or(n.cfg.baseNamed, n.cfg.Base), Stage: n.cfg.Stage,
		Proof:   filepath.Join(state, "stage-"+protocol.DefaultModule),
		Protect: n.cfg.Protect, Own: n.cfg.own(), Devices: true, OwnerMatch: n.cfg.OwnerMatch})
	if err != nil {
		return err
	}
	n.modules = []*tree.Module{module}
	n.outbox = transport.NewOutbox(n.conn, transport.OutboxConfig{})
	if err := n.setUp(n.started, state); err != nil {
		n.close()
		return err
	}
	return nil
}

// close closes the connection, what sends through it, and the modules.
func (n *node) close() {
	n.conn.Close()
	n.outbox.Close()
	if n.journal != nil {
		n.journal.Close()
	}
	for _, m := range n.modules {
		m.Close()
	}
}

// follow opens the connection, which goes with the host's interfaces.
func follow(cfg *Config, session protocol.Session) (*transport.Follower, error) {
	net := &cfg.Network
	return transport.Follow(transport.Config{Interface: net.Interface, Group: net.Group, Port: uint16(net.Port), TTL: net.TTL, MTU: net.MTU,
		RecvBuffer: net.ReceiveBuffer, SendBuffer: net.SendBuffer, Cluster: protocol.ClusterID(cfg.Cluster), Session: session})
}

func openSocket(cfg *Config, who Credentials) (net.Listener, error) {
	opt := control.SocketOptions{UID: -1, GID: -1}
	if who.Changes() || cfg.Socket.Group != "" {
		var err error
		if opt, err = who.SocketOptions(cfg.Socket.Group); err != nil {
			return nil, err
		}
	}
	return control.Listen(cfg.Socket.Path, opt)
}

// greet says once what an operator should know about this start.
func (n *node) greet(who Credentials) {
	for _, w := range n.cfg.Warnings() {
		n.log.Warn(w)
	}
	n.log.Info("started", zap.String("member", n.cfg.Name), zap.String("version", control.Version), zap.String("base", n.cfg.Base),
		zap.Stringer("group", n.conn.Group()),
		zap.String("socket", n.cfg.Socket.Path), zap.String("state", n.cfg.State), zap.Int("uid", who.UID), zap.Int("gid", who.GID))
}

// serve runs the loop and the local API until ctx ends, then winds up stage by
// stage: pushes are aborted and say so to their clients, the others are told
// that this member leaves, the sockets close.
func (n *node) serve(ctx context.Context, listener net.Listener) error {
	server := control.NewServer(&backend{n})
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go n.loop(ctx)
	n.notify(NotifyReady)
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		cancel()
	}
	n.notify(NotifyStopping)
	<-n.stopped
	end, stop := context.WithTimeout(context.Background(), time.Second)
	defer stop()
	if err2 := server.Shutdown(end); err2 != nil && !errors.Is(err2, context.DeadlineExceeded) {
		err = errors.Join(err, err2)
	}
	n.conn.Close()
	n.outbox.Close()
	n.log.Info("stopped")
	return err
}

func (n *node) notify(state string) {
	if err := Notify(state); err != nil {
		n.log.Warn("the service manager was not told", zap.String("state", state), zap.Error(err))
	}
}
