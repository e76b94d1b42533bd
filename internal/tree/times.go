package tree

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"time"

	"makuo/internal/fsroot"
	"makuo/protocol"
)

// What times a file system can hold differs: ext4 those of 1901 to 2446 to the
// nanosecond, FAT those of 1980 to 2107 to two seconds. The kernel cuts off and
// takes the nearest. An entry is compared by what its time becomes here, so that
// unchanged stays unchanged. That is tried once for each module, on a file
// without a name, or where the file system has none, on one in the staging
// directory.

// timeRange is the times that a file system holds.
type timeRange struct {
	first, last int64 // seconds
	grain       int64 // nanoseconds
}

// held returns what a time becomes.
func (r *timeRange) held(sec int64, nsec uint32) (int64, uint32) {
	switch {
	case sec <= r.first: // the kernel drops the part of a second at both ends
		return r.first, 0
	case sec >= r.last:
		return r.last, 0
	}
	return floorTime(sec, nsec, r.grain)
}

// holds reports whether a time stays what it is, but for its fineness.
func (r *timeRange) holds(sec int64) bool { return r.first <= sec && sec <= r.last }

// Seconds between which every file system holds every time: FAT begins with
// 1980, and what has 31 bits ends in 2038.
const (
	alwaysFrom = 315619200
	alwaysTo   = math.MaxInt32 - 1
)

// What is as far from a coarser time as can be: odd seconds, and all of the next
// but a nanosecond.
const (
	probeSec  = 1_000_000_001
	probeNsec = 999_999_999
)

// probeTimes tries what times f holds.
func probeTimes(f *os.File) (*timeRange, error) {
	try := func(sec int64, nsec uint32) (st fsroot.Stat, err error) {
		if err = fsroot.UtimesFile(f, sec, nsec); err == nil {
			err = fsroot.StatFD(int(f.Fd()), &st)
		}
		return st, err
	}
	st, err := try(probeSec, probeNsec)
	if err != nil {
		return nil, err
	}
	r := &timeRange{grain: 1}
	lost := (probeSec-st.Sec)*1e9 + probeNsec - int64(st.Nsec)
	if lost > 0 {
		r.grain = lost + 1
	}
	if st, err = try(math.MinInt64, 0); err != nil {
		return nil, err
	}
	r.first = st.Sec
	if st, err = try(math.MaxInt64, 0); err != nil {
		return nil, err
	}
	r.last = st.Sec
	if r.first > alwaysFrom || r.last < alwaysTo || r.grain > 10e9 {
		return nil, fmt.Errorf("times wrap: %+v", *r)
	}
	return r, nil
}

// times returns what times the module's file system holds, nil if that is not
// known. It belongs to the goroutine that compares, and after it that of the
// commit.
func (h *holdable) times() *timeRange {
	m := h.t.m
	if r := m.times.Load(); r != nil || h.timesTried {
		return r
	}
	h.timesTried = true
	f, err := m.Root.Unnamed()
	if err == nil {
		defer f.Close()
		if r, err := probeTimes(f); err == nil {
			m.times.Store(r)
		}
	} else if !h.t.dry {
		if r := m.probeStage(); r != nil {
			m.times.Store(r)
		}
	}
	return m.times.Load()
}

// probeStage is probeTimes of a file in the staging directory. What a crash
// leaves of it is removed as what could not be removed is.
func (m *Module) probeStage() *timeRange {
	root, err := m.acquireStage()
	if err != nil {
		return nil // who stages says so
	}
	defer m.releaseStage()
	area, err := root.OpenDir(".")
	if err != nil {
		return nil
	}
	defer area.Close()
	name := rubbishPrefix + "times-" + strconv.FormatInt(time.Now().UnixNano(), 16)
	f, err := area.Create(name, 0o600)
	if err != nil {
		return nil
	}
	defer area.Remove(name)
	defer f.Close()
	r, err := probeTimes(f)
	if err != nil {
		return nil
	}
	return r
}

// sameTime reports whether st has the entry's mtime as far as the file system
// can hold it.
func (h *holdable) sameTime(e *protocol.Entry, st *fsroot.Stat) bool {
	if e.Sec == st.Sec && e.Nsec == st.Nsec {
		return true
	}
	if r := h.times(); r != nil {
		sec, nsec := r.held(e.Sec, e.Nsec)
		return sec == st.Sec && nsec == st.Nsec
	}
	return sameCoarse(e, st)
}

// tellTime warns, once in a push, that times can't be held here.
func (h *holdable) tellTime(e *protocol.Entry) {
	if e.Sec >= alwaysFrom && e.Sec <= alwaysTo || e.Type == protocol.EntryHardlink {
		return
	}
	r := h.times()
	if r == nil || r.holds(e.Sec) {
		return
	}
	h.t.warn("times", e.Path, fmt.Sprintf("modification time %s can't be held by the file system here, which knows %s to %s: this and others like it get the nearest",
		day(e.Sec), day(r.first), day(r.last)))
}

// day says a time by its day, or where that is too long by its seconds.
func day(sec int64) string {
	if t := time.Unix(sec, 0).UTC(); sec > -1<<40 && sec < 1<<40 && t.Year() >= 0 && t.Year() <= 9999 {
		return t.Format("2006-01-02")
	}
	return "@" + strconv.FormatInt(sec, 10)
}
