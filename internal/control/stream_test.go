package control

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestStreamDropsProgressOfSlowClients(t *testing.T) {
	s := newStream()
	line := []byte(strings.Repeat("x", maxQueued/64+1))
	s.put(line, true)
	s.put([]byte("dropped"), true)
	s.put([]byte("kept"), false)
	s.close()
	s.put([]byte("after the end"), false)
	var out bytes.Buffer
	flushed := 0
	if err := s.write(&out, func() error { flushed++; return nil }); err != nil || flushed != 1 {
		t.Errorf("%d flushes, %v", flushed, err)
	}
	if out.String() != string(line)+"kept" {
		t.Errorf("%d bytes: ...%s", out.Len(), out.String()[len(line):])
	}
}

func TestStreamBoundsItsQueue(t *testing.T) {
	s := newStream()
	s.put(make([]byte, maxQueued), false)
	through := make(chan struct{})
	go func() {
		s.put([]byte("one more"), false)
		close(through)
	}()
	if n := len(s.take()); n != maxQueued {
		t.Errorf("%d bytes", n)
	}
	<-through
	if got := s.take(); string(got) != "one more" {
		t.Errorf("%q", got)
	}
}

type deadWriter struct{}

func (deadWriter) Write([]byte) (int, error) { return 0, errors.New("gone") }

func TestStreamOfADeadClientNeverBlocks(t *testing.T) {
	s := newStream()
	s.put([]byte("x"), false)
	if s.write(deadWriter{}, nil) == nil {
		t.Error("no error")
	}
	for range 10 {
		s.put(make([]byte, maxQueued), false)
	}
	if s.take() != nil {
		t.Error("something was kept")
	}
}
