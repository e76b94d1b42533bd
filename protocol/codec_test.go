package protocol

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"
)

var seedFlag = flag.Uint64("seed", 1, "seed of random values in tests")

func rng(t testing.TB) *rand.Rand {
	t.Helper()
	t.Logf("seed %d", *seedFlag)
	return rand.New(rand.NewPCG(*seedFlag, 0))
}

// codec is one message or block content, for what is tested of all alike.
type codec struct {
	name   string
	parse  func([]byte) (any, error)
	append func(any) []byte
	random func(*rand.Rand) any
	open   bool // ends in a list or bytes without a length: a shorter or longer body may be whole as well
}

// make1 makes a codec of functions on T.
func make1[T any](name string, parse func([]byte) (T, error), app func(*T, []byte) []byte, random func(*rand.Rand) T, open bool) codec {
	return codec{name: name, open: open,
		parse:  func(b []byte) (any, error) { v, err := parse(b); return v, err },
		append: func(v any) []byte { m := v.(T); return app(&m, nil) },
		random: func(r *rand.Rand) any { return random(r) },
	}
}

func whole[T any](parse func([]byte) (*T, error)) func([]byte) (T, error) {
	return func(b []byte) (T, error) {
		p, err := parse(b)
		if err != nil {
			var zero T
			if p != nil {
				panic("a value beside an error")
			}
			return zero, err
		}
		return *p, nil
	}
}

type pieces []Piece

func (p *pieces) Append(dst []byte) []byte {
	for i := range *p {
		dst = (*p)[i].Append(dst)
	}
	return dst
}

func parseProblem(b []byte) (Problem, error) {
	m, rest, ok, err := ParseProblem(b)
	if err == nil && (!ok || len(rest) != 0) {
		return Problem{}, malformed("cut off or left over")
	}
	return m, err
}

func parseDeletedPath(b []byte) (DeletedPath, error) {
	m, rest, ok := ParseDeletedPath(b)
	if !ok || len(rest) != 0 {
		return DeletedPath{}, malformed("cut off or left over")
	}
	return m, nil
}

func parsePrefix(b []byte) (Prefix, error) {
	p, rest, err := ParsePrefix(b)
	if err == nil && len(rest) != 0 {
		return Prefix{}, malformed("left over")
	}
	return p, err
}

var codecs = []codec{
	make1("prefix", parsePrefix, func(p *Prefix, b []byte) []byte { return p.Append(b) }, randomPrefix, false),
	make1("beacon", ParseBeacon, (*Beacon).Append, randomBeacon, false),
	make1("detail", ParseDetail, (*Detail).Append, randomDetail, false),
	make1("state", ParseState, (*State).Append, randomState, true),
	make1("data", ParseData, (*Data).Append, randomData, true),
	make1("feedback", ParseFeedback, (*Feedback).Append, randomFeedback, true),
	make1("report", ParseReport, (*Report).Append, randomReport, true),
	make1("fetch", ParseFetch, (*Fetch).Append, randomFetch, false),
	make1("page", ParsePage, (*Page).Append, randomPage, true),
	make1("query", ParseQuery, (*Query).Append, func(r *rand.Rand) Query { return Query{randomID(r), randomID(r), word(r, 1, MaxName)} }, false),
	make1("forget", ParseForget, (*Forget).Append, func(r *rand.Rand) Forget {
		var f Forget
		for range 1 + r.IntN(MaxForgotten) {
			f.Members = append(f.Members, Forgotten{Session(r.Uint64() | 1), int64(r.Uint64()), "web1"})
		}
		return f
	}, false),
	make1("answer", ParseAnswer, (*Answer).Append, func(r *rand.Rand) Answer {
		a := Answer{Push: randomID(r), Outcome: OutcomeUnknown + Outcome(r.IntN(4)), Origin: r.IntN(2) == 0}
		for range r.IntN(3) {
			a.Newer = append(a.Newer, NewerPush{randomID(r), word(r, 1, MaxName), randomPaths(r, 1+r.IntN(5))})
		}
		return a
	}, false),
	make1("push header", whole(ParsePushHeader), (*PushHeader).Append, randomHeader, false),
	make1("batch", whole(ParseBatch), (*Batch).Append, randomBatch, false),
	make1("pieces", func(b []byte) (pieces, error) { return ParsePieces(b) }, (*pieces).Append, randomPieces, true),
	make1("problem", parseProblem, (*Problem).Append, func(r *rand.Rand) Problem {
		return Problem{r.IntN(2) == 0, text(r, 0, MaxPath), text(r, 0, MaxText)}
	}, false),
	make1("deleted path", parseDeletedPath, (*DeletedPath).Append, func(r *rand.Rand) DeletedPath {
		return DeletedPath{text(r, 0, MaxPath)}
	}, false),
}

func codecOf(name string) codec {
	for _, c := range codecs {
		if c.name == name {
			return c
		}
	}
	panic(name)
}

func TestRoundTrip(t *testing.T) {
	r := rng(t)
	for _, c := range codecs {
		for range 300 {
			v := c.random(r)
			b := c.append(v)
			got, err := c.parse(b)
			if err != nil {
				t.Fatalf("%s: %v\nof %+v", c.name, err, v)
			}
			if !reflect.DeepEqual(got, v) {
				t.Fatalf("%s: got  %+v\nwant %+v", c.name, got, v)
			}
		}
	}
}

// Every prefix of a message fails with ErrMalformed, or is itself a message
// where the message's end is the packet's; and nothing may follow.
func TestTruncatedAndLeftOver(t *testing.T) {
	r := rng(t)
	for _, c := range codecs {
		for range 10 {
			b := c.append(c.random(r))
			step := 1 + len(b)/2000
			for n := 0; n < len(b); n += step {
				c.check(t, b[:n:n], c.open)
			}
			c.check(t, append(b[:len(b):len(b)], 0), c.open)
			c.check(t, append(b[:len(b):len(b)], b...), c.open)
		}
	}
}

// check parses b, which must fail in the right way or, if it may be whole,
// give back the same bytes.
func (c codec) check(t *testing.T, b []byte, mayBeWhole bool) {
	t.Helper()
	v, err := c.parse(b)
	switch {
	case err != nil && !errors.Is(err, ErrMalformed):
		t.Fatalf("%s: error %v is not ErrMalformed, of %x", c.name, err, b)
	case err == nil && !mayBeWhole:
		t.Fatalf("%s: %d bytes pass that are none: %x", c.name, len(b), b)
	case err == nil && !bytes.Equal(c.append(v), b):
		t.Fatalf("%s: parsed from\n%x, appends to\n%x\n%+v", c.name, b, c.append(v), v)
	case err != nil && v != nil && !reflect.ValueOf(v).IsZero():
		t.Fatalf("%s: part of a value beside an error: %+v", c.name, v)
	}
}

// Changed bytes fail, or stand for another value with just this encoding.
func TestMutated(t *testing.T) {
	r := rng(t)
	for _, c := range codecs {
		for range 1000 {
			b := c.append(c.random(r))
			if len(b) > 4096 && r.IntN(20) != 0 {
				continue
			}
			for range min(len(b), 1+r.IntN(3)) {
				b[r.IntN(min(len(b), 64+r.IntN(len(b))))] = byte(r.Uint32())
			}
			c.check(t, b, true)
		}
	}
}

// A small packet that announces much is refused before memory is taken for
// what it announces.
func TestAllocationFollowsBytes(t *testing.T) {
	hostile := [][]byte{
		bytes.Repeat([]byte{0xff}, 64), bytes.Repeat([]byte{0}, 64), bytes.Repeat([]byte{0x7f}, 64),
		append(make([]byte, 8), bytes.Repeat([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, 8)...),
		append(make([]byte, 8), 0, 0x80, 0x08, 1, 2, 3),
		append(make([]byte, 8), 0x80, 0x10, 1, 2, 3),
		append([]byte{1, 'm', 1, 'o', 0, 0, 0, 0, 0, 0x90, 0x4e}, make([]byte, 20)...),
	}
	for _, c := range codecs {
		for _, b := range hostile {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range 20 {
				c.parse(b)
			}
			runtime.ReadMemStats(&after)
			if n := (after.TotalAlloc - before.TotalAlloc) / 20; n > 16<<10 {
				t.Errorf("%s: %d bytes allocated for %x", c.name, n, b)
			}
		}
	}
}

// unhex makes bytes of hexadecimal digits with blanks and line comments.
func unhex(t *testing.T, s string) []byte {
	t.Helper()
	var clean strings.Builder
	for line := range strings.Lines(s) {
		line, _, _ = strings.Cut(line, "//")
		clean.WriteString(strings.Join(strings.Fields(line), ""))
	}
	b, err := hex.DecodeString(clean.String())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// exact checks a value against bytes built by hand, both ways.
func exact(t *testing.T, name string, v any, digits string) {
	t.Helper()
	c, want := codecOf(name), unhex(t, digits)
	if got := c.append(v); !bytes.Equal(got, want) {
		t.Fatalf("%s: appends\n%x, want\n%x", name, got, want)
	}
	got, err := c.parse(want)
	if err != nil || !reflect.DeepEqual(got, v) {
		t.Fatalf("%s: parsed %+v, %v, want %+v", name, got, err, v)
	}
	for n := range len(want) {
		c.check(t, want[:n:n], c.open)
	}
}

// refused checks that the bytes of each value are not accepted, with a reason
// that holds the given words.
func refused(t *testing.T, name string, cases map[string]any) {
	t.Helper()
	c := codecOf(name)
	for why, v := range cases {
		b, raw := v.([]byte)
		if !raw {
			b = c.append(v)
		}
		_, err := c.parse(b)
		if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: got %v, want %q", name, err, why)
		}
	}
}

// accepted is for values just inside a limit.
func accepted(t *testing.T, name string, values ...any) {
	t.Helper()
	c := codecOf(name)
	for _, v := range values {
		if got, err := c.parse(c.append(v)); err != nil || !reflect.DeepEqual(got, v) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestVarint(t *testing.T) {
	for digits, want := range map[string]string{
		"": "no varint", "80": "no varint", "8000": "padded", "ff00": "padded", "e807": "",
		"e907": "over the limit", "ffffffffffffffffffff01": "no varint", "ffffffffffffffffff01": "over the limit",
	} {
		r := reader{b: unhex(t, digits)}
		v := r.uvarint(1000, "number")
		if want == "" && (r.err != nil || v != 1000) || want != "" && (r.err == nil || v != 0 || !strings.Contains(r.err.Error(), want)) {
			t.Errorf("%q: %d, %v", digits, v, r.err)
		}
	}
}

const (
	ms = time.Millisecond
	us = time.Microsecond
)

// chance is true once in n times.
func chance(r *rand.Rand, n int) bool { return r.IntN(n) == 0 }

func word(r *rand.Rand, least, most int) string {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789-_.!ABC"
	b := make([]byte, size(r, least, most))
	for i := range b {
		b[i] = letters[r.IntN(len(letters))]
	}
	return string(b)
}

// size is mostly small, at times at its bound.
func size(r *rand.Rand, least, most int) int {
	switch r.IntN(20) {
	case 0:
		return most
	case 1:
		return least
	}
	return least + r.IntN(min(most-least, 20)+1)
}

// text is of any bytes.
func text(r *rand.Rand, least, most int) string { return string(octets(r, least, most)) }

func octets(r *rand.Rand, least, most int) []byte {
	b := make([]byte, size(r, least, most))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func number(r *rand.Rand, most uint64) uint64 {
	switch r.IntN(10) {
	case 0:
		return most
	case 1:
		return 0
	}
	return min(r.Uint64()>>r.IntN(64), most)
}

func randomID(r *rand.Rand) PushID { return PushID{int64(r.Uint64()), Session(r.Uint64())} }
