// Makuod is the daemon that runs on every server of a fleet: it finds the
// others, and makes directory trees the same on all of them when msync asks.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"go.uber.org/zap"

	"makuo/internal/control"
	"makuo/internal/daemon"
)

// Exit statuses.
const (
	exitOK     = 0
	exitUsage  = 1 // the command line or the environment is wrong; also another signal to stop, a second or more after the first
	exitFailed = 2 // the daemon could not start, or could not go on
)

func main() {
	os.Exit(run(os.Args[1:], readEnvironment(os.Environ()), os.Stdout, os.Stderr))
}

// run is the whole program: it returns the exit status. args are without the
// program's name.
func run(args []string, env environment, stdout io.Writer, stderr *os.File) int {
	cfg, err := configure(args, env)
	switch {
	case errors.Is(err, errHelp):
		fmt.Fprint(stdout, helpText())
		return exitOK
	case errors.Is(err, errVersion):
		fmt.Fprintln(stdout, "makuod", control.Version)
		return exitOK
	case err == nil:
		err = cfg.CheckNames()
	}
	if err != nil {
		return complain(stderr, err)
	}
	level := daemon.NewLevel(cfg.LogLevel)
	log := daemon.NewLogger(stderr, level)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	signals := &daemon.Signals{Stop: stop, Exit: os.Exit, Level: level, Log: log}
	defer signals.Watch()()
	if err := daemon.Run(ctx, cfg, log); err != nil {
		log.Error("makuod ends", zap.Error(err))
		return exitFailed
	}
	return exitOK
}

// complain prints each sentence of err and how to get help.
func complain(w io.Writer, err error) int {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintln(w, "makuod:", line)
	}
	fmt.Fprintln(w, "makuod --help lists all options.")
	return exitUsage
}
