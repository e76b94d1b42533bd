package control

import (
	"context"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// fake is a Backend whose push is a function of the test.
type fake struct {
	push func(ctx context.Context, req *PushRequest, emit func(Event)) error

	mu     sync.Mutex
	forgot []string
	fail   error
}

var fakeTime = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func (f *fake) Status(context.Context) (*Status, error) {
	if f.fail != nil {
		return nil, f.fail
	}
	return &Status{Version: "1", Name: "src", Base: "/srv/\xff", Started: fakeTime, Members: []MemberStatus{
		{Name: "dst", Addr: "10.0.0.2", State: StateMissing, Since: fakeTime},
		{Name: "src", Addr: "10.0.0.1", State: StateAlive, Self: true},
	}}, nil
}

func (f *fake) Forget(_ context.Context, name string) error {
	switch name {
	case "dst":
		f.mu.Lock()
		defer f.mu.Unlock()
		f.forgot = append(f.forgot, name)
		return nil
	case "src":
		return NewError(CodeConflict, "src is there")
	}
	return ErrNotFound
}

func (f *fake) Push(ctx context.Context, req *PushRequest, emit func(Event)) error {
	return f.push(ctx, req, emit)
}

// serve runs a server over a unix socket for the length of the test.
func serve(t *testing.T, b Backend) (*Server, *Client) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(path, SocketOptions{UID: -1, GID: -1})
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(b)
	serveOn(t, s, l)
	c, err := NewClient("unix:" + path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return s, c
}

func serveOn(t *testing.T, s *Server, l net.Listener) {
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
