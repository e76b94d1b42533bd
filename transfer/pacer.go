package transfer

import "time"

// Pacer spreads bytes evenly over time at one rate for data, repair and control.
//
// It keeps the instant at which the next packet is due. A packet moves it on
// by its own duration at the rate; at most one train is made up for at once,
// so that no more than max(one packet, rate x 250 microseconds) goes back to
// back however late it is asked. What else was missed, up to maxDebt, is made
// up for by half the rate more.
type Pacer struct {
	rate int64 // bytes a second
	due  time.Time
	debt time.Duration // missed and not made up for yet
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
func (p *Pacer) Ready(now time.Time) bool { return !p.due.After(now) }

// Due returns the earliest time at which a packet may be sent.
func (p *Pacer) Due() time.Time { return p.due }

// Charge accounts for a packet of the given number of bytes sent now.
func (p *Pacer) Charge(now time.Time, bytes int) {
	cost := time.Duration(int64(bytes) * int64(time.Second) / p.rate)
	train := trainTime
	if p.debt > 0 {
		// At one and a half times the rate a train takes two thirds of the time;
		// a packet less, because the debt may begin within one.
		gain := min(cost/3, p.debt)
		p.debt -= gain
		cost -= gain
		train -= train/3 + cost
	}
	if earliest := now.Add(-max(0, train-cost)); p.due.Before(earliest) {
		p.debt = min(p.debt+earliest.Sub(p.due), maxDebt)
		p.due = earliest
	}
	p.due = p.due.Add(cost)
}
