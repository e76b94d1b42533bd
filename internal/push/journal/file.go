package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// ErrDoubt is wrapped when something was written and it is not known whether it
// is on disk.
var ErrDoubt = errors.New("it may be on disk all the same")

func doubt(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w; %w", err, ErrDoubt)
}

// WriteFile replaces a file, mode 0600, so that a crash leaves the old or the
// new one. After an error it is the old one, or either if that is ErrDoubt.
func WriteFile(path, content string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		os.Remove(f.Name())
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		os.Remove(f.Name())
		return doubt(err)
	}
	return doubt(syncDir(filepath.Dir(path)))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// readLines hands over the lines of a file; one that a crash cut off is none.
func readLines(path string, take func(string)) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	lines := strings.Split(string(b), "\n")
	for _, l := range lines[:len(lines)-1] {
		take(l)
	}
	return err
}

// Log is a file of lines, each with a checksum, that grows at its end. What a
// crash leaves of a line that was being added is no line. It belongs to the
// journal's goroutine once that works with it.
type Log struct {
	path  string
	lines []string
	torn  bool // the end of the file is not what lines say: write it anew

	// Replaceable by tests.
	add     func(path, text string, sync bool) error
	replace func(path, text string) error
}

// OpenLog reads a log; one that does not exist is empty. damaged says that a
// line is lost which others follow: no crash does that.
func OpenLog(path string) (l *Log, damaged bool, err error) {
	l = &Log{path: path, add: appendFile, replace: WriteFile}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return l, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	rest, bad := string(b), false
	for rest != "" {
		line, after, whole := strings.Cut(rest, "\n")
		rest = after
		text, ok := checked(line)
		if !whole || !ok {
			bad = true
			continue
		}
		damaged = damaged || bad
		l.lines = append(l.lines, text)
	}
	l.torn = bad
	return l, damaged, nil
}

// Lines returns the lines, without their checksums, the oldest first. It is not
// to be changed.
func (l *Log) Lines() []string { return l.lines }

// Append adds a line, which is on disk afterwards if sync is set. After an
// error the log is without it; if that is ErrDoubt, only once Replace or another
// Append has worked.
func (l *Log) Append(line string, sync bool) error {
	if l.torn {
		return l.Replace(append(l.lines[:len(l.lines):len(l.lines)], line))
	}
	if err := l.add(l.path, withSum(line), sync); err != nil {
		l.torn = true
		return err
	}
	l.lines = append(l.lines, line)
	return nil
}

// Replace makes lines all there is, on disk, by a new file. Errors are those of
// WriteFile.
func (l *Log) Replace(lines []string) error {
	var b strings.Builder
	for _, line := range lines {
		b.WriteString(withSum(line))
	}
	if err := l.replace(l.path, b.String()); err != nil {
		l.torn = true
		return err
	}
	l.lines, l.torn = lines, false
	return nil
}

func withSum(line string) string { return fmt.Sprintf("%s %016x\n", line, xxhash.Sum64String(line)) }

func checked(line string) (text string, ok bool) {
	const sum = 17
	if len(line) <= sum {
		return "", false
	}
	text = line[:len(line)-sum]
	return text, withSum(text) == line+"\n"
}

// appendFile adds text to a file. The first line also puts the file's name on
// disk.
func appendFile(path, text string, sync bool) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	made := errors.Is(err, fs.ErrNotExist)
	if made {
		f, err = os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_APPEND|os.O_WRONLY, 0o600)
	}
	if err != nil {
		return err
	}
	if _, err = f.WriteString(text); err != nil {
		return errors.Join(err, f.Close()) // a part of it, which is no line
	}
	if sync {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil && made {
		err = syncDir(filepath.Dir(path))
	}
	return doubt(err)
}
