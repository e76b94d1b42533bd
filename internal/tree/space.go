package tree

import (
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
}

func (b *spaceBook) add(made uint64, bytes uint64) {
	b.inodes++
	b.made += made
	b.bytes += (bytes + 4095) &^ 4095
}

// check fails if what is still to come does not fit. It asks the file system
// only if more is wanted than before.
func (b *spaceBook) check(t *Target) error {
	if t.dry && b.bytes == 0 || b.checked == [2]uint64{b.inodes, b.bytes} {
		return nil
	}
	b.checked = [2]uint64{b.inodes, b.bytes}
	sp, err := t.m.Root.Statfs()
	if err != nil {
		return fmt.Errorf("free space of %s: %w", t.m.Base(), err)
	}
	return b.fits(sp, uint64(t.stored.Load()), uint64(t.storedFiles.Load()))
}

// fits compares what is to come with what is free: stored bytes and files
// are part of what the file system counts as taken already.
func (b *spaceBook) fits(sp fsroot.Space, stored, files uint64) error {
	bytes := b.bytes - min(b.bytes, stored)
	reserve := min(reserveBytes, sp.AllBytes/reserveShare)
	if bytes > 0 && bytes+reserve > sp.Bytes {
		return fmt.Errorf("no space: %d KiB are wanted, %d KiB are free and %d KiB are kept in reserve", (bytes+1023)>>10, sp.Bytes>>10, reserve>>10)
	}
	inodes := b.inodes - min(b.inodes, b.made+files)
	if sp.AllInodes > 0 && inodes > 0 && inodes+min(reserveInodes, sp.AllInodes/reserveShare) > sp.Inodes {
		return fmt.Errorf("no inodes: %d are wanted, %d are free", inodes, sp.Inodes)
	}
	return nil
}
