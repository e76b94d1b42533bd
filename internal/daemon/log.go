package daemon

import (
	"os"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"
)

// Level is the least severity that is logged; it can be changed while the
// daemon runs, by any goroutine.
type Level struct{ zap.AtomicLevel }

// NewLevel returns a level that starts at l.
func NewLevel(l zapcore.Level) Level { return Level{zap.NewAtomicLevelAt(l)} }

// More logs one severity more, down to debug, and returns the new level.
func (l Level) More() zapcore.Level { return l.shift(-1) }

// Less logs one severity less, up to error, and returns the new level.
func (l Level) Less() zapcore.Level { return l.shift(1) }

func (l Level) shift(by zapcore.Level) zapcore.Level {
	next := min(max(l.Level()+by, zapcore.DebugLevel), zapcore.ErrorLevel)
	l.SetLevel(next)
	return next
}

// NewLogger returns a logger that writes to f: lines for people when f is a
// terminal, JSON objects with UTC times otherwise. No event is left out.
func NewLogger(f *os.File, level Level) *zap.Logger {
	return newLogger(zapcore.Lock(f), isTerminal(f), level)
}

func newLogger(w zapcore.WriteSyncer, terminal bool, level Level) *zap.Logger {
	return zap.New(zapcore.NewCore(encoder(terminal), w, level),
		zap.ErrorOutput(w))
}

func encoder(terminal bool) zapcore.Encoder {
	c := zap.NewProductionEncoderConfig()
	c.EncodeDuration = zapcore.StringDurationEncoder
	if terminal {
		c.EncodeLevel = zapcore.CapitalColorLevelEncoder
		c.EncodeTime = zapcore.TimeEncoderOfLayout("2006-01-02 15:04:05.000")
		return zapcore.NewConsoleEncoder(c)
	}
	c.TimeKey = "time"
	c.EncodeTime = utcTime
	return zapcore.NewJSONEncoder(c)
}

// utcTime writes a time with microseconds, always of the same width.
func utcTime(t time.Time, enc zapcore.PrimitiveArrayEncoder) {
	enc.AppendString(t.UTC().Format("2006-01-02T15:04:05.000000Z"))
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
