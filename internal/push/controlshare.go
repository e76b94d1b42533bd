package push

import (
	"time"

	"makuo/protocol"
	"makuo/transfer"
)

// State messages repeat what every member has to know, and a roster makes them
// long. At a low rate they would take all of it: with 60 members and 0.1 Mbit/s
// 40 a second of 350 bytes are more than there is. So they are spread until they
// take no more than a share of the rate; members learn the interval from them
// and stretch their own repetitions.
const (
	controlShare = 4               // state messages take at most this part of the rate: a quarter
	maxStateGap  = 2 * time.Second // and are never farther apart for that: silence must stay a sign
)

// stateGap is the least time between two state messages at the present rate.
func (o *Origin) stateGap() time.Duration {
	rate := o.s.Rate()
	if rate <= 0 {
		return maxStateGap
	}
	gap := time.Duration(int64(o.stateBytes) * controlShare * int64(time.Second) / rate)
	return min(gap, maxStateGap)
}

// stateSize returns the bytes of a state message as an IP packet.
func (o *Origin) stateSize(st *protocol.State) int {
	o.scratch = st.Append(o.scratch[:0])
	return transfer.PacketBytes(protocol.PrefixLen + len(o.scratch) + protocol.CheckLen)
}
