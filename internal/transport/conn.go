package transport

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"makuo/protocol"
)

// ErrUnreachable is returned by Probe when the host answers that nobody
// listens at the address.
var ErrUnreachable = errors.New("port unreachable")

// Conn is one member's connection to its cluster. All methods may be called
// from any goroutine.
type Conn interface {
	// Recv blocks until packets are there. The caller owns the result and
	// must release it. After Close the error is net.ErrClosed; there is no
	// other error.
	Recv() (*Inbound, error)

	// Arrivals returns what Recv waits for. Nothing comes after Close, which
	// does not close the channel.
	Arrivals() <-chan *Inbound

	// Send writes the checks into the train and sends its packets in order.
	// It may block while the link's queue is full. The train stays the
	// caller's. An error is a *SendError, or net.ErrClosed after Close.
	Send(*Train) error

	// Queued returns how many bytes of what was sent wait on this host for the
	// link, with what the kernel adds for its book-keeping; 0 where that is
	// not known.
	Queued() int

	// Local returns the address of the unicast socket: the source of all
	// packets that are sent, and what the beacon names.
	Local() netip.AddrPort

	// Group returns the multicast address of the cluster.
	Group() netip.AddrPort

	// Info tells how the connection was set up.
	Info() Info

	// Stats returns the counters since opening.
	Stats() Stats

	// Payload returns the largest UDP payload in use, in bytes, check
	// included.
	Payload() int

	// Probe asks whether the UDP port addr is open. It returns
	// ErrUnreachable if the host says that it is not, nil if nothing came
	// back within a short time, ctx's error when that ends first, and
	// otherwise what kept the question from being sent.
	Probe(ctx context.Context, addr netip.AddrPort) error

	// Close ends Recv and Send and waits for the connection's goroutines.
	Close() error
}

// Packet is one packet that arrived whole, for this cluster and from another
// session.
type Packet struct {
	From      netip.AddrPort
	Multicast bool            // came to the group
	Prefix    protocol.Prefix // as parsed from Data
	Data      []byte          // prefix and body, without the check; valid until the Inbound's Release
	At        time.Time       // when it was read
}

// Body returns the bytes behind the prefix.
func (p *Packet) Body() []byte { return p.Data[protocol.PrefixLen:] }

// maxBatch is the largest number of datagrams of one system call.
const maxBatch = 64

// Inbound is a batch of packets in the order of their arrival at one socket.
// There is at least one; with coalesced datagrams there may be hundreds. Sockets
// have a bounded number of them: who keeps many stops the reception.
type Inbound struct {
	Packets []Packet

	slab   []byte            // one slot a datagram
	spills []*spill          // what did not fit a slot
	back   func(in *Inbound) // takes it when it is released
	live   atomic.Bool
}

// newInbounds returns a pool of batches with room for maxBatch packets of slot
// bytes each.
func newInbounds(slot int) *sync.Pool {
	pool := &sync.Pool{}
	back := func(in *Inbound) { pool.Put(in) }
	pool.New = func() any {
		return &Inbound{Packets: make([]Packet, 0, maxBatch), slab: make([]byte, maxBatch*slot), back: back}
	}
	return pool
}

// takeInbound takes an empty batch out of the pool.
func takeInbound(pool *sync.Pool) *Inbound {
	in := pool.Get().(*Inbound)
	in.live.Store(true)
	return in
}

// Release gives the packets' memory back. Releasing twice panics.
func (in *Inbound) Release() {
	if !in.live.CompareAndSwap(true, false) {
		panic("transport: Inbound released twice")
	}
	in.Packets = in.Packets[:0]
	in.back(in)
}

// Info tells how a connection was set up.
type Info struct {
	Interface string // name
	Index     int    // of the interface when it was opened
	MTU       int    // of the interface, bytes
	TTL       int    // of multicast packets

	RecvAsked, RecvGot int // bytes of each socket's receive buffer
	SendAsked, SendGot int // bytes of the send buffer

	// Segmentation says that packets of equal size are handed to the kernel as
	// one piece, which the kernel or the device cuts (UDP_SEGMENT). It ends for
	// good when they refuse; Unsegmented, a *SegmentationError, then tells why.
	Segmentation bool
	Unsegmented  error

	// Coalescing says that the kernel may hand packets over in one piece, as
	// they were sent or as the device merged them (UDP_GRO).
	Coalescing bool

	Why       string       // this interface, in a few words
	Addresses []netip.Addr // all of the interface, when it was opened

	// Waiting is a sentence for people about what lacks while there is no
	// interface that can be used; else empty.
	Waiting string

	// Warning is a sentence for people when a buffer is smaller than asked
	// for, with what mends it; else empty.
	Warning string
}

// Stats counts what a connection did since it was opened. Every packet that
// was read is in exactly one of Packets and the fields below it up to
// Oversized.
type Stats struct {
	Packets uint64 // delivered
	Bytes   uint64 // of the delivered packets' payload, check included

	Probes    uint64 // empty packets: another member's Probe
	BadPrefix uint64 // of another program
	BadCheck  uint64 // damaged
	Foreign   uint64 // of another cluster
	Sealed    uint64 // sealed with a key, and there is none here
	Own       uint64 // of the own session
	Oversized uint64 // longer than the interface carries, cut off

	// Overflow counts datagrams lost because the receive buffer was full, where
	// the system tells it. Packets that were coalesced are lost together and
	// count as one: with Info.Coalescing it is the least that was lost.
	Overflow uint64

	ReadErrors  uint64 // failed reads of a socket
	Rejoins     uint64 // the group was joined again after the interface had gone
	SentPackets uint64
	SentBytes   uint64 // payload, check included
	Retries     uint64 // waits for a full device queue
}

// SendError tells that packets of a train could not be sent. The others were.
type SendError struct {
	Sent   int   // packets sent
	Bytes  int   // of UDP payload in them
	Failed int   // packets not sent
	Err    error // of the first packet that was not sent
}

// Error names what failed and why.
func (e *SendError) Error() string { return "send: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *SendError) Unwrap() error { return e.Err }
