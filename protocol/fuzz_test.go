package protocol

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
)

// fuzz feeds a parser. What parses must append to the same bytes; what does
// not must fail with ErrMalformed; nothing may panic.
func fuzz(f *testing.F, name string) {
	c := codecOf(name)
	r := rand.New(rand.NewPCG(1, 1))
	for range 5 {
		if b := c.append(c.random(r)); len(b) < 2000 {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) { c.check(t, b, true) })
}

func FuzzPrefix(f *testing.F)      { fuzz(f, "prefix") }
func FuzzBeacon(f *testing.F)      { fuzz(f, "beacon") }
func FuzzDetail(f *testing.F)      { fuzz(f, "detail") }
func FuzzState(f *testing.F)       { fuzz(f, "state") }
func FuzzData(f *testing.F)        { fuzz(f, "data") }
func FuzzFeedback(f *testing.F)    { fuzz(f, "feedback") }
func FuzzReport(f *testing.F)      { fuzz(f, "report") }
func FuzzFetch(f *testing.F)       { fuzz(f, "fetch") }
func FuzzPage(f *testing.F)        { fuzz(f, "page") }
func FuzzQuery(f *testing.F)       { fuzz(f, "query") }
func FuzzAnswer(f *testing.F)      { fuzz(f, "answer") }
func FuzzPushHeader(f *testing.F)  { fuzz(f, "push header") }
func FuzzBatch(f *testing.F)       { fuzz(f, "batch") }
func FuzzPieces(f *testing.F)      { fuzz(f, "pieces") }
func FuzzDeletedPath(f *testing.F) { fuzz(f, "deleted path") }

func FuzzForeignBeacon(f *testing.F) {
	f.Add([]byte("\x01a\x00\x01\x01\x02rest"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseForeignBeacon(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		head := m.Append(nil)
		head = head[:1+len(m.Name)+4]
		if !bytes.HasPrefix(b, head) || !ValidName(m.Name) || m.Port == 0 {
			t.Fatalf("%+v of %x", m, b)
		}
	})
}

// FuzzProblem reads a whole log of problems, as the origin does.
func FuzzProblem(f *testing.F) {
	p := Problem{Warning: true, Path: "a/b", Text: "why"}
	f.Add(p.Append(p.Append(nil)))
	f.Add([]byte{0, 0, 0, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		rest := b
		var again []byte
		for {
			m, left, ok, err := ParseProblem(rest)
			if err != nil {
				if ok || !errors.Is(err, ErrMalformed) {
					t.Fatal(ok, err)
				}
				return
			}
			if !ok {
				if !bytes.Equal(left, rest) {
					t.Fatal("bytes are lost before the end")
				}
				break
			}
			again, rest = m.Append(again), left
		}
		if !bytes.Equal(append(again, rest...), b) {
			t.Fatalf("%x appends to %x", b, again)
		}
	})
}

func FuzzCheck(f *testing.F) {
	f.Add(AppendCheck(Prefix{Version: 1, Session: 1}.Append(nil)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := OpenCheck(b); err == nil && !bytes.Equal(AppendCheck(bytes.Clone(p)), b) {
			t.Fatalf("%x", b)
		}
	})
}

func FuzzPushID(f *testing.F) {
	f.Add("17979cfe362a0000fedcba9876543210")
	f.Add("-7979cfe362a000 fedcba987654321_")
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := ParsePushID(s); err == nil && p.String() != s {
			t.Fatalf("%q is %q", s, p)
		}
	})
}

func FuzzValidPath(f *testing.F) {
	for _, s := range pathSeeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if ValidPath(s) != modelValid(s) {
			t.Fatalf("ValidPath(%q) is %v", s, ValidPath(s))
		}
	})
}

func FuzzComparePaths(f *testing.F) {
	for i, s := range pathSeeds {
		f.Add(s, pathSeeds[(i+5)%len(pathSeeds)])
	}
	f.Fuzz(checkCompare)
}
