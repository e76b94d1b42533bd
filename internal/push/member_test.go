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

	locked bool // from the start
}

func newBare() *bare {
	b := &bare{admit: &testAdmit{}, now: testStart}
	r := transfer.NewReceiver(transfer.ReceiverConfig{Stream: 1, Room: 1 << 20, Payload: simPayload,
		Cares: func(k protocol.BlockKind, f, c uint32) bool { return b.m == nil || b.m.Wanted(k, f, c) }}, b.now)
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

// orders are the orders to commit that a member has heard.
type orders struct {
	digests map[uint64]bool // named by the origin, perhaps before the manifest was complete
	answer  bool            // somebody has committed, said when it was asked
}

func (o *orders) of(digest uint64) bool { return o.answer || o.digests[digest] }

// step does something random to the machine.
func (b *bare) step(r *rand.Rand, digest uint64, o *orders) {
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
		if st.Phase == protocol.PhaseCommit {
			o.digests[st.Digest] = true
		}
		b.m.HandleState(b.now, st)
	case 3:
		a := &protocol.Answer{Push: b.m.id, Outcome: protocol.Outcome(1 + r.IntN(5)), Origin: r.IntN(2) == 0}
		o.answer = o.answer || b.m.state == undecided && a.Outcome == protocol.OutcomeCommitted
		b.m.HandleAnswer(b.now, a)
	case 4:
		b.m.Compared(b.now, transfer.Complete{ID: uint32(r.IntN(4))}, b.m.compared, 0, 8, []byte{1}, []byte{1}, digest)
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
}

func pick(r *rand.Rand, err error) error {
	if r.IntN(4) == 0 {
		return err
	}
	return nil
}

// TestMemberMachineInAnyOrder feeds the machine events in random order.
func TestMemberMachineInAnyOrder(t *testing.T) { memberInAnyOrder(t, testRand(t)) }

// TestMemberMachineInKnownOrder begins with an order to commit that is heard
// before the manifest it names is complete.
func TestMemberMachineInKnownOrder(t *testing.T) {
	memberInAnyOrder(t, rand.New(rand.NewPCG(3733307201937269827, 2)))
}

func memberInAnyOrder(t *testing.T, r *rand.Rand) {
	commits := 0
	for range 1500 {
		b := newBare()
		if r.IntN(2) == 0 {
			b.m.state, b.m.digest, b.admit.held, b.locked = staging, 7, 1, true
		}
		committed, ended := false, false
		ordered := orders{digests: make(map[uint64]bool)}
		for range 100 {
			tried := b.m.again
			b.step(r, 7, &ordered)
			if b.m.again.pause != tried.pause {
				committed = false // it is tried again
			}
			if b.m.state == committing && b.admit.held == 0 && b.locked {
				t.Fatal("the lock is given back before the commit is done")
			}
			if r.IntN(2) == 0 {
				b.m.Poll(b.now)
			}
			for _, e := range b.m.Events() {
				if ended {
					t.Fatalf("%T after the end", e)
				}
				switch e.(type) {
				case EvCommit:
					if committed || !ordered.of(b.m.digest) {
						t.Fatalf("commit of %d; before: %v, ordered: %+v", b.m.digest, committed, ordered)
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

// TestCommitIsTriedAgain: a commit that failed keeps the lock and is tried
// until it works. The origin hears of the failure, or of the end, not of both.
func TestCommitIsTriedAgain(t *testing.T) {
	for _, heard := range []bool{false, true} {
		b := newBare()
		b.admit.held, b.m.state = 1, staged
		b.m.HandleState(b.now, b.st(protocol.PhaseCommit, 0))
		tries := 0
		for range 10 {
			for _, e := range b.m.Events() {
				if _, ok := e.(EvCommit); ok {
					tries++
					b.m.CommitDone(b.now, protocol.Counts{}, 0, errors.New("the disk is full"))
				}
			}
			if l := b.last(); len(b.m.log.pending) != 1 || l.Type != protocol.RecordFailed || b.admit.held == 0 || b.m.state != committing {
				t.Fatalf("lock %d, state %v, records %+v", b.admit.held, b.m.state, b.m.log.pending)
			}
			at := b.m.again.at
			for b.now.Before(at) {
				_, next := b.m.Poll(b.now)
				if !next.After(b.now) || next.After(at) {
					t.Fatalf("at %v: next poll at %v, next try at %v", b.now, next, at)
				}
				b.now = next
			}
			b.m.Poll(b.now)
		}
		if tries != 10 || b.m.again.pause != time.Minute {
			t.Fatalf("%d tries, %v between them", tries, b.m.again.pause)
		}
		if heard {
			b.m.log.heard(1)
		}
		b.m.CommitDone(b.now, protocol.Counts{}, 0, nil)
		if p := b.m.log.pending; b.admit.held != 0 || b.m.outcome != "done" || len(p) > 0 == heard || !heard && p[0].Type != protocol.RecordDone {
			t.Fatalf("heard %v: outcome %q, records %+v", heard, b.m.outcome, p)
		}
	}
}

// TestShutdownKeepsTheVote: the origin counts on who said that it is staged.
func TestShutdownKeepsTheVote(t *testing.T) {
	for s, want := range map[memberState]bool{streaming: false, staged: true, undecided: true} {
		b := newBare()
		b.m.state = s
		b.m.Shutdown(b.now)
		if kept := b.m.state == s && len(b.m.Events()) == 0 && b.m.log.empty(); kept != want || b.m.Quiet(b.now) != want {
			t.Errorf("%v: kept %v, quiet %v", s, kept, b.m.Quiet(b.now))
		}
	}
}

// TestNobodyWaitsForASilentOrigin: a daemon that stops has told how it ended,
// unless nobody is left to be told.
func TestNobodyWaitsForASilentOrigin(t *testing.T) {
	b := newBare()
	b.m.state = streaming
	b.m.Shutdown(b.now)
	if b.m.Quiet(b.now.Add(time.Second)) || !b.m.Quiet(b.now.Add(time.Second+1)) {
		t.Error("not quiet after one second of silence, or before")
	}
}

// TestAnswersAreAskedFor: a word on the outcome that nobody asked for is none.
func TestAnswersAreAskedFor(t *testing.T) {
	a := &protocol.Answer{Outcome: protocol.OutcomeCommitted}
	b := newBare()
	a.Push, b.m.state = b.m.id, staged
	b.m.HandleAnswer(b.now, a)
	b.m.state, b.m.unsure = undecided, b.now
	b.m.HandleAnswer(b.now, a)
	b.m.Poll(b.now) // asks
	b.m.HandleAnswer(b.now.Add(answerWithin+1), a)
	if b.m.state != undecided {
		t.Fatalf("%v by an answer not asked for", b.m.state)
	}
	if b.m.HandleAnswer(b.now.Add(answerWithin), a); b.m.state != committing {
		t.Fatal(b.m.state)
	}
}

// TestYieldForgets: what was wanted in an attempt whose lock was given back is
// not stored in the next one.
func TestYieldForgets(t *testing.T) {
	b := newBare()
	b.m.HandleState(b.now, b.st(protocol.PhaseLock, 0))
	b.m.Compared(b.now, transfer.Complete{ID: 1}, 0, 0, 8, []byte{1}, nil, 7)
	b.m.HandleState(b.now, b.st(protocol.PhaseYield, 0))
	b.m.HandleState(b.now, b.st(protocol.PhaseLock, 1))
	if b.m.state != streaming || b.m.Wanted(protocol.BlockData, 0, 8) || b.m.compared != 0 || b.m.digest != 0 {
		t.Errorf("%v: wanted %v, %d batches, digest %x", b.m.state, b.m.wanted, b.m.compared, b.m.digest)
	}
}

// TestNothingIsKeptBeforeTheLock: blocks but the header are neither kept nor
// passed over until the lock is held.
func TestNothingIsKeptBeforeTheLock(t *testing.T) {
	b := newBare()
	for id, kind := range []protocol.BlockKind{protocol.BlockHeader, protocol.BlockManifest, protocol.BlockData} {
		b.m.HandleData(b.now, &protocol.Data{Stream: 1, Seq: uint32(id), Block: uint32(id), Kind: kind, Length: 500_000 / 5, Symbol: make([]byte, 1000)})
	}
	if n := b.m.r.Held(); n != 100_000 || b.m.r.ConsumedMark() != 0 {
		t.Errorf("%d bytes held, %d blocks passed over", n, b.m.r.ConsumedMark())
	}
}

// TestHeaderThatCannotBeRead is refused; only a damaged one is asked for again.
func TestHeaderThatCannotBeRead(t *testing.T) {
	for _, damaged := range []bool{false, true} {
		b := newBare()
		b.m.header, b.m.state = nil, learning
		_, enc, err := transfer.EncodeBlock(protocol.BlockHeader, []byte{0xff}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if damaged {
			enc[0]++
		}
		b.m.learn(b.now, transfer.Complete{Kind: protocol.BlockHeader, Encoded: enc})
		if refused := b.m.state == finished && b.last().Type == protocol.RecordRefused; refused == damaged {
			t.Errorf("damaged %v: %v", damaged, b.m.state)
		}
	}
}

// TestHeaderDoesNotCome: an origin that goes on without ever sending the header
// does not keep the machine for ever; nor does a silence longer than the limit.
func TestHeaderDoesNotCome(t *testing.T) {
	b := newBare()
	b.m.header, b.m.state = nil, learning
	for range 31 {
		b.now = b.now.Add(time.Second)
		st := b.st(protocol.PhaseStream, 0)
		st.Silence = time.Hour
		b.m.HandleState(b.now, st)
		if _, next := b.m.Poll(b.now); !b.m.Over() && !next.After(b.now) {
			t.Fatalf("polled at %v, next at %v", b.now, next)
		}
	}
	if !b.m.Over() || b.m.silence != maxSilence {
		t.Errorf("%v, silence %v", b.m.state, b.m.silence)
	}
}

// TestOrderBeforeTheManifest: an order to commit that is heard while batches
// are compared is carried out if the manifest turns out to be the one it names,
// and ends the member's part if it is another.
func TestOrderBeforeTheManifest(t *testing.T) {
	for digest, want := range map[uint64]memberState{7: committing, 8: finished} {
		b := newBare()
		b.m.HandleState(b.now, b.st(protocol.PhaseLock, 0))
		st := b.st(protocol.PhaseCommit, 0)
		st.Digest = 7
		b.m.HandleState(b.now, st)
		b.m.Compared(b.now, transfer.Complete{}, 0, 0, 8, []byte{1}, []byte{1}, digest)
		b.m.state = staging // all has arrived
		if b.m.StageDone(b.now, protocol.Counts{Changed: 1}, nil); b.m.state != want {
			t.Errorf("manifest %d: %v, want %v", digest, b.m.state, want)
		}
	}
}

// TestDataBeforeCompare: content that comes before its entries are compared is
// not passed over as unwanted: what lacks it is not staged.
func TestDataBeforeCompare(t *testing.T) {
	b := newBare()
	b.m.HandleState(b.now, b.st(protocol.PhaseLock, 0))
	b.m.HandleData(b.now, &protocol.Data{Stream: 1, Block: 2, Kind: protocol.BlockData, Length: 4, First: 0, Count: 8, Symbol: make([]byte, 4)})
	b.m.r.Consumed(0)
	b.m.r.Consumed(1)
	b.m.Compared(b.now, transfer.Complete{ID: 1}, 0, 0, 8, []byte{1}, []byte{1}, 7)
	b.m.busy = 0
	st := b.st(protocol.PhaseFlush, 0)
	st.Blocks, st.Batches = 3, 1
	b.m.HandleState(b.now, st)
	if b.m.state != streaming {
		t.Errorf("a member that lacks content is in %v", b.m.state)
	}
}
