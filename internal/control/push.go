package control

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// readTimeout bounds the reading of a push request's body.
const readTimeout = 30 * time.Second

// postPush runs a push and streams its events:
//
//  1. the request is read and checked; what is wrong with it is a 400;
//  2. the answer's head and Accepted go out at once;
//  3. the Backend's events follow, until Summary, or Failed made from its error.
//
// The connection's death ends the Backend's context, and so does DELETE
// /v1/pushes/ID; after the latter the stream goes on to its end.
func (s *Server) postPush(w http.ResponseWriter, r *http.Request) error {
	rc := http.NewResponseController(w)
	rc.SetReadDeadline(time.Now().Add(readTimeout)) // not supported: no limit
	req, err := DecodePushRequest(r.Body)
	if err != nil {
		return err
	}
	rc.SetReadDeadline(time.Time{})
	if c, ok := r.Context().Value(connKey{}).(net.Conn); ok {
		req.UID = peerUID(c)
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	run, err := s.admit(cancel)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)

	e := &emitter{server: s, run: run, stream: newStream(), cancel: cancel}
	e.emit(&Accepted{Request: run.names[0]})
	stop := context.AfterFunc(r.Context(), e.stream.abandon)
	defer stop()
	go func() { // ends when the Backend's Push returns
		defer e.stream.close()
		defer s.dismiss(run)
		e.finish(s.backend.Push(ctx, req, e.emit))
	}()
	if e.stream.write(w, rc.Flush) != nil {
		cancel()
	}
	<-run.done
	return nil
}

// admit gives a push request its name.
func (s *Server) admit(cancel context.CancelFunc) (*running, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return nil, NewError(CodeUnavailable, "makuod is stopping")
	}
	s.last++
	run := &running{cancel: cancel, names: []string{fmt.Sprintf("r%d", s.last)}, done: make(chan struct{})}
	s.running[run.names[0]] = run
	return run, nil
}

// dismiss forgets a push request that is over.
func (s *Server) dismiss(run *running) {
	s.mu.Lock()
	for _, name := range run.names {
		delete(s.running, name)
	}
	s.mu.Unlock()
	close(run.done)
}

// emitter turns one push's events into lines.
type emitter struct {
	server *Server
	run    *running
	stream *stream
	cancel context.CancelFunc

	mu    sync.Mutex // guards ended
	ended bool       // Summary or Failed is queued: nothing may follow
}

// emit is what the Backend calls.
func (e *emitter) emit(ev Event) {
	switch ev := ev.(type) {
	case *Start:
		e.server.named(e.run, ev.Push)
	case *Decided:
		e.server.decided(e.run)
	case *Summary:
		if ev.Text == "" {
			c := *ev
			c.Text = Text(c.Line())
			e.put(&c, true)
			return
		}
		e.put(ev, true)
		return
	case *Failed:
		e.put(ev, true)
		return
	}
	e.put(ev, false)
}

func (e *emitter) put(ev Event, last bool) {
	e.mu.Lock()
	ended := e.ended
	e.ended = ended || last
	e.mu.Unlock()
	if ended {
		return
	}
	line, err := AppendEvent(nil, ev)
	if err != nil { // a value that JSON has no form for, as a NaN
		line, _ = AppendEvent(nil, &Problem{Severity: SeverityWarning, Message: Text(err.Error())})
	}
	_, progress := ev.(*Progress)
	e.stream.put(line, progress)
}

// finish makes sure that the stream has an end.
func (e *emitter) finish(err error) {
	e.mu.Lock()
	ended := e.ended
	e.mu.Unlock()
	if ended {
		return
	}
	if err == nil {
		err = fmt.Errorf("the push ended without a summary")
	}
	f := asError(err)
	e.put(&Failed{Code: f.Code, Message: f.Message, Exit: f.ExitStatus()}, true)
}

func (s *Server) named(run *running, push string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if push != "" && s.running[push] == nil {
		run.names = append(run.names, push)
		s.running[push] = run
	}
}

func (s *Server) decided(run *running) {
	s.mu.Lock()
	run.decided = true
	s.mu.Unlock()
}
