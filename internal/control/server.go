package control

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Server answers the local API from a Backend. All methods may be called from
// any goroutine.
type Server struct {
	backend Backend
	http    *http.Server

	mu      sync.Mutex // guards what follows
	last    uint64     // number of the last push request
	running map[string]*running
	closing bool
}

// running is a push request that is being answered, in Server.running under
// its request's name and, once that is known, its push's.
type running struct {
	cancel  context.CancelFunc
	names   []string
	decided bool
	done    chan struct{} // closed when Backend.Push has returned
}

// NewServer returns a server that answers from backend.
func NewServer(backend Backend) *Server {
	s := &Server{backend: backend, running: make(map[string]*running)}
	s.http = &http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    64 << 10,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c)
		},
	}
	return s
}

type connKey struct{}

// Serve answers connections of l until Shutdown, and then returns nil. It may
// be called for several listeners.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Shutdown closes the listeners, cancels all pushes, lets them report their
// ends, and waits for that until ctx ends; then it cuts the connections.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	for _, r := range s.running {
		if !r.decided { // one that is may come to its end in time
			r.cancel()
		}
	}
	s.mu.Unlock()
	err := s.http.Shutdown(ctx)
	if err != nil {
		s.http.Close()
	}
	return err
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	handle := func(method, pattern string, h func(http.ResponseWriter, *http.Request) error) {
		mux.HandleFunc(method+" "+pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := h(w, r); err != nil {
				writeError(w, asError(err))
			}
		})
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", method)
			writeError(w, NewError(CodeMethod, r.URL.Path+" takes "+method+", not "+r.Method))
		})
	}
	handle("GET", "/v1/status", s.getStatus)
	handle("GET", "/v1/members", s.getMembers)
	handle("DELETE", "/v1/members/{name}", s.deleteMember)
	handle("GET", "/v1/pushes", s.getPushes)
	handle("DELETE", "/v1/pushes/{id}", s.deletePush)
	handle("POST", "/v1/push", s.postPush)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeError(w, NewError(CodeNotFound, "there is no "+r.URL.Path+" here"))
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := refuseBrowsers(r); err != nil {
			writeError(w, err)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// refuseBrowsers keeps web pages from using what forwards to the socket: a
// browser sends Origin with what a page posts, and a page that has its own name
// pointed at 127.0.0.1 is seen by Host, which browsers never leave out.
func refuseBrowsers(r *http.Request) *Error {
	if r.Header.Get("Origin") != "" {
		return NewError(CodeForbidden, "requests of web pages are refused")
	}
	host := r.Host
	if host == "" {
		return nil
	}
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	if host != "localhost" && (err != nil || !addr.IsLoopback()) {
		return NewError(CodeForbidden, "the request's Host is "+strconv.Quote(host)+": only localhost and loopback addresses are answered, so ask for http://localhost"+r.URL.Path)
	}
	return nil
}

func writeError(w http.ResponseWriter, e *Error) { writeJSON(w, e.status(), e) }

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.Encode(v) // an error is the client's death
}

func (s *Server) status(r *http.Request) (*Status, error) {
	st, err := s.backend.Status(r.Context())
	if err != nil {
		return nil, err
	}
	c := *st
	if c.Members == nil {
		c.Members = []MemberStatus{}
	}
	if c.Pushes == nil {
		c.Pushes = []PushStatus{}
	}
	if c.Warnings == nil {
		c.Warnings = []string{}
	}
	return &c, nil
}

func (s *Server) getStatus(w http.ResponseWriter, r *http.Request) error {
	st, err := s.status(r)
	if err == nil {
		writeJSON(w, http.StatusOK, st)
	}
	return err
}

func (s *Server) getMembers(w http.ResponseWriter, r *http.Request) error {
	st, err := s.status(r)
	if err == nil {
		writeJSON(w, http.StatusOK, Members{Members: st.Members, Total: len(st.Members)})
	}
	return err
}

func (s *Server) getPushes(w http.ResponseWriter, r *http.Request) error {
	st, err := s.status(r)
	if err == nil {
		writeJSON(w, http.StatusOK, Pushes{Pushes: st.Pushes})
	}
	return err
}

func (s *Server) deleteMember(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	err := s.backend.Forget(r.Context(), name)
	if errors.Is(err, ErrNotFound) {
		return NewError(CodeNotFound, "no member "+strconv.Quote(name)+" is known")
	}
	if err == nil {
		writeJSON(w, http.StatusOK, struct {
			Forgotten string `json:"forgotten"`
		}{name})
	}
	return err
}

// deletePush cancels a push that was asked for at this daemon. Its answer
// comes at once; how the push ends is told on the stream.
func (s *Server) deletePush(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	s.mu.Lock()
	p := s.running[id]
	s.mu.Unlock()
	if p == nil {
		return NewError(CodeNotFound, "no push "+strconv.Quote(id)+" was asked for here or it is over")
	}
	p.cancel()
	writeJSON(w, http.StatusAccepted, struct {
		Cancelling string `json:"cancelling"`
	}{id})
	return nil
}
