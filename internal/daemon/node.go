package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"

	"makuo/internal/control"
	"makuo/internal/push"
	"makuo/internal/push/journal"
	"makuo/internal/push/order"
	"makuo/internal/transport"
	"makuo/internal/tree"
	"makuo/membership"
	"makuo/protocol"
)

// node is the running daemon behind its sockets: one goroutine, loop, owns the
// member table and the pushes; everything else reaches them through post.
type node struct {
	// Constants.
	cfg     Config
	log     *zap.Logger
	session protocol.Session
	started time.Time
	conn    transport.Conn
	outbox  *transport.Outbox
	modules []*tree.Module
	journal *journal.Journal
	store   *journal.Store
	prefix  protocol.Prefix

	// Owned by the loop.
	table     *membership.Table
	mgr       *push.Manager
	last      map[protocol.Session]lastPush // how our newest push ended there
	troubles  []string                      // found at the start, for the status
	place     transport.Place               // told last in the log, of those that are in the network
	announced journal.LastPush
	savedAt   time.Time
	trimmedAt time.Time
	malformed uint64
	linger    time.Time // end of a shutdown's patience

	// Inputs.
	mu      sync.Mutex // guards posted
	posted  []func(now time.Time)
	wake    chan struct{}
	stopped chan struct{} // closed when the loop has ended
}

// lastPush is how a push of ours ended at one member.
type lastPush struct {
	id      protocol.PushID
	at      time.Time
	outcome string
	text    string
}

// shutdownPatience is how long a stopping daemon waits for the members of its
// pushes to be told, and for commits under way to end.
const shutdownPatience = 3 * time.Second

func newSession() protocol.Session {
	for {
		if s := protocol.Session(rand.Uint64()); s != 0 {
			return s
		}
	}
}

// post runs f on the loop; it never blocks. After the loop has ended f is
// dropped.
func (n *node) post(f func(now time.Time)) {
	n.mu.Lock()
	n.posted = append(n.posted, f)
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// call runs f on the loop and waits for it.
func (n *node) call(f func(now time.Time)) error {
	done := make(chan struct{})
	n.post(func(now time.Time) {
		defer close(done)
		f(now)
	})
	select {
	case <-done:
		return nil
	case <-n.stopped:
		return push.ErrShutdown
	}
}

func (n *node) takePosted() []func(now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.posted
	n.posted = nil
	return p
}

// setUp makes the table and the manager, and takes over what the last run
// left behind.
func (n *node) setUp(now time.Time, state string) error {
	var err error
	n.journal = journal.New(n.post)
	if n.store, err = journal.OpenStore(state, n.session, now, n.journal); err != nil {
		return err
	}
	book, err := order.Open(filepath.Join(state, "order"), journal.WriteFile)
	if err != nil {
		return err
	}
	var flags uint8
	if n.cfg.NoReceive {
		flags |= protocol.FlagNoReceive
	}
	if n.cfg.NoSend {
		flags |= protocol.FlagNoSend
	}
	n.table = membership.New(membership.Config{Self: membership.Self{Session: n.session, Name: n.cfg.Name,
		Port: n.conn.Local().Port(), Started: now, Flags: flags, Detail: n.detail()}}, now, n.loadMembers(state))
	n.mgr = push.New(push.Config{Self: n.session, Name: n.cfg.Name, Modules: n.modules, Store: n.store, Order: book, Wire: &wire{n},
		Log: n.log, Spool: state, RateCap: n.cfg.Network.Rate / 8, NoReceive: n.cfg.NoReceive, Post: n.post,
		Probe: n.conn.Probe, Unreachable: func(err error) bool { return errors.Is(err, transport.ErrUnreachable) }})
	for _, m := range n.modules {
		pending, err := m.Recover()
		if err != nil {
			// What can be pushed is pushed all the same.
			err = fmt.Errorf("what the last run left in %s could not be finished: %w; the next start tries again", m.Base(), err)
			n.log.Error("start", zap.Error(err))
			n.troubles = append(n.troubles, err.Error())
		}
		n.mgr.Recover(now, m.Name(), pending)
	}
	return nil
}

func (n *node) detail() protocol.Detail {
	d := protocol.Detail{Version: control.Version, Base: n.cfg.Base}
	if len(d.Base) > protocol.MaxDetail {
		d.Base = d.Base[:protocol.MaxDetail]
	}
	for _, m := range n.modules {
		l := n.store.Last(m.Name()).Committed
		md := protocol.ModuleDetail{Name: m.Name(), LastPush: l.ID}
		if !l.ID.IsZero() {
			md.At = l.At.UnixNano()
		}
		d.Modules = append(d.Modules, md)
	}
	return d
}

// loop runs until ctx ends and the pushes under way are wound up.
func (n *node) loop(ctx context.Context) {
	defer close(n.stopped)
	timer := time.NewTimer(0)
	defer timer.Stop()
	done := ctx.Done()
	for {
		now := time.Now()
		for _, f := range n.takePosted() {
			f(now)
		}
		next := n.poll(now)
		if done == nil && (n.mgr.Quiet() || now.After(n.linger)) {
			break
		}
		wait := time.Hour
		if !next.IsZero() {
			wait = max(0, time.Until(next))
		}
		timer.Reset(wait)
		select {
		case in := <-n.conn.Arrivals():
			n.drain(in)
		case <-n.wake:
		case <-n.outbox.Room():
		case <-timer.C:
		case <-done:
			done = nil
			n.linger = time.Now().Add(shutdownPatience)
			n.mgr.Shutdown(time.Now())
		}
	}
	n.leave()
}

// drain handles a batch of packets and those that wait behind it, up to a
// bound, so that timers are not starved.
func (n *node) drain(in *transport.Inbound) {
	for range 16 {
		n.handle(in)
		select {
		case in = <-n.conn.Arrivals():
		default:
			return
		}
	}
	n.handle(in)
}

// leave tells the others that this session ends.
func (n *node) leave() {
	for _, o := range n.table.Stop(time.Now()) {
		tr := transport.NewTrain(o.To, transport.Control)
		p := n.prefix
		p.Type = o.Type
		tr.Message(p, body(o.Body))
		if err := n.conn.Send(tr); err != nil {
			n.log.Warn("the others could not be told that this member leaves", zap.Error(err))
		}
		tr.Release()
	}
	n.saveMembers()
	n.mgr.Close()
	n.journal.Close()
}

// trim removes what ended pushes left for the next one, when it is too old.
// It is a goroutine of its own that ends when the disk is done.
func (n *node) trim(now time.Time) {
	for _, m := range n.modules {
		if err := m.DropLeftovers(now); err != nil {
			n.log.Warn("leftovers of ended pushes could not be removed", zap.String("base", m.Base()), zap.Error(err))
		}
	}
}

// poll lets the machines act and returns when to come again.
func (n *node) poll(now time.Time) time.Time {
	next := n.mgr.Poll(now)
	n.flags()
	if l := n.store.Last(n.modules[0].Name()).Committed; l != n.announced {
		n.announced = l
		n.table.SetDetail(now, n.detail())
	}
	out, events, at := n.table.Poll(now)
	n.send(out)
	n.events(now, events)
	if now.Sub(n.trimmedAt) >= time.Hour {
		n.trimmedAt = now
		maps.DeleteFunc(n.last, func(s protocol.Session, _ lastPush) bool {
			_, known := n.table.Lookup(s)
			return !known
		})
		go n.trim(now)
	}
	if n.table.Changed() && now.Sub(n.savedAt) >= time.Second {
		n.savedAt = now
		n.saveMembers()
	}
	if next.IsZero() || !at.IsZero() && at.Before(next) {
		next = at
	}
	return next
}

func (n *node) flags() {
	var flags uint8
	if n.cfg.NoReceive {
		flags |= protocol.FlagNoReceive
	}
	if n.cfg.NoSend {
		flags |= protocol.FlagNoSend
	}
	pushing, receiving := n.mgr.Busy()
	if pushing {
		flags |= protocol.FlagPushing
	}
	if receiving {
		flags |= protocol.FlagReceiving
	}
	n.table.SetFlags(flags)
}

// send gives the table's messages to the wire.
func (n *node) send(out []membership.Out) {
	for _, o := range out {
		w := wire{n}
		w.Send(o.To, o.Type, body(o.Body))
	}
}

type body []byte

// Append implements push.Message.
func (b body) Append(dst []byte) []byte { return append(dst, b...) }

// handle takes a batch of packets.
func (n *node) handle(in *transport.Inbound) {
	now := time.Now()
	var last protocol.Session
	for i := range in.Packets {
		p := &in.Packets[i]
		if p.Prefix.Session != last {
			last = p.Prefix.Session
			n.table.Heard(now, last)
			n.mgr.Heard(now, last)
		}
		if err := n.packet(now, p); err != nil {
			n.malformed++
			n.log.Debug("packet dropped", zap.Stringer("from", p.From), zap.Stringer("type", p.Prefix.Type), zap.Error(err))
		}
	}
	in.Release()
}

func (n *node) packet(now time.Time, p *transport.Packet) error {
	foreign := p.Prefix.Version != protocol.Version
	switch p.Prefix.Type {
	case protocol.TypeBeacon:
		if foreign {
			b, err := protocol.ParseForeignBeacon(p.Body())
			if err == nil {
				n.events(now, n.table.HandleForeign(now, p.From, p.Prefix, b))
			}
			return err
		}
		b, err := protocol.ParseBeacon(p.Body())
		if err == nil {
			n.events(now, n.table.HandleBeacon(now, p.From, p.Prefix, b))
		}
		return err
	case protocol.TypeLeave:
		n.events(now, n.table.HandleLeave(now, p.From, p.Prefix))
		return nil
	}
	if foreign {
		return nil
	}
	switch p.Prefix.Type {
	case protocol.TypeAsk:
		n.table.HandleAsk(now, p.From, p.Prefix)
		return nil
	case protocol.TypeForget:
		f, err := protocol.ParseForget(p.Body())
		if err == nil {
			n.events(now, n.table.HandleForget(now, f))
		}
		return err
	case protocol.TypeDetail:
		d, err := protocol.ParseDetail(p.Body())
		if err == nil {
			n.events(now, n.table.HandleDetail(now, p.Prefix, d))
		}
		return err
	}
	return n.mgr.Handle(now, p.From, p.Prefix, p.Body())
}

// events logs what the table found and tells the pushes who is gone.
func (n *node) events(now time.Time, events []membership.Event) {
	for _, e := range events {
		fields := []zap.Field{zap.String("member", e.Member.Name), zap.Stringer("address", e.Member.Addr)}
		switch e.Kind {
		case membership.EventDetail:
			n.log.Debug("member's details", fields...)
		case membership.EventMissing, membership.EventDuplicate, membership.EventRefused:
			n.log.Warn("member: "+e.Kind.String(), fields...)
		case membership.EventMoved:
			n.log.Info("member: "+e.Kind.String(), append(fields, zap.Stringer("before", e.Old.Addr))...)
		default:
			n.log.Info("member: "+e.Kind.String(), fields...)
		}
		switch e.Kind {
		case membership.EventRestarted:
			n.mgr.Gone(now, e.Old.Session, "its daemon was started again", false)
		case membership.EventLeft:
			n.mgr.Gone(now, e.Member.Session, "it left the cluster", false)
		case membership.EventMissing:
			n.mgr.Gone(now, e.Member.Session, "", true)
		case membership.EventMoved:
			n.mgr.Moved(e.Member.Session, e.Member.Addr)
		}
	}
}

// wire implements push.Wire on the outbox.
type wire struct{ n *node }

// Send implements push.Wire.
func (w *wire) Send(to netip.AddrPort, t protocol.Type, m push.Message) {
	tr := transport.NewTrain(to, transport.Control)
	p := w.n.prefix
	p.Type = t
	tr.Message(p, m)
	w.n.outbox.Enqueue(tr)
}

// Room implements push.Wire.
func (w *wire) Room() int { return w.n.outbox.Free() }

// Departed implements push.Wire.
func (w *wire) Departed(dst []time.Time) []time.Time { return w.n.outbox.Departed(dst) }

// SendData implements push.Wire.
func (w *wire) SendData(at time.Time, pkts []protocol.Data) {
	tr := transport.NewTrain(netip.AddrPort{}, transport.Data)
	tr.At = at
	p := w.n.prefix
	p.Type = protocol.TypeData
	for i := range pkts {
		tr.Message(p, &pkts[i])
	}
	w.n.outbox.Enqueue(tr)
}

// Payload implements push.Wire.
func (w *wire) Payload() int { return w.n.conn.Payload() }

const membersFile = "members.json"

// loadMembers reads the members known to the last run. A damaged file costs
// only the memory of who is missing.
func (n *node) loadMembers(state string) []membership.Saved {
	b, err := os.ReadFile(filepath.Join(state, membersFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var saved []membership.Saved
	if err == nil {
		err = json.Unmarshal(b, &saved)
	}
	if err != nil {
		n.log.Warn("the list of known members could not be read: missing members are not known until they come back", zap.Error(err))
	}
	return saved
}

// saveMembers has the journal write the members known now.
func (n *node) saveMembers() {
	b, err := json.Marshal(n.table.Saved())
	path := filepath.Join(n.cfg.State, membersFile)
	n.journal.Do(func() error {
		if err != nil {
			return err
		}
		return journal.WriteFile(path, string(b))
	}, func(_ time.Time, err error) {
		if err != nil {
			n.log.Warn("the list of known members could not be written", zap.Error(err))
		}
	})
}
