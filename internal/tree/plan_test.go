package tree

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"makuo/protocol"
)

func TestStepPrefixes(t *testing.T) {
	e := protocol.Entry{Path: "a/b", Type: protocol.EntryRegular, Mode: 0o644, Size: 5}
	s := step{op: opFile, flags: stepInTree | stepLate, entry: 300, top: 7, keep: 1, path: "a/b"}
	s.rest = appendEntry(nil, 300, &e)
	b := s.append(nil)
	for i := range b {
		if _, _, err := parseStep(b[:i]); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d of %d bytes: %v", i, len(b), err)
		}
	}
	got, n, err := parseStep(append(b, 1, 2, 3))
	if err != nil || n != len(b) || got.path != s.path || got.flags != s.flags || got.entry != 300 || got.top != 7 || !bytes.Equal(got.rest, s.rest) {
		t.Errorf("%+v %d %v", got, n, err)
	}
	if g, err := got.manifestEntry(); err != nil || g.Size != 5 {
		t.Errorf("%+v %v", g, err)
	}
	for i := planFixed; i < len(b); i++ {
		c := bytes.Clone(b)
		c[i] ^= 1
		if _, _, err := parseStep(c); !errors.Is(err, errStep) {
			t.Errorf("byte %d is wrong: %v", i, err)
		}
	}
}

func TestPlanReader(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "plan"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := newPlan(f)
	h := planHeader{id: protocol.PushID{Start: 1, Origin: 2}, boot: "b", header: &protocol.PushHeader{Module: "m", Name: "n", Paths: []string{"."}}}
	if _, err := p.add(&step{op: opHeader, rest: h.append(nil)}); err != nil {
		t.Fatal(err)
	}
	var offs []int64
	for i := range 3000 {
		off, err := p.add(&step{op: opDelete, entry: uint32(i), path: strings.Repeat("p", i%200+1), rest: bytes.Repeat([]byte("r"), i*37%90_000)})
		if err != nil {
			t.Fatal(err)
		}
		offs = append(offs, off)
	}
	if err := p.flush(); err != nil {
		t.Fatal(err)
	}
	got, r, err := openPlan(f)
	if err != nil || got.id != h.id || got.header.Module != "m" {
		t.Fatal(got, err)
	}
	for i := range offs {
		if s, err := r.next(); err != nil || s.entry != uint32(i) || len(s.rest) != i*37%90_000 {
			t.Fatalf("step %d: %+v %v", i, s.entry, err)
		}
	}
	if _, err := r.next(); err != io.EOF {
		t.Error(err)
	}
	for _, i := range []int{2999, 0, 1, 5, 4, 1500, 1501} {
		if s, err := r.at(offs[i]); err != nil || s.entry != uint32(i) {
			t.Errorf("step %d: %d %v", i, s.entry, err)
		}
	}
	// Cut off anywhere in the last step: it never happened.
	if err := f.Truncate(p.size - 3); err != nil {
		t.Fatal(err)
	}
	if _, err := newPlanReader(f).at(offs[2999]); err != io.EOF {
		t.Error(err)
	}
}

func FuzzStep(f *testing.F) {
	s := step{op: opFile, entry: 3, path: "a/b", keep: 1}
	f.Add(s.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, n, err := parseStep(b)
		if err != nil {
			return
		}
		if _, m, err := parseStep(s.append(nil)); err != nil || m > n {
			t.Errorf("%+v: %v", s, err)
		}
		s.manifestEntry()
		s.deletesFrom()
	})
}
