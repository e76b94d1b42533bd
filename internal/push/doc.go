// Package push runs pushes: the origin's side, which makes a tree the same on
// a roster of members, and the member's side.
//
// Origin and Member are pure machines: every event is a method call that
// carries the time, and Poll says what to send, what to do and when to be
// called again. Manager is the shell around them: it owns the machines of one
// daemon, runs scans, reads, compares, stages and commits on goroutines of
// their own, and hands their results back to the machines. All entry points
// of Manager are called by one owner, the daemon's loop.
//
// The origin's phases (on the wire) and what moves it on:
//
//	lock ──all locked──▶ stream ──all sent──▶ flush ──all staged──▶ commit ──all done──▶ end
//	 │ ▲                    │                    │
//	 ▼ │ (older push ends)  ├──── abort ◀────────┘   (before the decision only)
//	yield                   ▼
//	                      abort
//
// The member's states:
//
//	learn ─header─▶ lock ─granted─▶ stream ─all stored─▶ stage ─▶ staged ─commit─▶ commit ─▶ done
//	                                   │                            │  ▲
//	                                   ▼                     silence▼  │decision known
//	                                 failed                     undecided
package push
