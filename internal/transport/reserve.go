package transport

import "sync/atomic"

// reserve hands out up to a fixed number of things. It makes each when it is
// first needed and keeps it: its memory never grows beyond that.
type reserve[T any] struct {
	free chan T
	left atomic.Int32 // may still be made
	new  func() T
}

func newReserve[T any](most int, new func() T) *reserve[T] {
	r := &reserve[T]{free: make(chan T, most), new: new}
	r.left.Store(int32(most))
	return r
}

// try returns a thing if there is one.
func (r *reserve[T]) try() (T, bool) {
	select {
	case v := <-r.free:
		return v, true
	default:
	}
	if r.left.Add(-1) >= 0 {
		return r.new(), true
	}
	r.left.Add(1)
	var none T
	return none, false
}

// take waits for a thing, until done is closed.
func (r *reserve[T]) take(done <-chan struct{}) (T, bool) {
	if v, ok := r.try(); ok {
		return v, true
	}
	select {
	case v := <-r.free:
		return v, true
	case <-done:
		var none T
		return none, false
	}
}

// put gives a thing back that was handed out.
func (r *reserve[T]) put(v T) { r.free <- v }
