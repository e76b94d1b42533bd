package control

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Text is a string that need not be UTF-8, as file names need not be. In JSON
// a byte b that is not part of valid UTF-8 is written as the lone surrogate
// U+DC00+b ("\udcff" for 0xff), as Python's surrogateescape does; it comes back
// as the same byte.
type Text string

// MarshalJSON implements json.Marshaler.
func (t Text) MarshalJSON() ([]byte, error) {
	dst := make([]byte, 0, len(t)+2)
	dst = append(dst, '"')
	for i := 0; i < len(t); {
		c, n := utf8.DecodeRuneInString(string(t[i:]))
		switch {
		case c == utf8.RuneError && n == 1:
			dst = fmt.Appendf(dst, `\udc%02x`, t[i])
		case c == '"' || c == '\\':
			dst = append(dst, '\\', byte(c))
		case c < ' ' || c == 0x7f || c == 0x2028 || c == 0x2029:
			dst = fmt.Appendf(dst, `\u%04x`, c)
		default:
			dst = append(dst, t[i:i+n]...)
		}
		i += n
	}
	return append(dst, '"'), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *Text) UnmarshalJSON(b []byte) error {
	if !bytes.Contains(b, []byte(`\u`)) {
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
		*t = Text(s)
		return nil
	}
	if len(b) < 2 || b[0] != '"' || b[len(b)-1] != '"' {
		return fmt.Errorf("%s is not a JSON string", b)
	}
	s, err := unescape(string(b[1 : len(b)-1]))
	if err != nil {
		return err
	}
	*t = Text(s)
	return nil
}

// unescape decodes the inside of a JSON string that encoding/json has found
// to be well-formed.
func unescape(s string) (string, error) {
	var out strings.Builder
	for {
		i := strings.IndexByte(s, '\\')
		if i < 0 || i+1 >= len(s) {
			out.WriteString(s)
			return out.String(), nil
		}
		out.WriteString(s[:i])
		c := s[i+1]
		s = s[i+2:]
		if c != 'u' {
			out.WriteByte(simpleEscape(c))
			continue
		}
		u, rest, ok := hex4(s)
		if !ok {
			return "", fmt.Errorf(`bad \u escape`)
		}
		s = rest
		s = writeUnit(&out, u, s)
	}
}

// writeUnit writes the character that starts with the UTF-16 unit u and
// returns what is left of rest.
func writeUnit(out *strings.Builder, u rune, rest string) string {
	if u >= 0xdc80 && u <= 0xdcff {
		out.WriteByte(byte(u))
		return rest
	}
	if utf16.IsSurrogate(u) {
		if low, after, ok := hex4(strings.TrimPrefix(rest, `\u`)); ok && strings.HasPrefix(rest, `\u`) {
			if r := utf16.DecodeRune(u, low); r != utf8.RuneError {
				out.WriteRune(r)
				return after
			}
		}
		u = utf8.RuneError
	}
	out.WriteRune(u)
	return rest
}

func hex4(s string) (rune, string, bool) {
	if len(s) < 4 {
		return 0, s, false
	}
	v, err := strconv.ParseUint(s[:4], 16, 16)
	return rune(v), s[4:], err == nil
}

func simpleEscape(c byte) byte {
	switch c {
	case 'n':
		return '\n'
	case 't':
		return '\t'
	case 'r':
		return '\r'
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	}
	return c
}
