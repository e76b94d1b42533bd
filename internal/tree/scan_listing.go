package tree

import (
	"time"

	"github.com/cespare/xxhash/v2"

	"makuo/internal/fsroot"
	"makuo/protocol"
)

// What a listing needs to be trusted. A directory that changes while it is read
// may give a name that was there all the time not at all: what replaces a file
// by rename takes a new place in the order that is read, and that may be one
// that was passed already. Such a file would be deleted on the members.
const (
	// listings is how often a directory is read at most.
	listings = 3
	// clockGrain is how far apart two changes may be and have the same change
	// time: a tick of the kernel's coarse clock, 10 ms at 100 Hz.
	clockGrain = 10 * time.Millisecond
)

// steady reads the names of a directory until it did not change meanwhile, and
// fills st with what it is then. quiet is false if it changed each time.
//
//  1. The change time is looked at before and after the listing, and must be
//     the same.
//  2. It must be older than clockGrain when the listing begins: a change during
//     the listing could not be seen otherwise. Else the clock is waited for, and
//     the directory read again; in a tree that was written just now only the
//     first directory waits.
//  3. Where the last two listings were not far enough apart for the clock, they
//     must agree.
func (s *scan) steady(d *fsroot.Dir, names *fsroot.Names, st *fsroot.Stat) (quiet bool, err error) {
	var last dirState
	for n := range listings {
		if n > 0 {
			time.Sleep(clockGrain)
			if err := s.ctx.Err(); err != nil {
				return false, err
			}
		}
		begin := time.Now()
		if *st, err = d.LstatSelf(); err != nil {
			return false, err
		}
		if err := d.ReadNames(names); err != nil {
			return false, err
		}
		if f := s.m.whileListed; f != nil {
			f(d)
		}
		after, err := d.LstatSelf()
		if err != nil {
			return false, err
		}
		now, then := dirStateOf(st), dirStateOf(&after)
		if now == then && settledAt(st, begin) {
			return true, nil
		}
		if now != then {
			last = dirState{}
			continue
		}
		now.names = hashNames(names)
		if now == last {
			return true, nil
		}
		last = now
	}
	return false, nil
}

// dirState is what two listings of an unchanged directory have in common.
type dirState struct {
	csec  int64
	cnsec uint32
	sec   int64
	nsec  uint32
	names uint64 // their hash; 0: not looked at
}

func dirStateOf(st *fsroot.Stat) dirState {
	return dirState{csec: st.CSec, cnsec: st.CNsec, sec: st.Sec, nsec: st.Nsec}
}

func hashNames(names *fsroot.Names) uint64 {
	d := xxhash.New()
	for i := range names.Len() {
		d.WriteString(names.Name(i))
		d.Write([]byte{0})
	}
	return d.Sum64()
}

// settledAt reports whether a change from begin on would give the directory
// another change time than st's.
func settledAt(st *fsroot.Stat, begin time.Time) bool {
	age := begin.Sub(time.Unix(st.CSec, int64(st.CNsec)))
	return age > clockGrain || age < -clockGrain
}

// list reads the names of a directory, which e is of, and reports whether they
// are all there and can all be carried.
func (s *scan) list(d *fsroot.Dir, path string, names *fsroot.Names, e *protocol.Entry) bool {
	complete := true
	var st fsroot.Stat
	quiet, err := s.steady(d, names, &st)
	switch {
	case err != nil:
		s.problem(path, false, "cannot be listed completely: %v; nothing is deleted in it on the members", cause(err))
		complete = false
	case !quiet:
		s.problem(path, false, "changed each of the %d times it was listed; nothing is deleted in it on the members: push again when it is quiet", listings)
		complete = false
	}
	if st.IsDir() {
		s.attributes(&st, e)
	}
	longest := protocol.MaxPath - len(path) - 1
	for i := range names.Len() {
		if name := names.Name(i); len(name) > longest || !protocol.ValidComponent(name) {
			complete = s.unlisted(path, name) && complete
		}
	}
	return complete
}
