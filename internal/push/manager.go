package push

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"makuo/internal/push/journal"
	"makuo/internal/push/order"
	"makuo/internal/tree"
	"makuo/protocol"
	"makuo/transfer"
)

// Message is a message body that can append itself.
type Message interface{ Append([]byte) []byte }

// Wire is what pushes are sent through. Its methods are called by the owner
// of the Manager and never block.
type Wire interface {
	// Send sends one control message at once; a zero to is the group.
	Send(to netip.AddrPort, t protocol.Type, m Message)
	// Room returns how many more data trains are taken now.
	Room() int
	// Departed appends when data trains left, one time for each since the last
	// call, in their order.
	Departed(dst []time.Time) []time.Time
	// SendData sends data packets to the group in one train, not before at.
	// The packets are copied.
	SendData(at time.Time, pkts []protocol.Data)
	// Payload returns the UDP payload of a full packet.
	Payload() int
}

// Config wires a Manager.
type Config struct {
	Self    protocol.Session
	Name    string // of this member
	Modules []*tree.Module
	Store   *journal.Store
	Order   *order.Book // what pushes have decided here; nil: only what this run sees
	Wire    Wire
	Log     *zap.Logger
	Spool   string // directory for unlinked files
	RateCap int64  // bytes a second; 0: none
	// NoReceive refuses all pushes of others.
	NoReceive bool
	// Post runs f on the owner, from any goroutine, soon.
	Post func(f func(now time.Time))
	// Probe finds out whether a UDP port is open; see transport.Conn.
	Probe func(ctx context.Context, addr netip.AddrPort) error
	// Unreachable reports whether a Probe's error says that the port is closed.
	Unreachable func(error) bool
}

// Manager runs the pushes of one daemon: those it is the origin of and those
// it is a member of. Its methods are called by one owner, except Push, Post's
// functions excepted.
type Manager struct {
	cfg      Config
	log      *zap.Logger
	modules  map[string]*tree.Module
	locks    Locks
	runs     []*run
	members  map[streamKey]*memberRun
	draining []*memberRun // over, with disk work to do
	pending  []*pendingRun
	tombs    map[streamKey]*tomb
	streams  uint32
	last     int64 // start of the newest push of ours
	seen     int64 // start of the newest push of others
	pkts     []protocol.Data
	wg       sync.WaitGroup
	closing  bool
	closed   chan struct{} // by Close
	now      time.Time     // of the event being handled
	promised time.Time     // when Poll asked to be called
	underWay underWay
	turn     int    // of the pushes, see sendData
	strays   uint64 // messages that name a push of another session as one of ours
}

type streamKey struct {
	origin protocol.Session
	stream uint32
}

// New returns a Manager and takes over what Recover found.
func New(cfg Config) *Manager {
	m := &Manager{cfg: cfg, log: cfg.Log, modules: make(map[string]*tree.Module), members: make(map[streamKey]*memberRun), closed: make(chan struct{})}
	if m.cfg.Order == nil {
		m.cfg.Order = order.New()
	}
	for _, mod := range cfg.Modules {
		m.modules[mod.Name()] = mod
		mod.SetOrder(m.cfg.Order.Module(mod.Name()))
	}
	return m
}

func zapErr(err error) zap.Field { return zap.Error(err) }

// Handle takes one packet of a type that belongs to pushes. The body is not
// kept. Malformed bodies are an error for the caller to count.
func (m *Manager) Handle(now time.Time, from netip.AddrPort, p protocol.Prefix, body []byte) error {
	m.enter(now)
	switch p.Type {
	case protocol.TypeData:
		d, err := protocol.ParseData(body)
		if err != nil {
			return err
		}
		if r := m.members[streamKey{p.Session, d.Stream}]; r != nil {
			r.m.HandleData(now, &d)
		}
		return nil
	case protocol.TypeState:
		st, err := protocol.ParseState(body)
		if err != nil {
			return err
		}
		m.state(now, from, p.Session, &st)
		return nil
	case protocol.TypeFeedback:
		fb, err := protocol.ParseFeedback(body)
		if err != nil {
			return err
		}
		if r := m.run(fb.Origin, fb.Stream); r != nil {
			r.o.HandleFeedback(now, p.Session, &fb)
		}
		return nil
	}
	return m.handleRare(now, from, p, body)
}

func (m *Manager) handleRare(now time.Time, from netip.AddrPort, p protocol.Prefix, body []byte) error {
	switch p.Type {
	case protocol.TypeReport:
		rep, err := protocol.ParseReport(body)
		if err != nil {
			return err
		}
		if r := m.run(rep.Origin, rep.Stream); r != nil {
			r.o.HandleReport(now, p.Session, &rep)
		}
	case protocol.TypePage:
		pg, err := protocol.ParsePage(body)
		if err != nil {
			return err
		}
		if r := m.run(pg.Origin, pg.Stream); r != nil {
			r.o.HandlePage(now, p.Session, &pg)
		}
	case protocol.TypeFetch:
		f, err := protocol.ParseFetch(body)
		if err != nil {
			return err
		}
		if r := m.members[streamKey{p.Session, f.Stream}]; r != nil {
			r.fetch(&f)
		}
	case protocol.TypeQuery:
		q, err := protocol.ParseQuery(body)
		if err != nil {
			return err
		}
		m.query(from, &q)
	case protocol.TypeAnswer:
		a, err := protocol.ParseAnswer(body)
		if err != nil {
			return err
		}
		m.answer(now, &a)
	}
	return nil
}

// run returns the push that a member's message names. One that names another
// session is about a push of a daemon that ran before at this address: its
// stream numbers were the same, and its sender hears that by itself.
func (m *Manager) run(origin protocol.Session, stream uint32) *run {
	if origin != m.cfg.Self {
		m.strays++
		return nil
	}
	for _, r := range m.runs {
		if r.o.Stream() == stream {
			return r
		}
	}
	return nil
}

// state takes a state message; the first of a push makes its machine.
func (m *Manager) state(now time.Time, from netip.AddrPort, origin protocol.Session, st *protocol.State) {
	key := streamKey{origin, st.Stream}
	r := m.members[key]
	if r != nil {
		if r.m.ID() == st.Push {
			r.addr = from
			r.m.HandleState(now, st)
		}
		return
	}
	for _, p := range m.pending {
		p.state(now, st)
	}
	if rep, ok := m.buried(now, key, st); ok {
		if rep != nil {
			m.cfg.Wire.Send(from, protocol.TypeReport, rep)
		}
		return
	}
	if m.closing || st.Phase >= protocol.PhaseFlush || st.Push.Origin != origin || !m.mayJoin(st.Push) {
		return // too late to take part, or not the origin's word
	}
	if !m.makePlace(origin) {
		return
	}
	r = newMemberRun(m, origin, from)
	rc := transfer.NewReceiver(transfer.ReceiverConfig{Origin: origin, Stream: st.Stream, Seed: uint64(m.cfg.Self) ^ uint64(st.Push.Start),
		Room: smallRoom, Payload: m.cfg.Wire.Payload(),
		Cares: func(k protocol.BlockKind, first, count uint32) bool { return r.m == nil || r.m.Wanted(k, first, count) }}, now)
	r.m = NewMember(MemberConfig{Self: m.cfg.Self, Origin: origin, Receiver: rc, Admit: m,
		Body: m.cfg.Wire.Payload() - protocol.PrefixLen - protocol.CheckLen}, now, st)
	m.members[key] = r
}

// Heard notes a sign of life of a member.
func (m *Manager) Heard(now time.Time, from protocol.Session) {
	for _, r := range m.runs {
		r.o.Heard(now, from)
	}
}

// Gone says that a session has ended: it left, was replaced by a new one, or
// is missing. A missing member stays in its pushes: only silence ends it.
func (m *Manager) Gone(now time.Time, s protocol.Session, why string, missing bool) {
	m.enter(now)
	for _, r := range m.runs {
		if !missing {
			r.o.MemberGone(now, s, why)
		}
	}
	for _, r := range m.members {
		if r.origin == s && !missing {
			r.m.OriginGone(now)
		}
	}
}

// probe asks whether a silent member's port is open, on a goroutine.
func (m *Manager) probe(o *Origin, member RosterMember) {
	m.wg.Add(1)
	go func() {
		defer m.wg.Done()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := m.cfg.Probe(ctx, member.Addr); m.cfg.Unreachable(err) {
			m.cfg.Post(func(now time.Time) {
				o.MemberGone(now, member.Session, "its port is closed: the daemon has stopped or crashed")
			})
		}
	}()
}

// noted takes the end of a write that costs no more than memory of a push when
// it fails.
func (m *Manager) noted(_ time.Time, err error) {
	if err != nil {
		m.log.Warn("could not note in the state directory how a push ends here", zapErr(err))
	}
}

// ended reports whether Close was called.
func (m *Manager) ended() bool {
	select {
	case <-m.closed:
		return true
	default:
		return false
	}
}

func (m *Manager) memberOver(r *memberRun, outcome string) {
	m.tellEnd(r, outcome)
	m.bury(m.now, r)
	r.jobs.close()
	m.drain(r)
	for k, v := range m.members {
		if v == r {
			delete(m.members, k)
		}
	}
}

// Poll lets all pushes act and returns when to be called next; zero is never.
func (m *Manager) Poll(now time.Time) (next time.Time) {
	m.enter(now)
	defer func() {
		if len(m.runs)+len(m.members)+len(m.pending) > 0 {
			next = earlier(next, now.Add(time.Second)) // to notice a standstill
		}
		m.promised = next
	}()
	m.shareRoom()
	m.underWay.out(m.cfg.Wire)
	m.turn++
	runs := slices.Clone(m.runs)
	for i := range runs {
		r := runs[(i+m.turn)%len(runs)]
		next = earlier(next, r.poll(now))
		next = earlier(next, m.sendData(now, r, (m.cfg.Wire.Room()+len(runs)-1)/len(runs)))
		if r.o.urgent {
			next = earlier(next, r.poll(now)) // the last packet is out
		}
		if r.o.Over() {
			m.runs = slices.DeleteFunc(m.runs, func(x *run) bool { return x == r })
		}
	}
	for _, r := range m.members {
		next = earlier(next, r.poll(now))
	}
	for _, p := range slices.Clone(m.pending) {
		next = earlier(next, p.poll(now))
	}
	return next
}

// ahead is how far in advance packets are given to the wire, which holds each
// train back to its time: the loop's timers are a millisecond coarse.
const ahead = 5 * time.Millisecond

// maxTrain is the largest number of packets of a train.
const maxTrain = 40

// sendData gives the wire what the stream's pacing allows, in at most the given
// number of trains: the pushes of a daemon take turns.
func (m *Manager) sendData(now time.Time, r *run, most int) time.Time {
	defer r.o.DataSent(now)
	for ; m.cfg.Wire.Room() > 0; most-- {
		if most == 0 {
			return now // others first
		}
		at := r.s.Poll(now)
		if at.IsZero() {
			return time.Time{}
		}
		if at.Before(now) {
			at = now
		}
		if at.Sub(now) > ahead {
			return at.Add(-ahead / 2)
		}
		m.pkts = m.pkts[:0]
		for len(m.pkts) < maxTrain {
			d, ok := r.s.Next(at)
			if !ok {
				break
			}
			m.pkts = append(m.pkts, d)
		}
		if len(m.pkts) == 0 {
			return now.Add(time.Millisecond)
		}
		m.cfg.Wire.SendData(at, m.pkts)
		m.underWay.add(r)
		r.pull(now)
	}
	return time.Time{} // the wire says when there is room again
}

func (m *Manager) sendOrigin(r *run, outs []Out) {
	for i := range outs {
		o := &outs[i]
		if o.State != nil {
			m.cfg.Wire.Send(netip.AddrPort{}, protocol.TypeState, o.State)
			continue
		}
		if addr, ok := r.address(o.To); ok {
			m.cfg.Wire.Send(addr, protocol.TypeFetch, &o.Fetch)
		}
	}
}

func (r *run) address(s protocol.Session) (netip.AddrPort, bool) {
	if i, ok := r.o.index[s]; ok {
		return r.o.members[i].Addr, true
	}
	return netip.AddrPort{}, false
}

func (m *Manager) sendMember(r *memberRun, o MemberOut) {
	switch {
	case o.Report != nil:
		m.toOrigin(r, protocol.TypeReport, o.Report)
	case o.Feedback != nil:
		m.toOrigin(r, protocol.TypeFeedback, o.Feedback)
	case o.Query != nil:
		m.cfg.Wire.Send(netip.AddrPort{}, protocol.TypeQuery, o.Query)
		m.ask(o.Query)
	}
}

func (m *Manager) toOrigin(r *memberRun, t protocol.Type, msg Message) {
	m.cfg.Wire.Send(r.addr, t, msg)
}

// ErrShutdown ends pushes that a shutdown cut short.
var ErrShutdown = errors.New("the daemon was shut down")
