package transport

import (
	"runtime"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// haste is the nice value of threads that empty or fill a socket: what they do
// is little, and what they miss is lost, which costs far more.
const haste = -10

// preciseThread makes the calling thread's sleeps end on time instead of up to
// 50 microseconds late, and lets it run before others that want the processor,
// where the process may ask for that. The goroutine must be locked to the
// thread for good.
func preciseThread() {
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // without it sleeps are only less exact
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), haste)
}

// AllowHaste keeps the right to what preciseThread asks for when the process
// gives root's rights up.
func AllowHaste() {
	limit := unix.Rlimit{Cur: 20 - haste, Max: 20 - haste}
	_ = unix.Setrlimit(unix.RLIMIT_NICE, &limit)
}

// NappingThreads is how many threads of a connection with an [Outbox] are
// mostly asleep in nanosleep, each keeping a P of the runtime: the reader of a
// host that receives, the Outbox of one that sends.
const NappingThreads = 1

// nanosleep sleeps for d or less: a signal ends it early, such as that by which
// the runtime asks a thread to stop for the garbage collector.
//
// The runtime is not told, so the thread keeps its P. To give it up and fetch it
// again hundreds of times a second costs a receiver of a slow stream about a
// sixth of its processor time: each time that all are idle and one is not, the
// runtime's monitor wakes every 20 microseconds again.
//
// Where there are no more Ps than threads that may nap, what became ready
// meanwhile would wait in the queue of one of them: it goes first.
func nanosleep(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&ts)), 0, 0)
	if fewPs() {
		runtime.Gosched()
	}
}

// fewPs is asked once, after the program has made its settings.
var fewPs = sync.OnceValue(func() bool { return runtime.GOMAXPROCS(0) <= 2 })
