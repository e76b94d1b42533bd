package transfer

import "time"

const departMarks = 1024 // trains: a quarter of a second of them

// departures remembers when packets left the host, which is later than when
// they were handed out as long as others wait before them.
type departures struct {
	marks [departMarks]departure
	n     int // ever made
}

type departure struct {
	next uint32 // sequence number: those below have left
	at   time.Time
}

func (d *departures) add(at time.Time, next uint32) {
	d.marks[d.n%departMarks] = departure{next, at}
	d.n++
}

// locate returns when the packet before next left, and false where that is not
// known.
func (d *departures) locate(next uint32) (time.Time, bool) {
	lo, hi := max(0, d.n-departMarks), d.n // the first mark not before next
	if lo == hi || lo > 0 && !before(d.marks[lo%departMarks].next, next) {
		return time.Time{}, false
	}
	for lo < hi {
		if mid := (lo + hi) / 2; before(d.marks[mid%departMarks].next, next) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == d.n {
		return time.Time{}, false
	}
	return d.marks[lo%departMarks].at, true
}

// Departed tells that all packets with sequence numbers below next have left
// the host by then. Without it they count as having left when Next gave them
// out.
func (s *Sender) Departed(at time.Time, next uint32) {
	if s.rate.departures == nil {
		s.rate.departures = new(departures)
	}
	s.rate.departures.add(at, next)
}
