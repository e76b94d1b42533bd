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
	problems int
	texts    []string // of the problems
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
	failStage bool
	sent      int
	early     map[uint32]transfer.Complete
	nextBatch uint32
}

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
	o.s = transfer.NewSender(transfer.SenderConfig{Stream: 7, Members: members, SymbolSize: protocol.SymbolSize(simPayload)}, now)
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

func (m *simMember) die() {
	m.dead = true
	m.host.Stop()
}

// Admit implements Admission.
func (m *simMember) Admit(id protocol.PushID, h *protocol.PushHeader) (string, Holder, bool) {
	if c := m.locks.Conflicts(id, h.Module, h.Paths); len(c) > 0 {
		return "", c[0], false
	}
	m.locks.Hold(id, h.Name, h.Module, h.Paths)
	return "", Holder{}, true
}

// Release implements Admission.
func (m *simMember) Release(id protocol.PushID) { m.locks.Release(id) }

func (m *simMember) packet(now time.Time, from netip.AddrPort, _ bool, data []byte) {
	p, body, err := protocol.ParsePrefix(data)
	if err != nil || m.dead {
		return
	}
	switch p.Type {
	case protocol.TypeState:
		st, err := protocol.ParseState(body)
		if err != nil {
			return
		}
		if m.m == nil {
			r := transfer.NewReceiver(transfer.ReceiverConfig{Stream: st.Stream, Seed: uint64(m.session), Payload: simPayload,
				Cares: func(k protocol.BlockKind, f, c uint32) bool { return m.m == nil || m.m.Wanted(k, f, c) }}, now)
			m.m = NewMember(MemberConfig{Self: m.session, Origin: p.Session, Receiver: r, Admit: m, Body: simPayload - protocol.PrefixLen - protocol.CheckLen}, now, &st)
		} else {
			m.m.HandleState(now, &st)
		}
	case protocol.TypeData:
		d, err := protocol.ParseData(body)
		if err == nil && m.m != nil {
			m.m.HandleData(now, &d)
		}
	case protocol.TypeFetch:
		if f, err := protocol.ParseFetch(body); err == nil && m.m != nil && !m.m.Over() {
			pages(simLog{}, &f, func(p *protocol.Page) { send1(m.host, from, m.session, protocol.TypePage, p) })
		}
	case protocol.TypeQuery:
		if q, err := protocol.ParseQuery(body); err == nil && m.committed {
			send1(m.host, from, m.session, protocol.TypeAnswer, &protocol.Answer{Push: q.Push, Outcome: protocol.OutcomeCommitted})
		}
	case protocol.TypeAnswer:
		if a, err := protocol.ParseAnswer(body); err == nil && m.m != nil {
			m.m.HandleAnswer(now, &a)
		}
	}
	m.poll(now)
}

// simLog is a log of two problems.
type simLog struct{}

func (simLog) bytes() []byte {
	a := protocol.Problem{Path: "a", Text: "x"}
	return a.Append(a.Append(nil))
}

func (l simLog) LogSize(protocol.PageKind) int64 { return int64(len(l.bytes())) }

func (l simLog) ReadLog(_ protocol.PageKind, p []byte, off int64) (int, error) {
	return copy(p, l.bytes()[off:]), nil
}

func (m *simMember) poll(now time.Time) {
	if m.dead || m.m == nil {
		return
	}
	outs, next := m.m.Poll(now)
	for _, out := range outs {
		m.sent++
		switch {
		case out.Feedback != nil:
			send1(m.host, m.sim.o.host.Addr(), m.session, protocol.TypeFeedback, out.Feedback)
		case out.Report != nil:
			send1(m.host, m.sim.o.host.Addr(), m.session, protocol.TypeReport, out.Report)
		case out.Query != nil:
			send1(m.host, netip.AddrPort{}, m.session, protocol.TypeQuery, out.Query)
		}
	}
	for _, e := range m.m.Events() {
		m.event(e)
	}
	if !next.IsZero() {
		m.host.SetTimer(next)
	}
}

// after runs f when the disk is done.
func (m *simMember) after(f func(now time.Time)) {
	m.sim.net.At(m.sim.net.Now().Add(m.slow), func() {
		if !m.dead {
			f(m.sim.net.Now())
			m.poll(m.sim.net.Now())
		}
	})
}

func (m *simMember) event(e Event) {
	switch e := e.(type) {
	case EvBegin:
		m.after(func(now time.Time) { m.m.Began(now, nil) })
	case EvBlock:
		content, _, err := transfer.DecodeBlock(e.Block.Kind, e.Block.Encoded, nil)
		if err != nil {
			m.sim.t.Errorf("member %d: block %d arrived damaged: %v", m.session, e.Block.ID, err)
			return
		}
		if m.got[e.Block.ID] {
			m.sim.t.Errorf("member %d: block %d arrived twice", m.session, e.Block.ID)
		}
		m.got[e.Block.ID] = true
		if e.Block.Kind.Base() == protocol.BlockData {
			m.after(func(now time.Time) { m.m.Stored(now, e.Block) })
			return
		}
		m.early[binary.BigEndian.Uint32(content)] = e.Block
		m.compare()
	case EvStage:
		m.after(func(now time.Time) {
			if m.failStage {
				m.m.StageDone(now, protocol.Counts{}, fmt.Errorf("no space left"))
				return
			}
			m.m.StageDone(now, protocol.Counts{Changed: uint64(len(m.got)), Warnings: 1}, nil)
		})
	case EvCommit:
		m.committed = true
		m.after(func(now time.Time) {
			m.m.CommitDone(now, protocol.Counts{Changed: 1, Warnings: 1}, time.Millisecond, nil)
		})
	case EvDiscard:
		m.discarded = true
	case EvFinished:
		m.outcome = e.Outcome
	}
}

func (m *simMember) compare() {
	for {
		b, ok := m.early[m.nextBatch]
		if !ok {
			return
		}
		delete(m.early, m.nextBatch)
		content, _, _ := transfer.DecodeBlock(b.Kind, b.Encoded, nil)
		n := m.nextBatch
		m.nextBatch++
		m.digest = protocol.ChainDigest(m.digest, content)
		digest := m.digest
		bits := make([]byte, (m.sim.tree.entries+7)/8)
		bits[0] = byte(n%3) & 1 // two of three batches are wanted nowhere
		m.after(func(now time.Time) {
			m.m.Compared(now, b, n, binary.BigEndian.Uint32(content[4:]), bits, bits, digest)
		})
	}
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

var smallTree = simTree{batches: 9, entries: 64, blocks: 6, blockSize: 100_000}

func TestPushUnderLoss(t *testing.T) {
	for _, c := range []struct {
		members int
		loss    float64
	}{{1, 0}, {4, 0}, {4, 0.01}, {8, 0.05}, {8, 0.3}, {50, 0.02}} {
		t.Run(fmt.Sprintf("%d members %v", c.members, c.loss), func(t *testing.T) {
			link := simnet.Link{Down: 125e6, DownQueue: 512 << 10, Loss: c.loss, Duplicate: c.loss / 2, Corrupt: c.loss / 10,
				Reorder: c.loss, ReorderBy: 300 * time.Microsecond}
			s := newSim(t, c.members, link, smallTree, nil)
			s.run(2 * time.Minute)
			s.allDone()
			if s.o.problems != 2*c.members {
				t.Errorf("%d problems were fetched, %d members have 2 each", s.o.problems, c.members)
			}
			s.settle(10 * time.Second)
			for i, m := range s.members {
				if m.outcome != "done" {
					t.Errorf("member %d ended as %q", i, m.outcome)
				}
				if c := m.locks.Conflicts(protocol.PushID{}, "default", []string{"htdocs"}); len(c) > 0 {
					t.Errorf("member %d still holds the lock", i)
				}
			}
		})
	}
}

func TestThousandMembers(t *testing.T) {
	if testing.Short() {
		t.Skip("a thousand members take some seconds")
	}
	link := simnet.Link{Down: 125e6, DownQueue: 1 << 20, Loss: 0.01}
	s := newSim(t, 1000, link, simTree{batches: 3, entries: 64, blocks: 4, blockSize: 60_000}, nil)
	s.run(5 * time.Minute)
	s.allDone()
	most := 0
	for _, m := range s.members {
		most = max(most, m.sent)
	}
	took := s.o.host.Stats()
	t.Logf("origin sent %d packets; the busiest member %d; took %v", took.Sent, most, s.net.Now().Sub(s.o.m.started))
}

func TestMemberDiesAnywhere(t *testing.T) {
	for _, after := range []time.Duration{0, 5, 20, 40, 60, 90, 130, 180, 250} {
		s := newSim(t, 5, simnet.Link{Down: 12.5e6, DownQueue: 256 << 10, Loss: 0.01}, smallTree, nil)
		s.net.At(s.net.Now().Add(after*time.Millisecond), s.members[2].die)
		s.run(2 * time.Minute)
		if s.o.result.Abort != "" {
			t.Fatalf("after %v: aborted: %s", after*time.Millisecond, s.o.result.Abort)
		}
		for i, m := range s.o.result.Members {
			want := MemberDone
			if i == 2 && m.Outcome == MemberLost {
				continue
			}
			if m.Outcome != want {
				t.Errorf("after %v: member %d is %v (%s)", after*time.Millisecond, i, m.Outcome, m.Text)
			}
		}
	}
}

// TestOriginDiesAnywhere stops the origin at many moments: whatever the
// members do then, they do the decision, once it can be known.
func TestOriginDiesAnywhere(t *testing.T) {
	for ms := 0; ms < 700; ms += 23 {
		s := newSim(t, 4, simnet.Link{Down: 12.5e6, DownQueue: 256 << 10, Loss: 0.05}, smallTree, nil)
		s.net.At(s.net.Now().Add(time.Duration(ms)*time.Millisecond), s.o.die)
		s.settle(2 * time.Minute)
		committed := 0
		for _, m := range s.members {
			if m.committed {
				committed++
			}
		}
		if committed > 0 && !s.o.decided {
			t.Fatalf("after %d ms: %d members committed what was never decided", ms, committed)
		}
		if committed > 0 && committed < 4 {
			t.Errorf("after %d ms: %d of 4 members committed and the others did not learn of it", ms, committed)
		}
		s.settle(11 * time.Minute)
		for i, m := range s.members {
			if m.m != nil && !m.m.Over() {
				t.Errorf("after %d ms: member %d is still %v", ms, i, m.m.state)
			}
			if m.committed && m.discarded && m.outcome != "done" {
				t.Errorf("after %d ms: member %d committed and ended as %q", ms, i, m.outcome)
			}
		}
	}
}

func TestOriginDiesBeforeItsDecision(t *testing.T) {
	s := newSim(t, 3, simnet.Link{Down: 125e6}, smallTree, nil)
	s.o.noDecide = true
	s.settle(15 * time.Minute)
	for i, m := range s.members {
		if m.committed || !m.discarded || !m.m.Over() {
			t.Errorf("member %d: committed %v, discarded %v, state %v", i, m.committed, m.discarded, m.m.state)
		}
	}
}

func TestMissedOrderToCommit(t *testing.T) {
	s := newSim(t, 3, simnet.Link{Down: 125e6}, smallTree, func(c *OriginConfig) { c.Timeout = 2 * time.Second })
	lonely := s.members[1]
	s.net.SetFilter(func(from, to *simnet.Host, _ bool, data []byte) bool {
		return !(s.o.decided && !(s.o.result != nil) && (to == lonely.host || from == lonely.host))
	})
	s.run(time.Minute)
	if r := s.o.result.Members[1]; r.Outcome != MemberLost || !r.Maybe {
		t.Fatalf("the cut off member is %v, maybe %v", r.Outcome, r.Maybe)
	}
	s.settle(time.Minute)
	for i, m := range s.members {
		if !m.committed {
			t.Errorf("member %d did not commit what was decided: %v", i, m.m.state)
		}
	}
}

func TestMemberFailsToStage(t *testing.T) {
	s := newSim(t, 3, simnet.Link{Down: 125e6, Loss: 0.02}, smallTree, nil)
	s.members[0].failStage = true
	s.run(time.Minute)
	for i, m := range s.o.result.Members {
		if want := map[bool]MemberState{true: MemberFailed, false: MemberDone}[i == 0]; m.Outcome != want {
			t.Errorf("member %d is %v, want %v", i, m.Outcome, want)
		}
	}
	if s.members[0].committed || !s.members[0].discarded {
		t.Error("the failed member did not discard")
	}
}

func TestAllOrNone(t *testing.T) {
	s := newSim(t, 3, simnet.Link{Down: 125e6, Loss: 0.02}, smallTree, func(c *OriginConfig) { c.AllOrNone = true })
	s.members[0].failStage = true
	s.run(time.Minute)
	if s.o.result.Abort == "" {
		t.Fatal("committed although a member had failed")
	}
	s.settle(time.Minute)
	for i, m := range s.members {
		if m.committed {
			t.Errorf("member %d committed", i)
		}
	}
}

func TestAbortAnywhere(t *testing.T) {
	for ms := 0; ms < 500; ms += 31 {
		s := newSim(t, 4, simnet.Link{Down: 12.5e6, DownQueue: 256 << 10, Loss: 0.02}, smallTree, nil)
		aborted := false
		s.net.At(s.net.Now().Add(time.Duration(ms)*time.Millisecond), func() {
			aborted = s.o.m.Abort(s.net.Now(), "cancelled")
			s.o.poll(s.net.Now())
		})
		s.run(time.Minute)
		s.settle(time.Minute)
		for i, m := range s.members {
			if m.committed == aborted {
				t.Errorf("after %d ms: aborted %v, member %d committed %v", ms, aborted, i, m.committed)
			}
		}
	}
}

// parkSim is a push to four members with parking; the last one is made slow
// by tune.
func parkSim(t *testing.T, tree simTree, tune func(s *sim, slow *simMember)) *sim {
	s := newSim(t, 4, simnet.Link{Down: 125e6, DownQueue: 512 << 10}, tree, func(c *OriginConfig) { c.Park = true })
	if tune != nil {
		tune(s, s.members[3])
	}
	return s
}

// TestParking holds the time of the others beside a push without the slow
// member.
func TestParking(t *testing.T) {
	big := simTree{batches: 60, entries: 64, blocks: 40, blockSize: 100_000} // 80 MB
	free := parkSim(t, big, nil)
	began := free.net.Now()
	free.run(time.Minute)
	free.allDone()
	took := free.net.Now().Sub(began)
	for name, tune := range map[string]func(s *sim, slow *simMember){
		"slow link": func(s *sim, slow *simMember) {
			slow.host.SetLink(simnet.Link{Down: 1.25e6, DownQueue: 512 << 10})
		},
		"disk stalls": func(s *sim, slow *simMember) {
			s.net.At(s.net.Now().Add(100*time.Millisecond), func() { slow.slow = 20 * time.Second })
		},
		"stops": func(s *sim, slow *simMember) {
			s.net.At(s.net.Now().Add(150*time.Millisecond), func() { slow.host.SetSide(1) })
			s.net.At(s.net.Now().Add(10*time.Second), func() { slow.host.SetSide(0) })
		},
		"never answers": func(s *sim, slow *simMember) { slow.host.SetSide(1) },
	} {
		t.Run(name, func(t *testing.T) {
			s := parkSim(t, big, tune)
			began := s.net.Now()
			s.run(5 * time.Minute)
			with := s.net.Now().Sub(began)
			t.Logf("%v with the slow member, %v without", with, took)
			for i, m := range s.o.result.Members {
				want := MemberDone
				if i == 3 {
					want = MemberParked
				}
				if m.Outcome != want {
					t.Errorf("member %d: %v (%s), want %v", i, m.Outcome, m.Text, want)
				}
			}
			limit := took + took/5 + holdLock
			if name == "slow link" {
				limit = 3*took + holdLock // the rate has to find its way up again
			}
			if with > limit {
				t.Errorf("took %v, want at most %v", with, limit)
			}
			s.settle(time.Minute)
			if slow := s.members[3]; slow.committed || slow.m != nil && slow.m.state < finished {
				t.Errorf("the parked member committed %v, state %v", slow.committed, slow.m.state)
			}
		})
	}
}

// TestNoNeedlessParking: loss and small differences are no reason.
func TestNoNeedlessParking(t *testing.T) {
	for _, loss := range []float64{0, 0.01, 0.05, 0.1} {
		s := newSim(t, 6, simnet.Link{Down: 125e6, DownQueue: 512 << 10, Loss: loss}, smallTree, func(c *OriginConfig) { c.Park = true })
		for i, m := range s.members {
			m.slow = time.Duration(1+7*i) * time.Millisecond
		}
		s.run(time.Minute)
		s.allDone()
	}
}
