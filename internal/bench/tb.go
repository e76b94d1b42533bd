//go:build linux

package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
)

// shell stands in for a test, so that package lab can be used from a program.
// What ends a test ends the part of the program inside its guard.
type shell struct {
	testing.TB // the rest of the interface: not used by package lab
	out        io.Writer
	failed     bool
	cleanups   []func()
}

// stopped is what a failing part panics with, and guard recovers.
type stopped struct{ text string }

// guard runs f and returns as an error what would have ended a test.
func guard(f func()) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case stopped:
			err = fmt.Errorf("%s", strings.TrimSpace(p.text))
		default:
			panic(p)
		}
	}()
	f()
	return nil
}

func (s *shell) Helper()          {}
func (s *shell) Name() string     { return "bench" }
func (s *shell) Failed() bool     { return s.failed }
func (s *shell) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }

// Logf is for a test's own story: here the table tells it.
func (s *shell) Logf(string, ...any) {}

func (s *shell) Errorf(format string, args ...any) {
	s.failed = true
	fmt.Fprintf(s.out, "! "+format+"\n", args...)
}

func (s *shell) Fatalf(format string, args ...any) {
	s.failed = true
	panic(stopped{fmt.Sprintf(format, args...)})
}

func (s *shell) Fatal(args ...any) {
	s.failed = true
	panic(stopped{fmt.Sprintln(args...)})
}

func (s *shell) Skipf(format string, args ...any) { panic(stopped{fmt.Sprintf(format, args...)}) }

func (s *shell) TempDir() string {
	dir, err := os.MkdirTemp("", "makuo-bench-")
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// close runs the cleanups, the last first, each even if another fails.
func (s *shell) close() {
	for _, f := range slices.Backward(s.cleanups) {
		if err := guard(f); err != nil {
			fmt.Fprintf(s.out, "! taking down: %v\n", err)
		}
	}
	s.cleanups = nil
}
