package transport

import (
	"net/netip"
	"sync"
	"time"

	"makuo/protocol"
)

// Class tells how the Outbox treats a train.
type Class uint8

// The classes. Control trains go first and at once; data trains keep their
// order and wait for their time.
const (
	Control Class = iota
	Data
)

// Limits of a train: what one segmented send can carry.
const (
	MaxTrainPackets = 64
	MaxTrainBytes   = 65507 // largest UDP payload over IPv4
)

// Train is a run of packets to one destination that is sent in one go. Packets
// lie back to back, each with room for its check, so that sealing moves
// nothing and equal packets can be sent by one segmented send:
//
//	| packet 0 | check | packet 1 | check | packet 2 | check | ...
//	                   ^ ends[0]          ^ ends[1]
//
// A train has one owner at a time. It comes from NewTrain, is filled with
// Append or Message, and goes to Outbox.Enqueue, which takes it over, or to
// Conn.Send and then Release.
type Train struct {
	Dst   netip.AddrPort // zero: the group
	At    time.Time      // data: not before this time; zero: at once
	Class Class

	buf  []byte
	ends []int
	live bool
}

// smallTrain is the memory of a new control train: one packet of ordinary size.
const smallTrain = 2048

var smallTrains = sync.Pool{New: func() any {
	return &Train{buf: make([]byte, 0, smallTrain), ends: make([]int, 0, 4)}
}}

var largeTrains = sync.Pool{New: func() any {
	return &Train{buf: make([]byte, 0, MaxTrainBytes+1), ends: make([]int, 0, MaxTrainPackets)}
}}

// NewTrain returns an empty train to dst (zero: the group) from a pool. Control
// trains have memory for one packet at first, data trains for the largest
// train; both grow as needed.
func NewTrain(dst netip.AddrPort, class Class) *Train {
	pool := &smallTrains
	if class == Data {
		pool = &largeTrains
	}
	t := pool.Get().(*Train)
	t.Dst, t.Class, t.At, t.live = dst, class, time.Time{}, true
	return t
}

// Append adds one packet: f appends prefix and body to its argument, which
// holds the packets before, and returns the result. Room for the check is
// added here. It panics if f appends no prefix.
func (t *Train) Append(f func(dst []byte) []byte) {
	n := len(t.buf)
	t.close(n, f(t.buf))
}

// Message adds one packet made of a prefix and a message of package protocol.
func (t *Train) Message(p protocol.Prefix, m interface{ Append([]byte) []byte }) {
	n := len(t.buf)
	t.close(n, m.Append(p.Append(t.buf)))
}

func (t *Train) close(before int, b []byte) {
	if len(b) < before+protocol.PrefixLen {
		panic("transport: packet without prefix added to a train")
	}
	t.buf = append(b, 0, 0, 0, 0)
	t.ends = append(t.ends, len(t.buf))
}

// Packets returns the number of packets.
func (t *Train) Packets() int { return len(t.ends) }

// Bytes returns the bytes of UDP payload, checks included.
func (t *Train) Bytes() int { return len(t.buf) }

// Fits reports whether a further packet of n bytes of UDP payload, check
// included, keeps the train within its limits.
func (t *Train) Fits(n int) bool {
	return len(t.ends) < MaxTrainPackets && len(t.buf)+n <= MaxTrainBytes
}

// Packet returns the i-th packet as it stands in the train, check included. The
// check is valid after Send.
func (t *Train) Packet(i int) []byte {
	start := 0
	if i > 0 {
		start = t.ends[i-1]
	}
	return t.buf[start:t.ends[i]:t.ends[i]]
}

// run is a part of a train that is one message to the kernel: packets of equal
// size, back to back, of which the last may be shorter.
type run struct {
	data    []byte
	packets int
	size    int // of every packet but the last, bytes
}

// run returns the longest run that starts with packet i. Packets longer than
// segment bytes are alone; with a segment of 0 all are.
func (t *Train) run(i, segment int) run {
	p := t.Packet(i)
	start := t.ends[i] - len(p)
	r := run{packets: 1, size: len(p)}
	for j := i + 1; r.size <= segment && j < len(t.ends) && r.packets < MaxTrainPackets; j++ {
		size := t.ends[j] - t.ends[j-1]
		if size > r.size || t.ends[j]-start > MaxTrainBytes {
			break
		}
		r.packets++
		if size < r.size {
			break
		}
	}
	r.data = t.buf[start:t.ends[i+r.packets-1]]
	return r
}

// seal writes every packet's check.
func (t *Train) seal() {
	for i := range t.ends {
		p := t.Packet(i)
		protocol.AppendCheck(p[:len(p)-protocol.CheckLen]) // in place: the room is there
	}
}

// Release gives the memory back. Releasing twice panics.
func (t *Train) Release() {
	if !t.live {
		panic("transport: Train released twice")
	}
	t.live = false
	t.buf, t.ends = t.buf[:0], t.ends[:0]
	if cap(t.buf) > MaxTrainBytes {
		largeTrains.Put(t)
		return
	}
	smallTrains.Put(t)
}
