package push

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"testing"
	"time"

	"makuo/internal/transport/simnet"
	"makuo/protocol"
	"makuo/transfer"
)

// The machines of both sides over a network in simulated time. Only the trees
// are made up: a batch is a number and random bytes, a member wants what a
// hash says, and disks take the time they are told to.

const simPayload = protocol.DefaultPayload

type simTree struct {
	batches, entries, blocks, blockSize int // blocks of data for each batch wanted by anyone
}

type sim struct {
	t       *testing.T
	net     *simnet.Net
	rng     *rand.Rand
	tree    simTree
	o       *simOrigin
	members []*simMember
	content map[uint32][]byte // of the origin's blocks, by id
}

type simOrigin struct {
	sim      *sim
	host     *simnet.Host
	session  protocol.Session
	m        *Origin
	s        *transfer.Sender
	next     int // batch to be offered
	data     []transfer.Block
	batchEnd []int // indices into data after which a batch is read
	given    int
	rest     bool
	digest   uint64
	result   *Result
	decided  bool // on disk
	dead     bool
	noDecide bool
	control  int // bytes of state messages
	problems int
	texts    []string // of the problems
	held     int      // bytes of blocks that are kept
	mostHeld int
	locks    *Locks
	id       protocol.PushID
}

type simMember struct {
	sim       *sim
	host      *simnet.Host
	session   protocol.Session
	locks     Locks
	m         *Member
	dead      bool
	digest    uint64
	got       map[uint32]bool
	committed bool
	discarded bool
	outcome   string
	slow      time.Duration // each compare, store, stage, commit
	slowIn    memberState   // in it, work takes slowFor
	slowFor   time.Duration
	failStage bool
	sent      int
	early     map[uint32]transfer.Complete
	nextBatch uint32

	asleep  bool // its process does not run
	waiting []simPacket
	bytes   int // of them
	missed  []func(now time.Time)
}

// simPacket waits in a member's socket.
type simPacket struct {
	from netip.AddrPort
	data []byte
}

const simSocket = 4 << 20 // bytes that a socket holds

func simSeed(t *testing.T) uint64 {
	seed := rand.Uint64()
	if s := os.Getenv("MAKUO_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	t.Logf("MAKUO_SEED=%d", seed)
	return seed
}

func newSim(t *testing.T, members int, link simnet.Link, tree simTree, tune func(*OriginConfig)) *sim {
	seed := simSeed(t)
	s := &sim{t: t, rng: rand.New(rand.NewPCG(seed, 1)), tree: tree, content: make(map[uint32][]byte)}
	s.net = simnet.New(simnet.Config{Seed: seed, Delay: 100 * time.Microsecond, MTU: 1500})
	o := &simOrigin{sim: s, session: 1, locks: &Locks{}}
	s.o = o
	up := link
	up.Up, up.Loss = 125e6, link.Loss
	o.host = s.net.AddHost(up, o.packet)
	var roster []RosterMember
	hdr := protocol.PushHeader{Module: "default", Name: "origin", Options: protocol.OptRecursive, Paths: []string{"htdocs"}}
	for i := range members {
		m := &simMember{sim: s, session: protocol.Session(100 + i), got: make(map[uint32]bool), early: make(map[uint32]transfer.Complete), slow: time.Millisecond}
		m.host = s.net.AddHost(link, m.packet)
		m.host.OnTimer(m.poll)
		s.members = append(s.members, m)
		roster = append(roster, RosterMember{Session: m.session, Name: fmt.Sprintf("m%d", i), Addr: m.host.Addr()})
		hdr.Roster = append(hdr.Roster, m.session)
	}
	now := s.net.Now()
	o.s = transfer.NewSender(transfer.SenderConfig{Stream: 7, Members: members, SymbolSize: protocol.SymbolSize(simPayload),
		Release: func(b []byte) { o.held -= len(b) }}, now)
	kind, enc, err := transfer.EncodeBlock(protocol.BlockHeader, hdr.Append(nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	o.id = protocol.PushID{Start: now.UnixNano(), Origin: o.session}
	cfg := OriginConfig{ID: o.id, Stream: 7, Wait: time.Minute, Timeout: 30 * time.Second, Roster: roster, Sender: o.s,
		HeaderBlock: transfer.Block{Kind: kind, Encoded: enc}, Lock: &simLock{o}}
	if tune != nil {
		tune(&cfg)
	}
	o.held = len(enc)
	o.m = NewOrigin(cfg, now)
	o.host.OnTimer(o.poll)
	o.host.SetTimer(now)
	return s
}

type simLock struct{ o *simOrigin }

func (l *simLock) Try() (Holder, bool) {
	if c := l.o.locks.Conflicts(l.o.id, "default", []string{"htdocs"}); len(c) > 0 {
		return c[0], false
	}
	l.o.locks.Hold(l.o.id, "origin", "default", []string{"htdocs"})
	return Holder{}, true
}

func (l *simLock) Release() { l.o.locks.Release(l.o.id) }

func send1(h *simnet.Host, to netip.AddrPort, s protocol.Session, t protocol.Type, m Message) {
	p := protocol.Prefix{Version: protocol.Version, Type: t, Session: s}
	h.Send(to, m.Append(p.Append(nil)))
}

func (o *simOrigin) packet(now time.Time, _ netip.AddrPort, _ bool, data []byte) {
	p, body, err := protocol.ParsePrefix(data)
	if err != nil || o.dead {
		return
	}
	switch p.Type {
	case protocol.TypeFeedback:
		if fb, err := protocol.ParseFeedback(body); err == nil {
			o.m.HandleFeedback(now, p.Session, &fb)
		}
	case protocol.TypeReport:
		if r, err := protocol.ParseReport(body); err == nil {
			o.m.HandleReport(now, p.Session, &r)
		}
	case protocol.TypePage:
		if pg, err := protocol.ParsePage(body); err == nil {
			o.m.HandlePage(now, p.Session, &pg)
		}
	case protocol.TypeQuery:
		a := protocol.Answer{Push: o.id, Outcome: protocol.OutcomeRunning, Origin: true}
		if o.decided {
			a.Outcome = protocol.OutcomeCommitted
		} else if o.m.abort != "" {
			a.Outcome = protocol.OutcomeAborted
		}
		send1(o.host, netip.AddrPort{}, o.session, protocol.TypeAnswer, &a)
	}
	o.poll(now)
}

func (o *simOrigin) poll(now time.Time) {
	if o.dead || o.m.Over() {
		return
	}
	outs, next := o.m.Poll(now)
	for i := range outs {
		if outs[i].State != nil {
			o.control += o.m.stateSize(outs[i].State)
			o.s.ChargeControl(now, o.m.stateSize(outs[i].State)-transfer.PacketBytes(0))
			send1(o.host, netip.AddrPort{}, o.session, protocol.TypeState, outs[i].State)
		} else {
			m := o.sim.members[outs[i].To-100]
			send1(o.host, m.host.Addr(), o.session, protocol.TypeFetch, &outs[i].Fetch)
		}
	}
	for _, e := range o.m.Events() {
		o.event(now, e)
	}
	o.pull(now)
	for o.host.Backlog() < time.Millisecond {
		d, ok := o.s.Next(now)
		if !ok {
			break
		}
		send1(o.host, netip.AddrPort{}, o.session, protocol.TypeData, &d)
		o.pull(now)
	}
	o.m.DataSent(now)
	if at := o.s.Poll(now); !at.IsZero() {
		next = earlier(next, at.Add(50*time.Microsecond))
	}
	if len(o.m.events) > 0 {
		next = now
	}
	if !next.IsZero() {
		o.host.SetTimer(next)
	}
}

func (o *simOrigin) pull(now time.Time) {
	t := o.sim.tree
	for o.m.CanOfferBatch() && o.next < t.batches {
		content := make([]byte, 8, 8+t.entries*4)
		binary.BigEndian.PutUint32(content, uint32(o.next))
		binary.BigEndian.PutUint32(content[4:], uint32(o.next*t.entries))
		for range t.entries {
			content = binary.BigEndian.AppendUint32(content, o.sim.rng.Uint32())
		}
		o.digest = protocol.ChainDigest(o.digest, content)
		kind, enc, _ := transfer.EncodeBlock(protocol.BlockManifest, content, nil)
		o.next++
		o.held += len(enc)
		o.m.OfferBatch(now, t.entries, transfer.Block{Kind: kind, First: uint32((o.next - 1) * t.entries), Count: uint32(t.entries), Encoded: enc})
		if o.next == t.batches {
			o.m.ScanEnded(now, o.digest)
		}
	}
	for len(o.batchEnd) > 0 {
		if o.given == o.batchEnd[0] {
			o.batchEnd = o.batchEnd[1:]
			o.m.BatchRead(now)
			continue
		}
		if !o.m.CanOfferData() {
			return
		}
		o.held += len(o.data[o.given].Encoded)
		o.mostHeld = max(o.mostHeld, o.held)
		o.m.OfferData(now, o.data[o.given])
		o.data[o.given].Encoded = nil
		o.given++
	}
	if o.rest && len(o.batchEnd) == 0 {
		o.rest = false
		o.m.ReadEnded(now)
	}
}

func (o *simOrigin) event(now time.Time, e Event) {
	t := o.sim.tree
	switch e := e.(type) {
	case EvWanted:
		if !bytes.Equal(e.Data, make([]byte, len(e.Data))) {
			for range t.blocks {
				content := make([]byte, t.blockSize)
				for i := 0; i+8 <= len(content); i += 8 {
					binary.LittleEndian.PutUint64(content[i:], o.sim.rng.Uint64())
				}
				kind, enc, _ := transfer.EncodeBlock(protocol.BlockData, content, nil)
				o.data = append(o.data, transfer.Block{Kind: kind, First: e.Batch * uint32(t.entries), Count: uint32(t.entries), Encoded: enc})
			}
		}
		o.batchEnd = append(o.batchEnd, len(o.data))
	case EvReadRest:
		o.rest = true
	case EvDecide:
		if o.noDecide {
			o.die()
			return
		}
		o.sim.net.At(now.Add(2*time.Millisecond), func() {
			if o.dead {
				return
			}
			o.decided = true
			o.m.DecisionWritten(o.sim.net.Now(), nil)
			o.poll(o.sim.net.Now())
		})
	case EvProblem:
		o.problems++
		o.texts = append(o.texts, e.Problem.Text)
	case EvResult:
		r := o.m.Result()
		o.result = &r
	case EvProbe:
		i := e.Member.Session - 100
		if o.sim.members[i].dead {
			o.sim.net.At(now.Add(time.Millisecond), func() {
				o.m.MemberGone(o.sim.net.Now(), e.Member.Session, "its port is closed")
			})
		}
	}
}

func (o *simOrigin) die() {
	o.dead = true
	o.host.Stop()
}

func (s *sim) run(limit time.Duration) {
	s.t.Helper()
	if !s.net.RunUntil(s.net.Now().Add(limit), func() bool { return s.o.result != nil }) {
		s.t.Fatalf("the push did not end within %v: state %d", limit, s.o.m.state)
	}
}

// settle lets what follows the result happen: ends, queries, discards.
func (s *sim) settle(d time.Duration) { s.net.RunFor(d) }

func (s *sim) allDone() {
	s.t.Helper()
	if s.o.result.Abort != "" {
		s.t.Fatalf("aborted: %s", s.o.result.Abort)
	}
	for i, m := range s.o.result.Members {
		if m.Outcome != MemberDone {
			s.t.Errorf("member %d: %v %s", i, m.Outcome, m.Text)
		}
		if !s.members[i].committed {
			s.t.Errorf("member %d has not committed", i)
		}
	}
}
