package transfer

import "time"

// Pacer spreads bytes over time at one rate for data, repair and control, in
// trains: what a train holds moves the instant at which the next is due.
//
// A train opens when it is due, or late, and takes what is asked for at that
// same instant, one packet or what [trainBytes] allows: packets that leave
// together cost far less than as many that leave one by one. What was missed by
// being late, up to maxDebt, is made up for by half the rate more.
type Pacer struct {
	rate   int64 // bytes a second
	due    time.Time
	opened time.Time     // the last train
	left   int64         // bytes it still takes
	debt   time.Duration // missed and not made up for yet
}

// maxDebt is longer than an operating system is late with a wake-up.
const maxDebt = 5 * time.Millisecond

// NewPacer returns a pacer of rate bytes a second (at least 1) that is due at
// once.
func NewPacer(rate int64, now time.Time) Pacer { return Pacer{rate: max(1, rate), due: now} }

// SetRate changes the rate for what is charged from here on.
func (p *Pacer) SetRate(rate int64) { p.rate = max(1, rate) }

// Rate returns the rate in bytes a second.
func (p *Pacer) Rate() int64 { return p.rate }

// Ready reports whether a packet may be sent now.
func (p *Pacer) Ready(now time.Time) bool {
	return !p.due.After(now) || p.left > 0 && now.Equal(p.opened)
}

// Due returns the earliest time at which a packet may be sent, that of the
// train that is open aside.
func (p *Pacer) Due() time.Time { return p.due }

// Charge accounts for a packet of the given number of bytes sent now.
func (p *Pacer) Charge(now time.Time, bytes int) {
	if !p.due.After(now) && !now.Equal(p.opened) {
		p.debt = min(p.debt+now.Sub(p.due), maxDebt)
		p.due, p.opened = now, now
		p.left = trainBytes(p.rate)
	}
	if p.left -= int64(bytes); p.left < int64(bytes) {
		p.left = 0 // no room for another of this size
	}
	cost := time.Duration(int64(bytes) * int64(time.Second) / p.rate)
	gain := min(cost/3, p.debt)
	p.debt -= gain
	p.due = p.due.Add(cost - gain)
}
