// Package lab makes many hosts on one machine, for tests of whole daemons.
//
//	     switch (a network namespace, bridge br0, no snooping)
//	p0 /      p1 |        p2 \        ports: rate, buffer, segmentation
//	  |          |            |
//	eth0       eth0         eth0      hosts: own network, mount and UTS
//	 h0         h1           h2       namespace, own /run, own base
//
// Each host is held by one keeper process. A keeper ends when the test process
// closes its standard input, so even a test that is killed leaves no network
// and no mount behind: namespaces live no longer than the processes in them.
// Daemons are tied to the test process by the parent-death signal, and those
// that lost it by changing their user are swept by the next run.
//
// Everything a host has on disk lies in a tmpfs mounted inside its own mount
// namespace; the test reads it through /proc/PID/root (see [Host.Path]).
//
// The lab knows the daemons only by their command lines. It needs root, and the
// tools ip, tc, nft, ethtool, nsenter and unshare; without them tests skip.
package lab
