package fsroot

import (
	"time"

	"golang.org/x/sys/unix"
)

// FileClock returns the time that a file changed now would get at the
// earliest, in nanoseconds since 1970: the kernel takes times of files from a
// clock that moves with its ticks, or from a finer one that is never behind.
func FileClock() int64 {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &t) != nil {
		return 0
	}
	return t.Nano()
}

// ClockOffset returns how far the clock is ahead of the time since the start of
// the machine: it shrinks when the clock is set back.
func ClockOffset() time.Duration {
	var real, boot unix.Timespec
	if unix.ClockGettime(unix.CLOCK_REALTIME, &real) != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) != nil {
		return 0
	}
	return time.Duration(real.Nano() - boot.Nano())
}

// sysCtimeMoves knows the local file systems that set a file's change time,
// from this machine's clock, when its attributes, its links or its name change.
func sysCtimeMoves(fd int) bool {
	var s unix.Statfs_t
	if retry(func() error { return unix.Fstatfs(fd, &s) }) != nil {
		return false
	}
	switch uint32(s.Type) {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC, unix.TMPFS_MAGIC:
		return true
	}
	return false
}
