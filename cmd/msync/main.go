// Command msync makes a directory tree the same on all members at once, by way
// of the makuod of this host. docs/msync.md is its manual.
package main

import (
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	// SIGPIPE must not end msync in the middle of a push: writes fail instead.
	signal.Ignore(syscall.SIGPIPE)
	signals := make(chan os.Signal, 4)
	for _, sig := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(sig) { // nohup, and jobs in the background of a script
			signal.Notify(signals, sig)
		}
	}
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, &environment{
		getenv: os.Getenv, getwd: physicalDir, signals: signals, width: stderrWidth, now: time.Now, zone: time.Local,
		open: func(name string) (io.ReadCloser, error) { return os.Open(name) },
	}))
}

// physicalDir is the current directory without symbolic links.
func physicalDir() (string, error) { return unix.Getwd() }

// stderrWidth is the width of the terminal at standard error, 0 if there is
// none.
func stderrWidth() int {
	ws, err := unix.IoctlGetWinsize(int(os.Stderr.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	if ws.Col == 0 { // a terminal that does not tell
		return 80
	}
	return int(ws.Col)
}
