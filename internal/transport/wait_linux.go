package transport

import (
	"time"

	"golang.org/x/sys/unix"
)

// preciseThread makes the calling thread's sleeps end on time instead of up to
// 50 microseconds late. The goroutine must be locked to the thread for good.
func preciseThread() {
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // without it sleeps are only less exact
}

// nanosleep sleeps for d or less: a signal ends it early.
func nanosleep(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&ts, nil)
}
