package daemon

import (
	"os"
	"os/signal"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// Signals acts on what the operator sends to the daemon:
//
//	SIGTERM, SIGINT  stop; one that comes a second or more later exits at once
//	                 with status 1
//	SIGUSR1          log more
//	SIGUSR2          log less
//	SIGHUP           nothing, with a word in the log: there is nothing to reload
//	SIGPIPE          nothing: a log reader that went away must not end the daemon
type Signals struct {
	// Stop is called at the first SIGTERM or SIGINT.
	Stop func()
	// Exit is called at one of these a second later with the exit status 1; os.Exit.
	Exit  func(status int)
	Level Level
	Log   *zap.Logger

	stopping time.Time // since when; zero: not
}

// sameStop is how long a signal to stop counts as the one before: service
// managers, and shells with their whole process group, send it twice.
const sameStop = time.Second

// Watch starts to act on signals, in a goroutine that ends when the returned
// function is called. Signals have their usual effect after that.
func (s *Signals) Watch() (end func()) {
	signal.Ignore(syscall.SIGPIPE)
	in := make(chan os.Signal, 8)
	signal.Notify(in, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for sig := range in {
			s.handle(time.Now(), sig)
		}
	}()
	return func() {
		signal.Stop(in)
		close(in)
		<-done
	}
}

func (s *Signals) handle(now time.Time, sig os.Signal) {
	switch sig {
	case syscall.SIGTERM, syscall.SIGINT:
		s.terminate(now, sig)
	case syscall.SIGUSR1:
		s.Log.Info("logging more", zap.Stringer("level", s.Level.More()))
	case syscall.SIGUSR2:
		s.Log.Info("logging less", zap.Stringer("level", s.Level.Less()))
	case syscall.SIGHUP:
		s.Log.Info("SIGHUP has no effect: there is no configuration to read again, restart the daemon to change it")
	}
}

func (s *Signals) terminate(now time.Time, sig os.Signal) {
	if !s.stopping.IsZero() {
		if now.Sub(s.stopping) < sameStop {
			return
		}
		s.Log.Error("another signal to stop: exiting at once, whatever is under way", zap.Stringer("signal", sig))
		s.Exit(1)
		return
	}
	s.stopping = now
	s.Log.Info("stopping; another signal, after a second or more, exits at once", zap.Stringer("signal", sig))
	s.Stop()
}
