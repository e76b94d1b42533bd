// Package integration tests whole daemons on real sockets and real trees, in
// network namespaces: delivery under loss, what msync prints, members that are
// killed, stopped, cut off or full, origins that die, pushes that meet.
//
// The tests know makuod and msync by their command lines only, and judge trees
// by rsync and by a comparison of their own. They need root and the tools that
// package lab names; what works without root, daemons on the loopback
// interface, is tested by everybody.
//
// Sizes are small by default; MAKUO_FULL=1 takes the full ones, MAKUO_RACE=1
// builds the daemons with the race detector, MAKUO_SEEDS=N sets the number of
// rounds in which a member is killed at any moment.
package integration
