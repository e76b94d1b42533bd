package tree

import (
	"fmt"
	"io"
	"os"
)

// memoryLog is how much of a log is kept in memory.
const memoryLog = 1 << 20

// pageLog is an append-only byte log: in memory at first, in an unlinked file
// once it is long. Its owner guards it.
type pageLog struct {
	mem    []byte
	f      *os.File
	inFile int64 // bytes; the rest is in mem
	size   int64
	err    error // the file could not be written: the log ends there
}

func (l *pageLog) add(b []byte) {
	if l.err != nil {
		return
	}
	if l.f == nil && len(l.mem)+len(b) <= memoryLog {
		l.mem = append(l.mem, b...)
		l.size += int64(len(b))
		return
	}
	if l.err = l.spill(b); l.err == nil {
		l.size += int64(len(b))
	}
}

func (l *pageLog) spill(b []byte) error {
	if l.f == nil {
		f, err := os.CreateTemp("", "makuo-log-*")
		if err != nil {
			return fmt.Errorf("log of a push: %w", err)
		}
		if err := os.Remove(f.Name()); err != nil {
			f.Close()
			return fmt.Errorf("log of a push: %w", err)
		}
		l.f = f
	}
	l.mem = append(l.mem, b...)
	// The tail stays in memory until it is worth a write.
	if len(l.mem) < memoryLog {
		return nil
	}
	return l.flush()
}

// truncate drops what was added after the log had size bytes.
func (l *pageLog) truncate(size int64) {
	switch {
	case size >= l.size:
	case size >= l.inFile:
		l.mem, l.size = l.mem[:size-l.inFile], size
	default:
		l.mem, l.inFile, l.size = l.mem[:0], size, size
	}
}

func (l *pageLog) flush() error {
	if _, err := l.f.WriteAt(l.mem, l.inFile); err != nil {
		return fmt.Errorf("log of a push: %w", err)
	}
	l.inFile += int64(len(l.mem))
	l.mem = l.mem[:0]
	return nil
}

// readAt is io.ReaderAt over file and memory.
func (l *pageLog) readAt(p []byte, off int64) (n int, err error) {
	if off < l.inFile {
		n, err = l.f.ReadAt(p[:min(int64(len(p)), l.inFile-off)], off)
		if err != nil && err != io.EOF {
			return n, err
		}
	}
	if at := off + int64(n) - l.inFile; at >= 0 && at < int64(len(l.mem)) {
		n += copy(p[n:], l.mem[at:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (l *pageLog) close() {
	if l.f != nil {
		l.f.Close()
	}
}
