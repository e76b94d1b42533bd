package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"makuo/internal/control"
)

// environment is what run needs from the process.
type environment struct {
	getenv  func(string) string
	getwd   func() (string, error)
	signals <-chan os.Signal
	width   func() int // of the terminal at stderr; 0: it is none
	now     func() time.Time
	zone    *time.Location // for times that are shown
	open    func(name string) (io.ReadCloser, error)
}

// run is msync: it returns the exit status.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer, env *environment) int {
	if len(args) == 0 {
		io.WriteString(stderr, usage())
		return control.ExitUsage
	}
	o, err := parse(args)
	if err != nil {
		return fail(stdout, stderr, wantsJSON(args), err)
	}
	switch o.mode {
	case modeHelp:
		return write(stdout, stderr, usage())
	case modeVersion:
		return write(stdout, stderr, "msync (makuo) "+control.Version+"\n")
	}
	if o.target == "" {
		o.target = env.getenv("MSYNC_TARGET")
	}
	client, err := control.NewClient(o.target)
	if err != nil {
		return fail(stdout, stderr, o.json, err)
	}
	defer client.Close()
	if o.mode == modePush {
		return push(o, client, stdin, stdout, stderr, env)
	}
	ctx, stop := interruptible(env.signals)
	defer stop()
	text, err := question(ctx, o, client, env)
	if err != nil {
		return fail(stdout, stderr, o.json, err)
	}
	return write(stdout, stderr, text)
}

// wantsJSON looks for --json on a command line that could not be read.
func wantsJSON(args []string) bool {
	for _, a := range args {
		if a == "--json" {
			return true
		}
		if a == "--" {
			break
		}
	}
	return false
}

// interruptible returns a context that the first signal ends.
func interruptible(signals <-chan os.Signal) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() { // ends with the context
		select {
		case <-signals:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// write writes an answer; a reader that has gone away is no failure.
func write(stdout, stderr io.Writer, text string) int {
	if _, err := io.WriteString(stdout, text); err != nil && !errors.Is(err, syscall.EPIPE) {
		fmt.Fprintf(stderr, "error: writing the output: %s\n", clean(err.Error()))
		return control.ExitUsage
	}
	return control.ExitOK
}

// connectHint says what to do when no daemon was reached.
func connectHint(err error) string {
	var ce *control.ConnectError
	switch {
	case !errors.As(err, &ce):
		return ""
	case errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EPERM):
		return "this user may not use the socket: its owner and group (ls -l) may, and root; makuod --socket-group GROUP lets a group in"
	}
	return "is makuod running? Start it with 'makuod -b DIR', or name its socket with -c, --socket or MSYNC_TARGET"
}
