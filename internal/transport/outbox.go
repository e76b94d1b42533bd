package transport

import (
	"errors"
	"runtime"
	"sync"
	"time"
)

// Defaults of an Outbox's queues, in trains.
const (
	DefaultDataTrains    = 32
	DefaultControlTrains = 1024
)

// The wait for a data train's time. A runtime timer may be a millisecond late,
// so the last part is slept by the thread itself, in slices after each of
// which control trains are looked for.
const (
	timerCoarse = 1500 * time.Microsecond
	sleepSlice  = 250 * time.Microsecond
)

// Outbox is a bounded queue in front of a Conn with a thread of its own that
// sends control trains first and each data train no earlier than its time.
//
//  1. The owner fills data trains until Free is 0, then waits for Room.
//  2. The thread takes the oldest control train; without one, the oldest data
//     train whose time has come; without one, it waits.
//  3. Data trains also wait while more than backlogTime's worth of what was
//     sent has not left the host.
//  4. A failed send is counted and forgotten: packets may be lost anyway.
//
// Control trains wait for at most one send and one slice of sleep. The order
// of data trains is that of Enqueue, whatever their times say. All methods may
// be called from any goroutine.
type Outbox struct {
	conn Conn
	wake chan struct{} // to the thread: something changed; capacity 1
	room chan struct{} // to the owner; capacity 1
	done chan struct{} // closed when the thread has ended

	mu       sync.Mutex // guards all below
	control  trainRing
	data     trainRing
	stats    OutboxStats
	closed   bool
	backlog  backlog
	departed []time.Time // of data trains, until somebody asks
}

// OutboxStats counts what went through an Outbox.
type OutboxStats struct {
	Trains, Packets, Bytes uint64        // sent; bytes of UDP payload
	Dropped                uint64        // trains refused: the queue was full or closed
	Late                   time.Duration // the longest that a data train waited beyond its time
	Held                   uint64        // times that data waited for the link to take what it had
	Errors                 SendErrors    // packets
}

// OutboxConfig has the lengths of the queues in trains; 0 is the default.
type OutboxConfig struct {
	Data    int
	Control int
}

// NewOutbox starts an Outbox for conn. Close ends it.
func NewOutbox(conn Conn, cfg OutboxConfig) *Outbox {
	if cfg.Data <= 0 {
		cfg.Data = DefaultDataTrains
	}
	if cfg.Control <= 0 {
		cfg.Control = DefaultControlTrains
	}
	o := &Outbox{
		conn: conn, wake: make(chan struct{}, 1), room: make(chan struct{}, 1), done: make(chan struct{}),
		control: trainRing{slots: make([]*Train, cfg.Control)}, data: trainRing{slots: make([]*Train, cfg.Data)},
	}
	go o.run()
	return o
}

// Enqueue takes the train over. It returns false if the train was dropped and
// counted because its queue is full or the Outbox closed. An empty train is
// accepted and forgotten.
func (o *Outbox) Enqueue(t *Train) bool {
	if t.Packets() == 0 {
		t.Release()
		return true
	}
	o.mu.Lock()
	q := &o.control
	if t.Class == Data {
		q = &o.data
	}
	ok := !o.closed && q.n < len(q.slots)
	if ok {
		q.push(t)
	} else {
		o.stats.Dropped++
	}
	o.mu.Unlock()
	if !ok {
		t.Release()
		return false
	}
	signal(o.wake)
	return true
}

// Free returns how many data trains fit now.
func (o *Outbox) Free() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.data.slots) - o.data.n
}

// Departed appends to dst when data trains were given to the kernel, one time
// for each since the last call, in their order, and returns the result.
func (o *Outbox) Departed(dst []time.Time) []time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	dst = append(dst, o.departed...)
	o.departed = o.departed[:0]
	return dst
}

// Room returns the channel that gets a value when the data queue, having been
// filled beyond it, is down to half again, and when the last of it was sent. One
// value may be left from before.
func (o *Outbox) Room() <-chan struct{} { return o.room }

// Stats returns the counters.
func (o *Outbox) Stats() OutboxStats {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.stats
}

// Close drops what is queued and returns when the thread has ended; a send
// that blocks is ended by closing the Conn first. Closing again does nothing.
func (o *Outbox) Close() {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	signal(o.wake)
	<-o.done
}

// run is the thread. It ends when the Outbox is closed. The goroutine ends
// locked, so that the thread with its changed timer slack ends with it.
func (o *Outbox) run() {
	runtime.LockOSThread()
	preciseThread()
	defer close(o.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		t, wait, open := o.next(time.Now())
		switch {
		case !open:
			return
		case t != nil:
			o.send(t)
		case wait > timerCoarse:
			timer.Reset(wait - timerCoarse)
			select {
			case <-o.wake:
			case <-timer.C:
			}
		case wait > 0:
			nanosleep(min(wait, sleepSlice))
		default:
			<-o.wake
		}
	}
}

// next takes the train to send at now. Without one it returns how long the
// first data train has to wait, 0 if there is none. open is false once the
// Outbox is closed and empty.
func (o *Outbox) next(now time.Time) (t *Train, wait time.Duration, open bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		for o.control.n > 0 {
			o.control.pop().Release()
		}
		for o.data.n > 0 {
			o.data.pop().Release()
		}
		return nil, 0, false
	}
	if o.control.n > 0 {
		return o.control.pop(), 0, true
	}
	if o.data.n == 0 {
		return nil, 0, true
	}
	if at := o.data.first().At; !at.IsZero() {
		if wait := at.Sub(now); wait > 0 {
			return nil, wait, true
		}
		o.stats.Late = max(o.stats.Late, now.Sub(at))
	}
	if o.backlog.full(o.conn.Queued()) {
		o.stats.Held++
		return nil, sleepSlice, true
	}
	t = o.data.pop()
	if o.data.n == len(o.data.slots)/2 {
		signal(o.room)
	}
	return t, 0, true
}

// send sends a train and counts what became of it.
func (o *Outbox) send(t *Train) {
	packets, size, data := uint64(t.Packets()), uint64(t.Bytes()), t.Class == Data
	err := o.conn.Send(t)
	t.Release()
	o.mu.Lock()
	defer o.mu.Unlock()
	if data {
		now := time.Now()
		if o.departed = append(o.departed, now); o.data.n == 0 {
			signal(o.room)
		}
		o.backlog.sent(now, int(size))
	}
	if err == nil {
		o.stats.Trains++
		o.stats.Packets += packets
		o.stats.Bytes += size
		return
	}
	var part *SendError
	if !errors.As(err, &part) {
		o.stats.Errors.add(err, packets)
		return
	}
	o.stats.Errors.add(part.Err, uint64(part.Failed))
	o.stats.Packets += uint64(part.Sent)
	o.stats.Bytes += uint64(part.Bytes)
}

// signal puts a value into a channel of capacity 1 unless there is one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// trainRing is a bounded queue.
type trainRing struct {
	slots []*Train
	head  int
	n     int
}

func (r *trainRing) push(t *Train) {
	r.slots[(r.head+r.n)%len(r.slots)] = t
	r.n++
}

func (r *trainRing) first() *Train { return r.slots[r.head] }

func (r *trainRing) pop() *Train {
	t := r.slots[r.head]
	r.slots[r.head] = nil
	r.head = (r.head + 1) % len(r.slots)
	r.n--
	return t
}
