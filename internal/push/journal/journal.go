// Package journal does the disk work of a daemon's state: on one goroutine, in
// the order it was asked for, so that whoever asks never waits for a disk. What
// must be on disk before something else happens comes back as an event.
package journal

import (
	"sync"
	"time"
)

// Journal runs disk work in order on a goroutine of its own, which Close ends.
// Its methods may be called from any goroutine and never wait for the disk,
// except Close.
type Journal struct {
	post func(f func(now time.Time))
	done chan struct{} // closed when the goroutine has ended

	mu     sync.Mutex // guards the rest
	cond   sync.Cond
	jobs   []job
	closed bool
}

type job struct {
	write func() error
	then  func(now time.Time, err error)
}

// New starts a journal. post runs a function on the owner of what the journal
// reports to; it must not block, and may drop it when the owner has ended.
func New(post func(f func(now time.Time))) *Journal {
	j := &Journal{post: post, done: make(chan struct{})}
	j.cond.L = &j.mu
	go j.run()
	return j
}

// Do runs write on the journal's goroutine, after all that was given before,
// and then, unless it is nil, on the owner. After Close it does nothing.
func (j *Journal) Do(write func() error, then func(now time.Time, err error)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return
	}
	j.jobs = append(j.jobs, job{write, then})
	j.cond.Signal()
}

// Close ends the journal when all that was given before has been done.
func (j *Journal) Close() {
	j.mu.Lock()
	j.closed = true
	j.cond.Broadcast()
	j.mu.Unlock()
	<-j.done
}

func (j *Journal) run() {
	defer close(j.done)
	for {
		job, ok := j.take()
		if !ok {
			return
		}
		err := job.write()
		if job.then != nil {
			j.post(func(now time.Time) { job.then(now, err) })
		}
	}
}

func (j *Journal) take() (next job, ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for len(j.jobs) == 0 && !j.closed {
		j.cond.Wait()
	}
	if len(j.jobs) == 0 {
		return job{}, false
	}
	next, j.jobs[0] = j.jobs[0], job{}
	j.jobs = j.jobs[1:]
	return next, true
}
