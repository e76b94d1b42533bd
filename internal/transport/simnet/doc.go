// Package simnet is a network in simulated time for machines that take events
// and the time as arguments: a thousand hosts run in one goroutine, and the
// same seed gives the same run.
//
// The network is a star. A packet waits in its sender's uplink queue, takes
// its length over the uplink's rate, the network's delay, and is then copied
// to its receivers; at each it may be lost, doubled, damaged or held back, and
// waits in the downlink's queue:
//
//	host --uplink: rate, queue--> switch --downlink: loss, queue, rate, delay--> host
//	                                     --downlink-->                           host
//
// A packet's bytes are held once, whatever the number of receivers. Nothing
// here may be called by two goroutines at the same time.
package simnet
