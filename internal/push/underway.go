package push

import "time"

// underWay knows how far each stream was when each of the trains was given to
// the wire that are not out yet. A state message overtakes them: if it counted
// them as sent, the members would ask for what is still to come.
type underWay struct {
	trains []trainMark
	times  []time.Time // scratch
}

type trainMark struct {
	r               *run
	packets, blocks uint32
}

// add notes the train that was given to the wire last.
func (u *underWay) add(r *run) {
	u.trains = append(u.trains, trainMark{r, r.s.Packets(), r.s.Blocks()})
	r.trains++
}

// out takes note of the trains that have left.
func (u *underWay) out(w interface{ Departed([]time.Time) []time.Time }) {
	u.times = w.Departed(u.times[:0])
	n := min(len(u.times), len(u.trains))
	for i, t := range u.trains[:n] {
		t.r.packetsOut, t.r.blocksOut = t.packets, t.blocks
		t.r.trains--
		t.r.s.Departed(u.times[i], t.packets)
	}
	u.trains = append(u.trains[:0], u.trains[n:]...)
}
