package control

import (
	"io"
	"sync"
)

// maxQueued is how many bytes of events wait for a slow client before emit
// blocks. The lines of a push without -v are far below it.
const maxQueued = 4 << 20

// stream carries a push's events from emit to the client. The writer takes
// what has gathered since its last write, so that events are written at once
// when they are rare and in large pieces when they are many.
type stream struct {
	mu     sync.Mutex // guards all fields; never held while writing to the client
	change sync.Cond
	queue  []byte
	closed bool // nothing more is queued
	broken bool // the client is gone: what comes is dropped
}

func newStream() *stream {
	s := &stream{}
	s.change.L = &s.mu
	return s
}

// put queues one line. It blocks while the queue is full, except for lines
// that may be dropped: these are dropped when the client has fallen behind.
func (s *stream) put(line []byte, mayDrop bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if mayDrop && len(s.queue) > maxQueued/64 {
		return
	}
	for len(s.queue) >= maxQueued && !s.broken {
		s.change.Wait()
	}
	if s.broken || s.closed {
		return
	}
	s.queue = append(s.queue, line...)
	s.change.Broadcast()
}

// close ends the stream: write returns when all that is queued is written.
func (s *stream) close() {
	s.mu.Lock()
	s.closed = true
	s.change.Broadcast()
	s.mu.Unlock()
}

// abandon says that the client is gone: emit never blocks again.
func (s *stream) abandon() {
	s.mu.Lock()
	s.broken = true
	s.queue = nil
	s.change.Broadcast()
	s.mu.Unlock()
}

// write writes lines to w until the stream is closed and empty, abandoned, or
// a write fails; it calls flush after each write.
func (s *stream) write(w io.Writer, flush func() error) error {
	for {
		b := s.take()
		if b == nil {
			return nil
		}
		_, err := w.Write(b)
		if err == nil {
			err = flush()
		}
		if err != nil {
			s.abandon()
			return err
		}
	}
}

// take waits for lines; nil is the end.
func (s *stream) take() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queue) == 0 && !s.closed && !s.broken {
		s.change.Wait()
	}
	if len(s.queue) == 0 {
		return nil
	}
	b := s.queue
	s.queue = nil
	s.change.Broadcast()
	return b
}
