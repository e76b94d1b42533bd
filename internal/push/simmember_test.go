package push

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"makuo/protocol"
	"makuo/transfer"
)

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
	if m.asleep {
		m.doze(from, data)
		return
	}
	switch p.Type {
	case protocol.TypeState:
		st, err := protocol.ParseState(body)
		if err != nil {
			return
		}
		if m.m == nil {
			r := transfer.NewReceiver(transfer.ReceiverConfig{Origin: p.Session, Stream: st.Stream, Seed: uint64(m.session), Payload: simPayload,
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
			pages(simLog{}, p.Session, &f, func(p *protocol.Page) { send1(m.host, from, m.session, protocol.TypePage, p) })
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
	if m.dead || m.asleep || m.m == nil {
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
	d := m.slow
	if m.slowFor > 0 && m.m.state == m.slowIn {
		d = m.slowFor
	}
	m.sim.net.At(m.sim.net.Now().Add(d), func() {
		if m.asleep {
			m.missed = append(m.missed, f)
		} else if !m.dead {
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
			m.m.Compared(now, b, n, binary.BigEndian.Uint32(content[4:]), uint32(m.sim.tree.entries), bits, bits, digest)
		})
	}
}

// doze takes a packet into the socket of a process that does not run.
func (m *simMember) doze(from netip.AddrPort, data []byte) {
	if m.bytes+len(data) <= simSocket {
		m.waiting = append(m.waiting, simPacket{from, append([]byte(nil), data...)})
		m.bytes += len(data)
	}
}

// sleep keeps the member's process from running for a while.
func (m *simMember) sleep(d time.Duration) {
	m.asleep = true
	m.sim.net.At(m.sim.net.Now().Add(d), func() {
		m.asleep = false
		missed, waiting, now := m.missed, m.waiting, m.sim.net.Now()
		m.missed, m.waiting, m.bytes = nil, nil, 0
		for _, f := range missed {
			f(now)
		}
		for _, p := range waiting {
			m.packet(now, p.from, false, p.data)
		}
		m.poll(now)
	})
}
