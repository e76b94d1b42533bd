// Package membership finds the members of a cluster and knows which of them
// are there. It is a pure machine: it owns no goroutine, timer, socket or
// clock. Packets and the time go in; what to send, what happened and when to
// be called next come out. It knows nothing of pushes.
//
// How it works:
//
//  1. Every member multicasts a beacon at an interval of one second with
//     jitter, longer in large clusters so that all beacons together stay in a
//     budget. A beacon says how long at most until the next one, so silence
//     is judged by the sender's own interval.
//  2. A new member sends four beacons in its first second and a half; the
//     first two ask the others for theirs, which they send spread over time.
//  3. A member that was not heard for five and a half of its intervals is
//     missing. Any packet counts as heard, and before that it is asked
//     directly. One that says that it ends is away. Both stay in the table
//     until the member is heard again, another session takes its name, it is
//     forgotten by name, or the time for that has passed.
//  4. A beacon carries a digest of the member's details. The details
//     themselves are multicast once after a change, spread over time, and
//     asked for by those who did not get them.
//
// What it does not promise: that a packet comes from whom it says (sealing
// does that, below this package), and that two members see the same table at
// the same moment.
package membership
