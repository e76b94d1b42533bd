// Package transport carries packets between members: UDP sockets for multicast
// and unicast with batched system calls, a queue that releases packet trains
// at their time, and an in-memory network behind the same seam.
//
// What is common to every packet is dealt with here, so that the layers above
// see only what is meant for them: the check is computed and verified, packets
// of other programs, of other clusters and of the own session are dropped and
// counted. What a packet says is not looked at.
//
// The way of a packet:
//
//	owner's loop -> Train -> Outbox (own thread: order, time) -> Conn.Send (check, sendmmsg)
//	reader goroutine of each socket (recvmmsg, check) -> Inbound -> Conn.Recv -> owner's loop
//
// Where the kernel can, packets of equal size go through it in one piece, which
// the device or the last link cuts, and come in in one piece, as they were sent
// or merged by the device: it is the kernel's work per piece that costs most.
package transport
