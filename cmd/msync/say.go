package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"makuo/internal/control"
)

// Kinds of what msync says by itself, as they begin a line for people and as
// the "type" of a JSON object.
const (
	kindError = "error"
	kindNote  = "note"
)

// codeUsage is the code of wrong use in an error's JSON object; the others are
// package control's.
const (
	codeUsage       = "usage"
	codeUnreachable = "unreachable" // no daemon was reached
	codeCut         = "cut"         // the stream ended without an end
	codeInterrupted = "interrupted"
	codeDecided     = "decided"
	codeLocal       = "local" // a path, file or directory on this host
)

// statement is an error or note of msync's own.
type statement struct {
	Type    string       `json:"type"`
	Code    string       `json:"code,omitempty"`
	Message control.Text `json:"message"`
	Exit    *int         `json:"exit,omitempty"`
	hint    string       // for people: a line of its own
}

// line is the statement as a JSON object, or as lines for people.
func (s *statement) line(asJSON bool) string {
	if asJSON {
		b, err := json.Marshal(s)
		if err == nil {
			return string(b)
		}
	}
	text := s.Type + ": " + clean(string(s.Message))
	if s.hint != "" {
		text += "\n" + s.hint
	}
	return text
}

// fail reports what kept msync from doing what it was asked, and returns the
// exit status.
func fail(stdout, stderr io.Writer, asJSON bool, err error) int {
	s, exit := describe(err)
	w := stderr
	if asJSON {
		w = stdout
	}
	fmt.Fprintln(w, s.line(asJSON))
	return exit
}

// describe turns an error into a statement and an exit status.
func describe(err error) (*statement, int) {
	s, exit := &statement{Type: kindError, Code: codeLocal, Message: control.Text(err.Error())}, control.ExitUsage
	var usage *usageError
	var unreached *control.ConnectError
	var refused *control.Error
	switch {
	case errors.As(err, &usage):
		s.Code, s.hint = codeUsage, "Try 'msync --help'."
	case errors.As(err, &unreached):
		s.Code = codeUnreachable
		s.Message += "; " + control.Text(connectHint(err))
	case errors.As(err, &refused):
		s.Code, exit = refused.Code, refused.ExitStatus()
	}
	s.Exit = &exit
	return s, exit
}
