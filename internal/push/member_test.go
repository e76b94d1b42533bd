package push

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"makuo/protocol"
	"makuo/transfer"
)

type testAdmit struct {
	held    int
	busy    bool
	refusal string
}

func (a *testAdmit) Admit(protocol.PushID, *protocol.PushHeader) (string, Holder, bool) {
	if a.refusal != "" || a.busy {
		return a.refusal, Holder{ID: protocol.PushID{Start: 1, Origin: 3}, Name: "x"}, false
	}
	a.held = 1
	return "", Holder{}, true
}

func (a *testAdmit) Release(protocol.PushID) { a.held = 0 }

// bare is a member's machine that has the header and nothing else.
type bare struct {
	m     *Member
	admit *testAdmit
	now   time.Time
	seq   uint32
}

func newBare() *bare {
	b := &bare{admit: &testAdmit{}, now: testStart}
	r := transfer.NewReceiver(transfer.ReceiverConfig{Stream: 1, Room: 1 << 20, Payload: simPayload}, b.now)
	st := b.st(protocol.PhaseLock, 0)
	b.m = NewMember(MemberConfig{Self: 2, Origin: 1, Receiver: r, Admit: b.admit, Body: 1400}, b.now, st)
	b.m.header, b.m.state = &protocol.PushHeader{Roster: []protocol.Session{2}}, asking
	return b
}

func (b *bare) st(p protocol.Phase, attempt uint8) *protocol.State {
	b.seq++
	return &protocol.State{Stream: 1, Push: protocol.PushID{Start: 5, Origin: 1}, Seq: b.seq, Phase: p, Attempt: attempt, Silence: 3 * time.Second}
}

func (b *bare) last() protocol.Record { return b.m.log.pending[len(b.m.log.pending)-1] }

// TestMissedYield: a member that never heard that it was to give the lock back
// says for the next attempt that it holds it.
func TestMissedYield(t *testing.T) {
	b := newBare()
	for attempt := range uint8(3) {
		b.m.HandleState(b.now, b.st(protocol.PhaseLock, attempt))
		b.m.HandleState(b.now, b.st(protocol.PhaseLock, attempt))
		if l := b.last(); l.Type != protocol.RecordLocked || l.Attempt != attempt || len(b.m.log.pending) != int(attempt)+1 {
			t.Fatalf("attempt %d: %+v", attempt, b.m.log.pending)
		}
	}
}

// TestDoneIsTold: a member that commits after a silence goes on until its word
// is heard, or the origin has been silent once more.
func TestDoneIsTold(t *testing.T) {
	b := newBare()
	b.m.state = staged
	b.now = b.now.Add(time.Minute)
	b.m.Poll(b.now)
	if b.m.state != undecided {
		t.Fatal(b.m.state)
	}
	b.m.HandleAnswer(b.now, &protocol.Answer{Push: b.m.id, Outcome: protocol.OutcomeCommitted})
	b.m.CommitDone(b.now, protocol.Counts{}, 0, nil)
	outs, _ := b.m.Poll(b.now)
	if len(outs) == 0 || outs[0].Report == nil || b.m.state != finished {
		t.Fatalf("%v: %v", b.m.state, outs)
	}
}

// TestOriginComesBack: a member in doubt whose origin is heard again, not
// having decided, is staged as before, for as long as that takes.
func TestOriginComesBack(t *testing.T) {
	b := newBare()
	b.m.state = staged
	b.m.Poll(b.now.Add(time.Minute))
	b.now = b.now.Add(2 * time.Minute)
	for range 20 {
		b.m.HandleState(b.now, b.st(protocol.PhaseFlush, 0))
		b.m.Poll(b.now)
		if b.m.state != staged {
			t.Fatal(b.m.state)
		}
		b.now = b.now.Add(time.Minute)
	}
}

// step does something random to the machine.
func (b *bare) step(r *rand.Rand, digest uint64) (order bool) {
	b.now = b.now.Add(time.Duration(r.Int64N(int64([]time.Duration{time.Millisecond, time.Second, 20 * time.Second}[r.IntN(3)]))))
	b.admit.busy = r.IntN(3) == 0
	switch r.IntN(10) {
	case 0, 1, 2:
		phase := protocol.Phase(1 + r.IntN(5))
		if r.IntN(10) == 0 {
			phase = protocol.Phase(6 + r.IntN(2))
		}
		st := b.st(phase, uint8(r.IntN(3)))
		st.Digest = digest + uint64(r.IntN(2))
		b.m.HandleState(b.now, st)
		return st.Phase == protocol.PhaseCommit && st.Digest == b.m.digest
	case 3:
		a := &protocol.Answer{Push: b.m.id, Outcome: protocol.Outcome(1 + r.IntN(5)), Origin: r.IntN(2) == 0}
		b.m.HandleAnswer(b.now, a)
		return a.Outcome == protocol.OutcomeCommitted
	case 4:
		b.m.Compared(b.now, transfer.Complete{ID: uint32(r.IntN(4))}, b.m.compared, 0, []byte{1}, []byte{1}, digest)
	case 5:
		b.m.StageDone(b.now, protocol.Counts{Changed: uint64(r.IntN(2))}, pick(r, errors.New("x")))
	case 6:
		b.m.CommitDone(b.now, protocol.Counts{}, 0, pick(r, errors.New("x")))
	case 7:
		if r.IntN(5) == 0 {
			b.m.OriginGone(b.now)
		}
	case 8:
		if r.IntN(20) == 0 {
			b.m.Fail(b.now, "x")
		} else if b.m.Preemptible(b.now) && r.IntN(10) == 0 {
			b.m.Preempt(b.now)
		}
	case 9:
		if b.m.state == streaming && r.IntN(2) == 0 {
			b.m.state = staging // all has arrived
		}
	}
	return false
}

func pick(r *rand.Rand, err error) error {
	if r.IntN(4) == 0 {
		return err
	}
	return nil
}

// TestMemberMachineInAnyOrder feeds the machine events in random order.
func TestMemberMachineInAnyOrder(t *testing.T) {
	r := testRand(t)
	commits := 0
	for range 1500 {
		b := newBare()
		if r.IntN(2) == 0 {
			b.m.state, b.m.digest, b.admit.held = staging, 7, 1
		}
		committed, ended, ordered := false, false, false
		for range 100 {
			ordered = b.step(r, 7) || ordered
			if r.IntN(2) == 0 {
				b.m.Poll(b.now)
			}
			for _, e := range b.m.Events() {
				if ended {
					t.Fatalf("%T after the end", e)
				}
				switch e.(type) {
				case EvCommit:
					if committed || !ordered {
						t.Fatalf("commit; before: %v, ordered: %v", committed, ordered)
					}
					committed = true
					commits++
				case EvDiscard:
					if committed {
						t.Fatal("a commit was discarded")
					}
				case EvFinished:
					ended = true
				}
			}
			if ended != b.m.Over() {
				t.Fatalf("ended %v, over %v", ended, b.m.Over())
			}
			if ended && b.admit.held != 0 {
				t.Fatal("over, and the lock is held")
			}
		}
	}
	if commits < 100 {
		t.Errorf("%d commits: the test tests little", commits)
	}
}
