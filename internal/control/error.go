package control

import (
	"context"
	"errors"
	"net/http"
)

// Codes of an Error.
const (
	CodeBadRequest  = "bad_request" // 400
	CodeForbidden   = "forbidden"   // 403: the daemon is not allowed to, --no-send
	CodeNotFound    = "not_found"   // 404
	CodeMethod      = "method"      // 405
	CodeConflict    = "conflict"    // 409: not in this state
	CodeUnavailable = "unavailable" // 503: the daemon is starting or stopping
	CodeInternal    = "internal"    // 500
	CodeAborted     = "aborted"     // a push that was cancelled; nothing changed anywhere
)

// Error is an answer that is not a success, as JSON {"error": ..., "code": ...}.
type Error struct {
	Code    string `json:"code"`
	Message Text   `json:"error"`
	// Exit is msync's exit status if it is not 0; else it follows from Code.
	Exit int `json:"exit,omitempty"`
}

// Error returns the message.
func (e *Error) Error() string { return string(e.Message) }

// ErrNotFound is what Backend.Forget returns, or wraps, for an unknown name.
var ErrNotFound = errors.New("not found")

// NewError returns an *Error; Code is one of the Code constants.
func NewError(code, message string) *Error { return &Error{Code: code, Message: Text(message)} }

// status is the HTTP status that goes with the code.
func (e *Error) status() int {
	switch e.Code {
	case CodeBadRequest:
		return http.StatusBadRequest
	case CodeForbidden:
		return http.StatusForbidden
	case CodeNotFound:
		return http.StatusNotFound
	case CodeMethod:
		return http.StatusMethodNotAllowed
	case CodeConflict:
		return http.StatusConflict
	case CodeUnavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// ExitStatus is msync's exit status for a push or question that ended with e.
func (e *Error) ExitStatus() int {
	switch {
	case e.Exit > 0 && e.Exit <= maxExitValue:
		return e.Exit
	case e.Code == CodeAborted:
		return ExitAborted
	case e.Code == CodeInternal:
		return ExitPartial
	}
	return ExitUsage
}

// asError gives any error of a Backend a code.
func asError(err error) *Error {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, ErrNotFound):
		return NewError(CodeNotFound, err.Error())
	case errors.Is(err, context.Canceled):
		return NewError(CodeAborted, "aborted: nothing was changed anywhere")
	}
	return NewError(CodeInternal, err.Error())
}
