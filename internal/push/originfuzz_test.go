package push

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"makuo/protocol"
	"makuo/transfer"
)

// wild drives an origin's machine without a network by bytes.
type wild struct {
	t      *testing.T
	b      []byte
	now    time.Time
	o      *Origin
	said   map[int]bool // that it is done, for this push, when it was asked to commit
	result bool
	batch  uint32
}

const wildMembers = 3

func newWild(t *testing.T, b []byte) *wild {
	w := &wild{t: t, b: b, now: testStart, said: make(map[int]bool)}
	opt := w.u8()
	cfg := OriginConfig{ID: protocol.PushID{Start: 5, Origin: 1}, Stream: 1, DryRun: opt&7 == 7, AllOrNone: opt&8 != 0, Deletes: opt&16 != 0, Park: opt&32 != 0,
		Wait: time.Minute, Timeout: 30 * time.Second, Lock: freeLock{}, HeaderBlock: transfer.Block{Kind: protocol.BlockHeader, Encoded: make([]byte, 100)}}
	for i := range wildMembers {
		cfg.Roster = append(cfg.Roster, RosterMember{Session: protocol.Session(10 + i), Name: fmt.Sprint(i)})
	}
	cfg.Sender = transfer.NewSender(transfer.SenderConfig{Stream: 1, Members: wildMembers, SymbolSize: 1400}, w.now)
	w.o = NewOrigin(cfg, w.now)
	return w
}

type freeLock struct{}

func (freeLock) Try() (Holder, bool) { return Holder{}, true }
func (freeLock) Release()            {}

func (w *wild) u8() uint8 {
	if len(w.b) == 0 {
		return 0
	}
	c := w.b[0]
	w.b = w.b[1:]
	return c
}

var rightRecord = map[originState]protocol.RecordType{originLocking: protocol.RecordLocked, originYielding: protocol.RecordYielded,
	originStreaming: protocol.RecordWant, originFlushing: protocol.RecordStaged, originCommitting: protocol.RecordDone}

// record is what is right at this moment, or in one of 16 cases anything.
func (w *wild) record(m *originMember) protocol.Record {
	r := protocol.Record{Type: protocol.RecordType(1 + w.u8()%8), Attempt: w.o.attempt, Batch: m.wants, Digest: w.o.digest, Data: []byte{w.u8()}, Text: "x", Name: "y"}
	r.Change = r.Data
	r.Counts = protocol.Counts{Changed: uint64(w.u8() % 2), Errors: uint64(w.u8() % 2)}
	if x := w.u8(); x%16 == 0 {
		r.Attempt, r.Batch, r.Digest = r.Attempt+x/16, r.Batch+uint32(x/16), r.Digest+uint64(x/16%2)
	} else if right := rightRecord[w.o.state]; right != 0 {
		r.Type = right
	}
	return r
}

func (w *wild) report(i int) {
	m := w.o.members[i]
	r := protocol.Report{Origin: 1, Stream: 1, First: m.in.next, Records: []protocol.Record{w.record(m)}}
	if w.u8()%8 == 7 {
		r.Origin = 2 // of the session before
	}
	if r.Origin == 1 && r.Records[0].Type == protocol.RecordDone && w.o.state == originCommitting {
		w.said[i] = true
	}
	w.o.HandleReport(w.now, m.Session, &r)
}

func (w *wild) step() {
	i := int(w.u8()) % wildMembers
	m := w.o.members[i]
	switch w.u8() % 12 {
	case 0, 1, 2, 3:
		w.report(i)
	case 4:
		w.o.HandleFeedback(w.now, m.Session, &protocol.Feedback{Origin: 1, Stream: 1, Consumed: uint32(w.u8()), Flags: w.u8(), Work: uint32(w.u8()), Room: 1 << 20})
	case 5:
		w.o.HandlePage(w.now, m.Session, &protocol.Page{Origin: 1, Stream: 1, Kind: 1 + protocol.PageKind(w.u8()%2), Offset: uint64(w.u8() % 4), Total: uint64(w.u8()), Bytes: []byte{0, 1, 'a', 1, 'b'}[:w.u8()%6]})
	case 6:
		if w.o.CanOfferBatch() {
			w.o.OfferBatch(w.now, 5, transfer.Block{Kind: protocol.BlockManifest, First: 5 * w.batch, Count: 5, Encoded: make([]byte, 50)})
			w.batch++
		}
	case 7:
		if w.o.state == originStreaming {
			w.o.ScanEnded(w.now, 7)
		}
	case 8:
		w.o.DecisionWritten(w.now, map[bool]error{true: errors.New("x")}[w.u8()%8 == 0])
	case 9:
		if w.u8()%16 == 0 {
			w.o.MemberGone(w.now, m.Session, "gone")
		}
	case 10:
		w.now = w.now.Add(time.Duration(w.u8()) * time.Duration(w.u8()) * time.Millisecond)
	case 11:
		if w.u8()%32 == 0 {
			w.o.Abort(w.now, "x")
		}
	}
	w.poll()
}

// poll sends all there is and answers what the machine asks its shell.
func (w *wild) poll() {
	w.o.Poll(w.now)
	for range 1000 {
		if _, ok := w.o.s.Next(w.now); !ok {
			break
		}
	}
	w.o.DataSent(w.now)
	for events := w.o.Events(); len(events) > 0; events = w.o.Events() {
		for _, e := range events {
			switch e.(type) {
			case EvWanted:
				w.o.BatchRead(w.now)
			case EvReadRest:
				w.o.ReadEnded(w.now)
			case EvResult:
				w.result = true
			}
		}
	}
	w.judge()
}

// judge holds what is concluded against what was said.
func (w *wild) judge() {
	r := w.o.Result()
	if r.Committed && r.Abort != "" {
		w.t.Fatal("committed and aborted")
	}
	for i, m := range r.Members {
		if m.Outcome == MemberDone && r.Committed && !w.said[i] {
			w.t.Fatalf("member %d is done and has not said so", i)
		}
	}
}

// FuzzOrigin feeds records of any type in any state, and anything else a
// member or the shell may do: whatever is said, no member is done that did not
// say so for this push, and the push ends.
func FuzzOrigin(f *testing.F) {
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		w := newWild(t, b)
		for len(w.b) > 0 {
			w.step()
		}
		for range 2000 {
			if w.o.Over() {
				break
			}
			if w.o.state == originStreaming && !w.o.scanned {
				w.o.ScanEnded(w.now, 7)
			}
			w.o.DecisionWritten(w.now, nil)
			w.now = w.now.Add(100 * time.Millisecond)
			w.poll()
		}
		if !w.o.Over() || !w.result {
			t.Fatalf("the push did not end: state %d, result %v", w.o.state, w.result)
		}
	})
}

// TestOriginInAnyOrder is FuzzOrigin with random bytes, so that it always runs.
func TestOriginInAnyOrder(t *testing.T) {
	r := testRand(t)
	commits := 0
	for range 3000 {
		b := make([]byte, 400)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		w := newWild(t, b)
		for len(w.b) > 0 {
			w.step()
		}
		if w.o.Result().Committed {
			commits++
		}
	}
	if commits < 100 {
		t.Errorf("%d commits: the test tests little", commits)
	}
}
