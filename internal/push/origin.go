package push

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"makuo/protocol"
	"makuo/transfer"
)

// Timers and limits of the origin's machine.
const (
	stateEvery     = 25 * time.Millisecond                   // state messages while a push moves
	stateWaiting   = 100 * time.Millisecond                  // and while it waits for a lock
	probeAfter     = time.Second                             // of silence: is the member's port still open?
	yieldAtMost    = time.Second                             // wait for all to give the lock back
	endRepeats     = 8                                       // state messages of phase end or abort
	endHeard       = 3                                       // of them, a daemon that stops sends at least
	maxOutstanding = 24                                      // batches sent and not answered by all, or not yet read
	fetchAtOnce    = 8                                       // members whose logs are fetched at a time
	fetchTries     = 10                                      // requests for the next page of a log that are not answered
	maxLog         = 64 << 20                                // bytes of one member's log that are fetched
	maxLogRecord   = protocol.MaxPath + protocol.MaxText + 5 // bytes: no record of a log is longer
)

// RosterMember is one member a push is for.
type RosterMember struct {
	Session protocol.Session
	Name    string // unique in the roster: NAME, or NAME@ADDR where two share a name
	Addr    netip.AddrPort
}

// Locker is the origin's own lock on the pushed paths.
type Locker interface {
	// Try takes the lock, or says who holds it.
	Try() (Holder, bool)
	Release()
}

// OriginConfig describes one push to its machine.
type OriginConfig struct {
	ID          protocol.PushID
	Stream      uint32
	DryRun      bool
	AllOrNone   bool          // commit only if the whole roster is staged
	Hopeless    bool          // with AllOrNone: somebody who should be in the roster is not
	Deletes     bool          // fetch the members' deletion logs
	Park        bool          // go on without members that hold the others back
	Wait        time.Duration // for locks; 0: do not wait
	Timeout     time.Duration // of a member's silence until it is lost
	Roster      []RosterMember
	HeaderBlock transfer.Block
	Sender      *transfer.Sender
	Lock        Locker
}

type originState uint8

const (
	originLocking originState = iota
	originYielding
	originStreaming
	originFlushing
	originDeciding
	originCommitting
	originCollecting
	originEnding
	originOver
)

// Origin is the machine of one push at its origin.
type Origin struct {
	cfg      OriginConfig
	s        *transfer.Sender
	index    map[protocol.Session]int
	members  []*originMember
	state    originState
	attempt  uint8
	started  time.Time
	since    time.Time // of the present state
	streamAt time.Time // when all locks were held

	lastState time.Time
	stateSeq  uint32
	urgent    bool // a state message is due at once
	heardFrom int  // next roster index of the heard list
	repeats   int

	backoff  time.Time // end of yielding
	blocker  Holder    // whom we wait for
	told     bool      // the user knows of blocker
	busyAt   time.Time // when another push was first in the way
	batches  []*batchState
	answered uint32 // batches below were answered by all and handed out
	offered  uint32 // batches offered to the stream
	reading  int    // batches handed out and not read yet
	scanned  bool
	digest   uint64
	rest     bool // EvReadRest was emitted
	readEnd  bool // all data is offered
	commitAt time.Time
	abort    string
	hold     bool // fetch nothing for now
	events   []Event

	// Parking: see park.go and pace.go.
	looked   time.Time
	epochs   epochs
	words    int       // feedback of members in the stream
	mostDone time.Time // when the others began to wait for a minority in phase flush
}

type batchState struct {
	count int
	left  int    // in-stream members that have not answered
	union []byte // entries whose content somebody wants
	any   []byte // entries somebody makes or changes
}

// NewOrigin starts a push: its first Poll announces it.
func NewOrigin(cfg OriginConfig, now time.Time) *Origin {
	o := &Origin{cfg: cfg, s: cfg.Sender, index: make(map[protocol.Session]int), started: now, since: now, looked: now, urgent: true}
	for i, r := range cfg.Roster {
		o.index[r.Session] = i
		o.members = append(o.members, &originMember{RosterMember: r, heard: now, word: now, lastProbe: now})
	}
	o.offer(now, cfg.HeaderBlock)
	return o
}

func (o *Origin) emit(e Event) { o.events = append(o.events, e) }

// Events returns what has happened since the last call, in order.
func (o *Origin) Events() []Event {
	e := o.events
	o.events = nil
	return e
}

func (o *Origin) enter(now time.Time, s originState) {
	if o.state == s {
		return
	}
	o.state, o.since, o.urgent = s, now, true
}

func (o *Origin) phase() protocol.Phase {
	switch o.state {
	case originLocking:
		return protocol.PhaseLock
	case originYielding:
		return protocol.PhaseYield
	case originStreaming:
		return protocol.PhaseStream
	case originFlushing, originDeciding:
		return protocol.PhaseFlush
	case originCommitting:
		return protocol.PhaseCommit
	case originCollecting:
		if o.abort != "" {
			return protocol.PhaseAbort
		}
		if o.commitAt.IsZero() {
			return protocol.PhaseFlush
		}
		return protocol.PhaseCommit
	}
	if o.abort != "" {
		return protocol.PhaseAbort
	}
	return protocol.PhaseEnd
}

// Stage is where a push stands, for people and scripts.
type Stage uint8

// Stages of a push.
const (
	StageLock   Stage = iota // asking for locks
	StageWait                // another push is in the way
	StageSend                // scan, compare and data, all at once
	StageFlush               // all is sent: members verify and sync
	StageCommit              // the decision is taken: members rename
	StageReport              // results are fetched
	StageAbort               // members are told to discard
)

// Stage returns where the push stands.
func (o *Origin) Stage() Stage {
	switch {
	case o.abort != "":
		return StageAbort
	case o.state <= originYielding && o.told:
		return StageWait
	case o.state <= originYielding:
		return StageLock
	case o.state == originStreaming:
		return StageSend
	case o.state <= originDeciding:
		return StageFlush
	case o.state == originCommitting:
		return StageCommit
	}
	return StageReport
}

// Waiting returns the origin of the push that is in the way, if one is.
func (o *Origin) Waiting() string {
	if o.Stage() == StageWait {
		return o.blocker.Name
	}
	return ""
}

// Over reports whether the machine has nothing more to say.
func (o *Origin) Over() bool { return o.state == originOver }

// Decided reports whether the decision to commit is taken: from then on the
// push cannot be aborted.
func (o *Origin) Decided() bool {
	return o.abort == "" && o.state >= originDeciding
}

// Stream returns the stream number the push's messages carry.
func (o *Origin) Stream() uint32 { return o.cfg.Stream }

// HandleFeedback takes a member's feedback.
func (o *Origin) HandleFeedback(now time.Time, from protocol.Session, fb *protocol.Feedback) {
	i, ok := o.index[from]
	if !ok {
		return
	}
	m := o.members[i]
	m.heard, m.word = now, now
	m.syncing = fb.Flags&protocol.FlagSyncing != 0
	if m.inStream() {
		m.words++
		o.words++
		m.atWord = o.words
		m.pace.add(fb, o.s.Packets())
		o.s.HandleFeedback(now, i, fb)
	}
}

// HandleReport takes a member's numbered records.
func (o *Origin) HandleReport(now time.Time, from protocol.Session, r *protocol.Report) {
	i, ok := o.index[from]
	if !ok {
		return
	}
	m := o.members[i]
	m.heard, m.word = now, now
	for _, rec := range m.in.take(r) {
		o.record(now, i, &rec)
	}
	o.advance(now)
}

// Heard notes a packet of a member that has nothing to do with the push: its
// daemon runs, which says nothing of its part in the push.
func (o *Origin) Heard(now time.Time, from protocol.Session) {
	if i, ok := o.index[from]; ok {
		o.members[i].heard = now
	}
}

// MemberGone ends a member's part: it left, started anew, or its port is
// closed.
func (o *Origin) MemberGone(now time.Time, from protocol.Session, why string) {
	if i, ok := o.index[from]; ok {
		o.lose(now, i, why)
		o.advance(now)
	}
}

// CanOfferBatch reports whether the machine takes another manifest batch now.
func (o *Origin) CanOfferBatch() bool {
	return o.state == originStreaming && !o.scanned && len(o.batches)+o.reading < maxOutstanding && o.s.Room() > 0
}

// OfferBatch takes the next batch of the manifest as a block.
func (o *Origin) OfferBatch(now time.Time, entries int, b transfer.Block) {
	o.offer(now, b)
	o.offered++
	bs := &batchState{count: entries, union: make([]byte, (entries+7)/8), any: make([]byte, (entries+7)/8)}
	bs.left = o.count((*originMember).inStream)
	o.batches = append(o.batches, bs)
	o.urgent = true
}

// ScanEnded says that the manifest is complete; digest names it.
func (o *Origin) ScanEnded(now time.Time, digest uint64) {
	o.scanned, o.digest = true, digest
	o.advance(now)
}

// CanOfferData reports whether the machine takes another data block now.
func (o *Origin) CanOfferData() bool { return o.state == originStreaming && o.s.Room() > 0 }

// OfferData takes a block of file content.
func (o *Origin) OfferData(now time.Time, b transfer.Block) { o.offer(now, b) }

func (o *Origin) offer(now time.Time, b transfer.Block) {
	if _, err := o.s.Offer(now, b); err != nil {
		o.Fail(now, err.Error())
	}
}

// DataSent is called after data packets were sent.
func (o *Origin) DataSent(now time.Time) {
	if o.readEnd {
		o.advance(now)
	}
}

// BatchRead says that the content wanted of one more batch was read.
func (o *Origin) BatchRead(now time.Time) {
	o.reading--
	o.advance(now)
}

// ReadEnded says that all content was read and offered, the files that had to
// be tried again too.
func (o *Origin) ReadEnded(now time.Time) {
	o.readEnd = o.rest
	o.advance(now)
}

// DecisionWritten says that the decision to commit is on disk, or why it could
// not be put there.
func (o *Origin) DecisionWritten(now time.Time, err error) {
	if o.state != originDeciding {
		return
	}
	if err != nil {
		o.giveUp(now, fmt.Sprintf("the decision to commit could not be written: %v", err))
		return
	}
	o.commitAt = now
	o.enter(now, originCommitting)
	o.emit(EvDecided{})
	o.advance(now)
}

// Abort ends the push with nothing changed anywhere, unless the decision is
// taken. It reports whether it did.
func (o *Origin) Abort(now time.Time, why string) bool {
	if o.state >= originDeciding {
		return false
	}
	o.giveUp(now, why)
	return true
}

// CutOff ends a push that is decided and cannot be seen to its end: who has not
// said that it is done is lost, and commits by itself what is staged there.
func (o *Origin) CutOff(now time.Time, why string) {
	if o.state == originDeciding {
		o.commitAt = now // perhaps: the decision may be on disk
	}
	for _, m := range o.members {
		for _, f := range [...]*fetch{m.problems, m.deletes} {
			if f != nil && !f.done() {
				o.noLog(m, f, why)
			}
		}
		if m.alive() && m.stage != MemberDone {
			m.where = m.whereabouts(o)
			m.maybe = m.stage == MemberStaged && !o.cfg.DryRun
			m.stage, m.text = MemberLost, why+" before it had said that it is done"
		}
	}
	o.state = originOver
}

// Fail aborts for a reason of the origin's own, such as a scan that failed.
func (o *Origin) Fail(now time.Time, why string) { o.Abort(now, why) }

func (o *Origin) giveUp(now time.Time, why string) {
	o.abort = why
	o.cfg.Lock.Release()
	o.repeats = 0
	for i, m := range o.members {
		o.s.Drop(i)
		// What they logged cannot be had: members forget a push that is given up.
		m.maybe, m.problems, m.deletes = false, nil, nil
	}
	o.enter(now, originCollecting)
	o.advance(now)
}

// advance moves the push on if what it waits for is there.
func (o *Origin) advance(now time.Time) {
	for {
		before := o.state
		switch o.state {
		case originLocking:
			o.advanceLocking(now)
		case originYielding:
			o.advanceYielding(now)
		case originStreaming:
			o.advanceStreaming(now)
		case originFlushing:
			o.advanceFlushing(now)
		case originCommitting:
			if o.count(func(m *originMember) bool { return m.inStream() && m.stage != MemberDone }) == 0 {
				o.collect(now)
			}
		case originCollecting:
			if o.count(func(m *originMember) bool { return m.fetching() }) == 0 {
				o.repeats = 0
				o.enter(now, originEnding)
				o.emit(EvResult{})
			}
		}
		if o.state == before {
			return
		}
	}
}

func (o *Origin) count(is func(*originMember) bool) int {
	n := 0
	for _, m := range o.members {
		if is(m) {
			n++
		}
	}
	return n
}

func (o *Origin) advanceLocking(now time.Time) {
	if o.noneLeft(now) {
		return
	}
	h, own := o.cfg.Lock.Try()
	if !own {
		o.busy(now, h)
		return
	}
	if o.told && o.count(func(m *originMember) bool { return m.inStream() && m.busy }) == 0 {
		o.told, o.blocker, o.urgent = false, Holder{}, true // nobody names a push in the way any more
	}
	if o.count(func(m *originMember) bool { return m.inStream() && !m.locked }) == 0 {
		if o.cfg.AllOrNone && (o.cfg.Hopeless || o.count((*originMember).alive) < len(o.members)) {
			o.giveUp(now, "not every member takes part, and --all-or-none was given")
			return
		}
		o.streamAt = now
		o.epochs.start(now)
		for _, m := range o.members {
			m.hold = hold{}
		}
		o.enter(now, originStreaming)
		o.emit(EvLocked{})
	}
}

// busy notes that another push stands in the way. The later of two pushes
// gives up what it holds, so that no two wait for each other.
func (o *Origin) busy(now time.Time, h Holder) {
	if o.state != originLocking {
		return
	}
	o.blocker = h
	if o.busyAt.IsZero() {
		o.busyAt = now
	}
	if !o.told {
		o.told = true
		o.emit(EvWaiting{Holder: h})
	}
	if o.impatient(now) {
		return
	}
	if h.ID.Less(o.cfg.ID) {
		o.cfg.Lock.Release()
		for _, m := range o.members {
			m.yielded = false
		}
		o.backoff = now.Add(50*time.Millisecond + time.Duration(rand.Int64N(int64(100*time.Millisecond))))
		o.enter(now, originYielding)
	}
}

// impatient gives up when the time to wait for another push is over.
func (o *Origin) impatient(now time.Time) bool {
	if !o.told || o.state > originYielding || now.Sub(o.busyAt) < o.cfg.Wait {
		return false
	}
	o.giveUp(now, fmt.Sprintf("%s is pushing to the same paths (push %s); waited %v for it", o.blocker.Name, o.blocker.ID, o.cfg.Wait))
	return true
}

func (o *Origin) advanceYielding(now time.Time) {
	if now.Before(o.backoff) {
		return
	}
	if o.count(func(m *originMember) bool { return m.inStream() && !m.yielded }) > 0 && now.Sub(o.since) < yieldAtMost {
		return
	}
	o.attempt++
	for _, m := range o.members {
		m.locked = false
	}
	o.enter(now, originLocking)
}

func (o *Origin) advanceStreaming(now time.Time) {
	if o.noneLeft(now) {
		return
	}
	for len(o.batches) > 0 && o.batches[0].left == 0 {
		b := o.batches[0]
		o.batches = o.batches[1:]
		o.reading++
		o.emit(EvWanted{Batch: o.answered, Data: b.union, Change: b.any})
		o.answered++
	}
	if o.scanned && len(o.batches) == 0 && o.reading == 0 && !o.rest {
		o.rest = true
		o.emit(EvReadRest{})
	}
	if o.readEnd && o.s.Blocks() == o.s.Offered() {
		o.enter(now, originFlushing)
	}
}

func (o *Origin) advanceFlushing(now time.Time) {
	if o.noneLeft(now) {
		return
	}
	waiting := o.count(func(m *originMember) bool { return m.inStream() && m.stage != MemberStaged })
	lacking := len(o.members) - o.count((*originMember).alive)
	switch {
	case o.cfg.AllOrNone && (lacking > 0 || o.cfg.Hopeless):
		o.giveUp(now, "not every member could be staged, and --all-or-none was given")
	case waiting > 0:
	case o.cfg.DryRun || !o.anythingToCommit():
		for _, m := range o.members {
			if m.inStream() {
				m.stage = MemberDone
			}
		}
		o.collect(now)
	case o.cfg.AllOrNone && o.count(func(m *originMember) bool { return m.counts.Errors > 0 }) > 0:
		o.giveUp(now, "a member has errors, and --all-or-none was given")
	default:
		o.enter(now, originDeciding)
		o.emit(EvDecide{})
	}
}

// anythingToCommit reports whether any staged member would change anything.
func (o *Origin) anythingToCommit() bool {
	return o.count(func(m *originMember) bool {
		return m.stage >= MemberStaged && m.stage <= MemberDone && m.staged.Changed+m.staged.Deleted > 0
	}) > 0
}

const nobodyLeft = "no member is left"

// noneLeft aborts a push that has lost all its members.
func (o *Origin) noneLeft(now time.Time) bool {
	if o.count((*originMember).inStream) > 0 {
		return false
	}
	o.giveUp(now, nobodyLeft)
	return true
}

// collect begins to fetch the members' logs.
func (o *Origin) collect(now time.Time) {
	o.cfg.Lock.Release()
	for _, m := range o.members {
		m.startFetch(o.cfg.Deletes)
		m.word = now
	}
	o.enter(now, originCollecting)
}
