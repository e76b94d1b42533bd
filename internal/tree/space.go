package tree

import (
	"errors"
	"fmt"

	"makuo/internal/fsroot"
)

// What a push leaves free at most: a full disk hurts more than a failed push.
// Of a small file system it is a share.
const (
	reserveBytes  = 16 << 20
	reserveInodes = 64
	reserveShare  = 64 // one part of so many
)

// spaceBook adds up what the member wants and will have to hold beside what it
// has: old files go only after the new ones are complete.
type spaceBook struct {
	inodes  uint64
	bytes   uint64    // of content that comes, rounded up to blocks
	made    uint64    // of inodes: already there
	checked [2]uint64 // inodes, bytes at the last check
	credit  uint64    // nodes that may be made without looking again
}

func (b *spaceBook) add(made uint64, bytes uint64) {
	b.inodes++
	b.made += made
	b.bytes += (bytes + 4095) &^ 4095
}

// nodesAtOnce is for how many nodes one look at the free space is good, if there
// is room for so many.
const nodesAtOnce = 256

// errFull marks that space or inodes ran out.
var errFull = errors.New("no space")

// node notes an inode that is made at once, and fails before it is made if
// there is no room.
func (b *spaceBook) node(t *Target) error {
	if b.credit == 0 {
		sp, err := b.look(t, 1)
		if err != nil {
			return err
		}
		b.credit = b.room(sp, uint64(t.stored.Load()), uint64(t.storedFiles.Load()))
	} else {
		b.credit--
	}
	b.add(1, 0)
	return nil
}

// room returns how many nodes more, of a block each, there is room for, at most
// nodesAtOnce.
func (b *spaceBook) room(sp fsroot.Space, stored, files uint64) uint64 {
	for n := uint64(nodesAtOnce); n > 1; n /= 2 {
		more := *b
		more.inodes += n + 1
		more.bytes += n * 4096
		if more.fits(sp, stored, files) == nil {
			return n
		}
	}
	return 0
}

// check fails if what is still to come does not fit. It asks the file system
// only if more is wanted than before.
func (b *spaceBook) check(t *Target) error {
	if t.checks() || b.checked == [2]uint64{b.inodes, b.bytes} {
		return nil
	}
	b.checked = [2]uint64{b.inodes, b.bytes}
	_, err := b.look(t, 0)
	return err
}

// look asks the file system whether everything fits, with nodes more. Leftovers
// give way first, the oldest before the others, but not to a dry run.
func (b *spaceBook) look(t *Target, nodes uint64) (fsroot.Space, error) {
	for {
		sp, err := t.m.Root.Statfs()
		if err != nil {
			return sp, memberError{fmt.Errorf("free space of %s: %w", t.m.Base(), err)}
		}
		more := *b
		more.inodes += nodes
		full := more.fits(sp, uint64(t.stored.Load()), uint64(t.storedFiles.Load()))
		if full == nil {
			return sp, nil
		}
		if !t.dry {
			if dropped, err := t.m.dropOldest(); err != nil {
				return sp, memberError{join(full, err)}
			} else if dropped {
				continue
			}
		}
		t.full.Store(true)
		return sp, memberError{full}
	}
}

// fits compares what is to come with what is free: stored bytes and files
// are part of what the file system counts as taken already.
func (b *spaceBook) fits(sp fsroot.Space, stored, files uint64) error {
	bytes := b.bytes - min(b.bytes, stored)
	reserve := min(reserveBytes, sp.AllBytes/reserveShare)
	if sp.AllBytes > 0 && bytes > 0 && bytes+reserve > sp.Bytes { // 0: the file system does not say
		return fmt.Errorf("%w: %d KiB are wanted, %d KiB are free and %d KiB are kept in reserve", errFull, (bytes+1023)>>10, sp.Bytes>>10, reserve>>10)
	}
	inodes := b.inodes - min(b.inodes, b.made+files)
	if sp.AllInodes > 0 && inodes > 0 && inodes+min(reserveInodes, sp.AllInodes/reserveShare) > sp.Inodes {
		return fmt.Errorf("no inodes: %d are wanted, %d are free", inodes, sp.Inodes)
	}
	return nil
}

// noteFull returns err, and remembers if it is about space: nothing of the push
// is kept then.
func (t *Target) noteFull(err error) error {
	if isFullErrno(err) {
		t.full.Store(true)
	}
	return err
}

// atPath says at which path an error of the member met it, and what ran out.
func (t *Target) atPath(path string, err error) error {
	if isFullErrno(t.noteFull(err)) {
		what := "no space is left"
		if sp, serr := t.m.Root.Statfs(); serr == nil && sp.AllInodes > 0 && sp.Inodes == 0 {
			what = "no inodes are left"
		}
		err = fmt.Errorf("%s on the file system of %s: %w", what, t.m.Base(), err)
	}
	var at atPath
	if errors.As(err, &at) {
		return err
	}
	return memberError{atPath{fmt.Errorf("%s: %w", path, err)}}
}

// atPath is an error that has its path.
type atPath struct{ error }

func (e atPath) Unwrap() error { return e.error }
