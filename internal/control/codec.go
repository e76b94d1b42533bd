package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"unicode/utf8"

	"makuo/protocol"
)

// AppendEvent appends the line for ev, "type" first, with its newline.
func AppendEvent(dst []byte, ev Event) ([]byte, error) {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(ev); err != nil {
		return dst, fmt.Errorf("writing the event %s: %w", ev.Kind(), err)
	}
	b := body.Bytes() // {...}\n
	dst = append(dst, `{"type":"`...)
	dst = append(dst, ev.Kind()...)
	dst = append(dst, '"')
	if len(b) > 3 {
		dst = append(dst, ',')
	}
	return append(dst, b[1:]...), nil
}

// ParseEvent reads one line of a stream. It returns nil without an error for a
// type that this version does not know.
func ParseEvent(line []byte) (Event, error) {
	var head struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(line, &head); err != nil {
		return nil, fmt.Errorf("event %.100q: %w", line, err)
	}
	ev := newEvent(head.Type)
	if ev == nil {
		return nil, nil
	}
	if err := json.Unmarshal(line, ev); err != nil {
		return nil, fmt.Errorf("event %.100q: %w", line, err)
	}
	return ev, nil
}

func newEvent(kind string) Event {
	for _, ev := range []Event{&Accepted{}, &Start{}, &Waiting{}, &Progress{}, &Path{}, &Problem{}, &Member{},
		&Decided{}, &Summary{}, &Failed{}} {
		if ev.Kind() == kind {
			return ev
		}
	}
	return nil
}

// DecodePushRequest reads the body of POST /v1/push: one JSON object without
// unknown fields, at most MaxRequest bytes, every value inside its limits. Its
// errors are *Error with CodeBadRequest.
func DecodePushRequest(r io.Reader) (*PushRequest, error) {
	body, err := io.ReadAll(io.LimitReader(r, MaxRequest+1))
	switch {
	case err != nil:
		return nil, badRequest("reading the request: %v", err)
	case len(body) > MaxRequest:
		return nil, badRequest("the request is longer than %d bytes", MaxRequest)
	case !utf8.Valid(body):
		return nil, badRequest(`the request is not UTF-8: write a byte NN of a name that is none as "\udcNN"`)
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	req := &PushRequest{}
	if err := dec.Decode(req); err != nil {
		return nil, badRequest("the request is not a push in JSON: %v", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, badRequest("there is something after the request's JSON object")
	}
	req.UID = -1
	if req.Module == "" {
		req.Module = DefaultModule
	}
	if err := req.check(); err != nil {
		return nil, err
	}
	return req, nil
}

func badRequest(format string, args ...any) error {
	return NewError(CodeBadRequest, fmt.Sprintf(format, args...))
}

// check refuses values out of range.
func (r *PushRequest) check() error {
	switch {
	case !protocol.ValidName(r.Module):
		return badRequest("module %q is no name", r.Module)
	case len(r.Paths) == 0:
		return badRequest(`no paths: "." is the whole module`)
	case len(r.Paths) > MaxPaths:
		return badRequest("%d paths; at most %d", len(r.Paths), MaxPaths)
	case len(r.Rules) > MaxRules:
		return badRequest("%d rules; at most %d", len(r.Rules), MaxRules)
	case len(r.Targets) > MaxTargets:
		return badRequest("%d targets; at most %d", len(r.Targets), MaxTargets)
	case r.Delete && !r.Recursive:
		return badRequest("delete works only with recursive")
	case r.MaxDelete != nil && *r.MaxDelete < 0:
		return badRequest("max_delete is %d; it must be 0 or more", *r.MaxDelete)
	case r.Expect < 0 || r.Expect > protocol.MaxRoster:
		return badRequest("expect is %d; it must be 0 to %d", r.Expect, protocol.MaxRoster)
	case r.Verbose < 0 || r.Verbose > 2:
		return badRequest("verbose is %d; it must be 0, 1 or 2", r.Verbose)
	case r.WaitSeconds != nil && !validSeconds(*r.WaitSeconds):
		return badRequest("wait_seconds is %v; it must be 0 to %d", *r.WaitSeconds, MaxSeconds)
	case !validSeconds(r.TimeoutSeconds) || r.TimeoutSeconds > 0 && r.TimeoutSeconds < 1:
		return badRequest("timeout_seconds is %v; it must be 0 (the daemon's default) or 1 to %d", r.TimeoutSeconds, MaxSeconds)
	}
	return r.checkLists()
}

func (r *PushRequest) checkLists() error {
	for _, p := range r.Paths {
		if !protocol.ValidPath(string(p)) {
			return badRequest("path %q is not a clean path relative to the base directory that may be pushed", p)
		}
	}
	for _, rule := range r.Rules {
		if p := string(rule.Pattern); p == "" || len(p) > MaxPattern || bytes.IndexByte([]byte(p), 0) >= 0 {
			return badRequest("pattern %.100q: must have 1 to %d bytes without NUL", p, MaxPattern)
		}
	}
	for _, t := range r.Targets {
		if !protocol.ValidName(t) {
			return badRequest("target %q is no name of a member", t)
		}
	}
	return nil
}

func validSeconds(s float64) bool { return !math.IsNaN(s) && s >= 0 && s <= MaxSeconds }
