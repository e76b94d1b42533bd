package transport

import (
	"encoding/binary"
	"sync"

	"golang.org/x/net/bpf"

	"makuo/protocol"
)

// gate judges what arrives and holds the counters of a connection.
type gate struct {
	cluster uint32
	session protocol.Session

	mu    sync.Mutex // guards stats
	stats Stats
}

// judge returns the prefix of a packet and the packet without its check if it
// is to be delivered. It counts it in s, which the caller adds up later, so
// that a batch costs one lock.
func (g *gate) judge(s *Stats, raw []byte, truncated bool) (protocol.Prefix, []byte, bool) {
	if len(raw) == 0 {
		s.Probes++
		return protocol.Prefix{}, nil, false
	}
	p, _, err := protocol.ParsePrefix(raw)
	switch {
	case err != nil:
		s.BadPrefix++
	case p.Session == g.session:
		s.Own++
	case p.Cluster != g.cluster:
		s.Foreign++
	case truncated:
		s.Oversized++
	case p.Key != 0:
		s.Sealed++
	default:
		data, err := protocol.OpenCheck(raw)
		if err != nil {
			s.BadCheck++
			break
		}
		s.Packets++
		s.Bytes += uint64(len(raw))
		return p, data, true
	}
	return protocol.Prefix{}, nil, false
}

// count adds s to the connection's counters.
func (g *gate) count(s *Stats) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := &g.stats
	t.Packets += s.Packets
	t.Bytes += s.Bytes
	t.Probes += s.Probes
	t.BadPrefix += s.BadPrefix
	t.BadCheck += s.BadCheck
	t.Foreign += s.Foreign
	t.Sealed += s.Sealed
	t.Own += s.Own
	t.Oversized += s.Oversized
	t.Overflow += s.Overflow
	t.ReadErrors += s.ReadErrors
	t.Rejoins += s.Rejoins
	t.SentPackets += s.SentPackets
	t.SentBytes += s.SentBytes
	t.Retries += s.Retries
}

func (g *gate) snapshot() Stats {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.stats
}

// udpHeader is what stands before the payload in the eyes of a UDP socket's
// filter.
const udpHeader = 8

// sessionOffset is where protocol.Prefix has the sender's session.
const sessionOffset = 12

// ownFilter is a socket filter that drops the packets of a session in the
// kernel: what a member multicasts comes back to it, and must cost nothing.
// Packets too short to hold a session pass; the gate counts them.
func ownFilter(session protocol.Session) ([]bpf.RawInstruction, error) {
	var id [8]byte
	binary.BigEndian.PutUint64(id[:], uint64(session))
	const accept = 1 << 18 // more than any packet: nothing is cut off
	return bpf.Assemble([]bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtLen},
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: udpHeader + protocol.PrefixLen, SkipTrue: 5},
		bpf.LoadAbsolute{Off: udpHeader + sessionOffset, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(id[:4]), SkipTrue: 3},
		bpf.LoadAbsolute{Off: udpHeader + sessionOffset + 4, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(id[4:]), SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.RetConstant{Val: accept},
	})
}
