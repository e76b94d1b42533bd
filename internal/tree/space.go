package tree

import (
	"fmt"

	"makuo/internal/fsroot"
)

// What a push leaves free: a full disk hurts more than a failed push.
const (
	reserveBytes  = 16 << 20
	reserveInodes = 64
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
	if bytes > 0 && bytes+reserveBytes > sp.Bytes {
		return fmt.Errorf("no space: %d MiB are wanted, %d MiB are free and %d MiB are kept in reserve", bytes>>20, sp.Bytes>>20, reserveBytes>>20)
	}
	inodes := b.inodes - min(b.inodes, b.made+files)
	if sp.AllInodes > 0 && inodes > 0 && inodes+reserveInodes > sp.Inodes {
		return fmt.Errorf("no inodes: %d are wanted, %d are free", inodes, sp.Inodes)
	}
	return nil
}
