// Package transfer multicasts blocks reliably: a Sender at the origin of a
// push, a Receiver at each of its members. Both are pure machines: every event
// comes with the time, and Poll says what to send and when to call again. They
// own no socket, file, goroutine or clock, and are not safe for use by several
// goroutines at once.
//
// A block is cut into symbols of one size for the whole stream; a Data packet
// carries one. The sender sends every symbol once, in order, and then parity
// symbols, as many as the member needs that lacks most: any k symbols make a
// block of k. Encoded bytes stay with the sender
// until every member in the stream has consumed the block; then its id is dead.
//
//	          Offer -> [ new data  ]                       [ gaps -> NAK, damped ]
//	Feedback -> NAK -> [ repairs   ] -> pacer -> Data ---> [ blocks -> Complete  ] -> Consumed
//	         -> window, round trip, rate                   [ Feedback <- Poll    ]
//
// What the sender may run ahead is bounded by its own window and by the room
// each member reports; what a receiver holds is bounded by its room and one
// block. A receiver always takes its oldest incomplete block, so that no state
// of full windows can lock the stream, provided that the upper layer consumes
// each complete block as soon as all blocks below it are complete.
//
// The code is described in cauchy.go, what is sent in repair in repair.go, and
// what is sent before anybody asks in proactive.go.
package transfer

import (
	"time"

	"makuo/protocol"
)

// MaxAhead is the largest number of block ids between the oldest that a member
// has not consumed and the newest: it bounds the book-keeping of both sides.
const MaxAhead = 4096

// packetOverhead is what a symbol costs on the wire beside its own bytes: the
// packet's other fields and 28 bytes of IPv4 and UDP header. All rates of this
// package count IP packets.
const packetOverhead = protocol.DataOverhead + ipUDP

const ipUDP = 28

// A train is what is sent back to back. It takes trainTime of the rate, and at
// slow rates up to longTrainTime as long as that is no more than longTrain: what
// every packet costs a processor falls with the length of the train, in the
// sender and in all receivers, and the smallest buffers of switches are ten
// times as large.
const (
	trainTime     = 250 * time.Microsecond
	longTrainTime = time.Millisecond
	longTrain     = 12 << 10 // bytes
)

// trainBytes returns how many bytes a train has at most at a rate in bytes a
// second; a single packet may always be sent.
func trainBytes(rate int64) int64 {
	of := func(d time.Duration) int64 { return int64(float64(rate) * d.Seconds()) }
	return max(of(trainTime), min(of(longTrainTime), longTrain))
}

// before reports whether sequence number a comes before b, across wrapping.
func before(a, b uint32) bool { return int32(a-b) < 0 }

// symbols returns the number of symbols of the given size in a block.
func symbols(length, size int) int { return (length + size - 1) / size }
