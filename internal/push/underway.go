package push

// underWay knows how far each stream was when each of the trains was given to
// the wire that are not out yet. A state message overtakes them: if it counted
// them as sent, the members would ask for what is still to come.
type underWay struct{ trains []trainMark }

type trainMark struct {
	r               *run
	packets, blocks uint32
}

// add notes the train that was given to the wire last.
func (u *underWay) add(r *run) {
	u.trains = append(u.trains, trainMark{r, r.s.Packets(), r.s.Blocks()})
	r.trains++
}

// out says that all trains but the newest few are out.
func (u *underWay) out(waiting int) {
	n := len(u.trains) - waiting
	if n <= 0 {
		return
	}
	for _, t := range u.trains[:n] {
		t.r.packetsOut, t.r.blocksOut = t.packets, t.blocks
		t.r.trains--
	}
	u.trains = append(u.trains[:0], u.trains[n:]...)
}
