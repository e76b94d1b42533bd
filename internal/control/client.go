package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Client talks to one daemon. All methods may be called from any goroutine.
type Client struct {
	target string // "unix:PATH"
	http   *http.Client
}

// ConnectError says that no daemon was reached.
type ConnectError struct {
	Target string // "unix:PATH"
	Err    error
}

// Error says what was tried and why it failed.
func (e *ConnectError) Error() string {
	err := e.Err
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	var sys *os.SyscallError
	if errors.As(err, &sys) {
		err = sys.Err
	}
	return fmt.Sprintf("cannot reach makuod at %s: %v", e.Target, err)
}

// Unwrap returns the cause.
func (e *ConnectError) Unwrap() error { return e.Err }

// ErrCut is wrapped by Push's error when the stream broke off before its end.
var ErrCut = errors.New("the connection to makuod was cut")

// NewClient returns a client for target: "unix:PATH", a path,
// or "" for ClientSocket. Nothing is connected yet.
func NewClient(target string) (*Client, error) {
	if target == "" {
		target = ClientSocket()
	}
	network, address, err := splitTarget(target)
	if err != nil {
		return nil, err
	}
	c := &Client{target: network + ":" + address}
	c.http = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx, network, address) },
		Proxy:       nil,
	}}
	return c, nil
}

func splitTarget(target string) (network, address string, err error) {
	if strings.HasPrefix(target, "tcp:") {
		return "", "", fmt.Errorf("target %q: makuod listens at a Unix socket only: run msync on the member itself, by ssh for example", target)
	}
	path := strings.TrimPrefix(target, "unix:")
	if path == "" {
		return "", "", fmt.Errorf("target %q names no socket", target)
	}
	if !filepath.IsAbs(path) {
		if path, err = filepath.Abs(path); err != nil {
			return "", "", fmt.Errorf("target %q: %w", target, err)
		}
	}
	return "unix", path, nil
}

func (c *Client) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if dir := filepath.Dir(address); network == "unix" && dir == privateDir(os.Geteuid()) {
		if err := checkPrivateDir(dir, os.Geteuid()); err != nil {
			return nil, &ConnectError{Target: c.target, Err: err}
		}
	}
	d := net.Dialer{Timeout: 5 * time.Second}
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, &ConnectError{Target: c.target, Err: err}
	}
	return conn, nil
}

// Target returns what the client connects to, "unix:PATH".
func (c *Client) Target() string { return c.target }

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status asks for the daemon's status. raw, if not nil, gets the JSON.
func (c *Client) Status(ctx context.Context, raw *[]byte) (*Status, error) {
	st := &Status{}
	return st, c.ask(ctx, "GET", "/v1/status", st, raw)
}

// Members asks for the member table. raw, if not nil, gets the JSON.
func (c *Client) Members(ctx context.Context, raw *[]byte) (*Members, error) {
	m := &Members{}
	return m, c.ask(ctx, "GET", "/v1/members", m, raw)
}

// Forget drops a missing member from the table. raw, if not nil, gets the JSON.
func (c *Client) Forget(ctx context.Context, name string, raw *[]byte) error {
	return c.ask(ctx, "DELETE", "/v1/members/"+url.PathEscape(name), &struct{}{}, raw)
}

// Cancel aborts a push by the name in its Accepted or Start. It returns when
// the daemon has heard it; if the push is decided, it ends the waiting for it.
func (c *Client) Cancel(ctx context.Context, id string) error {
	return c.ask(ctx, "DELETE", "/v1/pushes/"+url.PathEscape(id), &struct{}{}, nil)
}

// ask sends a request without a body and decodes the answer. Errors are
// *ConnectError, *Error, or of the connection.
func (c *Client) ask(ctx context.Context, method, path string, answer any, raw *[]byte) error {
	resp, err := c.do(ctx, method, path, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil {
		err = json.Unmarshal(body, answer)
	}
	if err != nil {
		return fmt.Errorf("reading the answer of makuod at %s: %w", c.target, err)
	}
	if raw != nil {
		*raw = body
	}
	return nil
}

func (c *Client) do(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://localhost"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var ce *ConnectError
		if errors.As(err, &ce) {
			return nil, ce
		}
		return nil, fmt.Errorf("asking makuod at %s: %w", c.target, errors.Unwrap(err))
	}
	if resp.StatusCode/100 != 2 {
		defer resp.Body.Close()
		return nil, readError(resp)
	}
	return resp, nil
}

func readError(resp *http.Response) error {
	e := &Error{}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err := json.Unmarshal(body, e); err != nil || e.Message == "" {
		return NewError(CodeInternal, fmt.Sprintf("makuod answered %s", resp.Status))
	}
	return e
}

// Line is one line of a push's stream.
type Line struct {
	Raw   []byte // with its newline; the receiver may keep it
	Event Event  // nil: of a type that this version does not know
}

// Push runs a push and calls each with every line, in order, from this
// goroutine. It returns nil after the stream's end, Summary or Failed; else an
// error: *ConnectError, *Error (the request was refused, nothing was done), or
// one that wraps ErrCut. The end of ctx cuts the connection, which aborts the
// push if it is not decided.
func (c *Client) Push(ctx context.Context, r *PushRequest, each func(Line)) error {
	body, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("writing the request: %w", err)
	}
	resp, err := c.do(ctx, "POST", "/v1/push", body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	in := bufio.NewReaderSize(resp.Body, 64<<10)
	for {
		raw, err := in.ReadBytes('\n')
		if err != nil {
			return fmt.Errorf("%w before the end of the push: %w", ErrCut, err)
		}
		ev, err := ParseEvent(raw)
		if err != nil {
			return fmt.Errorf("%w: it sent what is no event: %w", ErrCut, err)
		}
		each(Line{Raw: raw, Event: ev})
		switch ev.(type) {
		case *Summary, *Failed:
			return nil
		}
	}
}
