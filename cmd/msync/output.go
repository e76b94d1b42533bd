package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"
)

// clean makes text safe for a terminal and for who reads lines: control
// characters, bytes that are not UTF-8, line separators and marks that turn the
// direction of text become \#NNN, three octal digits a byte, as rsync writes
// them. A backslash that starts something that looks so becomes \#134.
func clean(s string) string {
	if plain(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		c, n := utf8.DecodeRuneInString(s[i:])
		if dangerous(c, n) || c == '\\' && looksEscaped(s[i:]) {
			for _, octet := range []byte(s[i : i+n]) {
				fmt.Fprintf(&b, `\#%03o`, octet)
			}
		} else {
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

func plain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' || s[i] == '\\' {
			return false
		}
	}
	return true
}

func dangerous(c rune, n int) bool {
	return c == utf8.RuneError && n == 1 || unicode.IsControl(c) || c == 0x2028 || c == 0x2029 ||
		unicode.Is(unicode.Bidi_Control, c)
}

func looksEscaped(s string) bool {
	if len(s) < 5 || s[1] != '#' {
		return false
	}
	for _, d := range []byte(s[2:5]) {
		if d < '0' || d > '7' {
			return false
		}
	}
	return true
}

// screen is stdout and stderr with a progress line on the latter that is out
// of the way whenever something else is written. It is used by one goroutine.
type screen struct {
	stdout, stderr io.Writer
	width          func() int // 0: no progress line
	now            func() time.Time
	plain          bool // without a terminal, progress is told in lines
	shown          int  // columns of the progress line on the screen
	last           time.Time
	broken         bool // stdout takes nothing more
}

// out writes a line to stdout. When that fails, the push goes on without it:
// what happens on the members must not depend on who reads along.
func (s *screen) out(line string) {
	if s.broken {
		return
	}
	s.erase()
	if _, err := io.WriteString(s.stdout, line+"\n"); err != nil {
		s.broken = true
		if !errors.Is(err, syscall.EPIPE) {
			s.errLine("warning: writing the output: " + clean(err.Error()) + ": the push goes on without it")
		}
	}
}

// errLine writes a line to stderr.
func (s *screen) errLine(line string) {
	s.erase()
	io.WriteString(s.stderr, line+"\n")
}
