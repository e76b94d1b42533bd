package push

import (
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

// OriginConfig describes one push to its machine.
type OriginConfig struct {
	ID          protocol.PushID
	Place       protocol.PushID // in the order of the pushes
	Stream      uint32
	DryRun      bool
	AllOrNone   bool          // commit only if the whole roster is staged
	Hopeless    bool          // with AllOrNone: somebody who should be in the roster is not
	Deletes     bool          // fetch the members' deletion logs
	Park        bool          // go on without members that hold the others back
	Wait        time.Duration // for locks; 0: do not wait
	Timeout     time.Duration // of a member's silence until it is lost
	Roster      []RosterMember
	Payload     int // UDP payload of a full packet
	HeaderBlock transfer.Block
	Sender      *transfer.Sender
	Lock        Locker

	// Out returns the numbers of packets and of whole blocks that have left
	// this host; nil: what the Sender gave out has.
	Out func() (packets, blocks uint32)
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

	lastState  time.Time
	stateSeq   uint32
	urgent     bool   // a state message is due at once
	heardFrom  int    // next roster index of the heard list
	stateBytes int    // of the last state message, as an IP packet
	scratch    []byte // a state message, to count its bytes
	repeats    int

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
	alone    bool // nobody waits for the end: see Leave
	hold     bool // no pages are fetched: see HoldFetches
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
	if cfg.Place.IsZero() {
		cfg.Place = cfg.ID
	}
	o := &Origin{cfg: cfg, s: cfg.Sender, index: make(map[protocol.Session]int), started: now, since: now, looked: now, urgent: true}
	for i, r := range cfg.Roster {
		o.index[r.Session] = i
		o.members = append(o.members, &originMember{RosterMember: r, heard: now, word: now, lastProbe: now, progress: progress{at: now}})
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
	m.heard = now
	if fb.Origin != o.cfg.ID.Origin {
		return // about a push of a daemon that ran before: see Manager.run
	}
	m.word = now
	m.syncing = fb.Flags&protocol.FlagSyncing != 0
	if m.inStream() {
		o.word(now, m)
		longest, _ := paceTimes(len(o.members))
		m.pace.add(now, fb, o.s.Packets(), longest)
		o.s.HandleFeedback(now, i, fb)
		m.progress.note(now, fb, o.s.Consumed(i))
	}
}

// HandleReport takes a member's numbered records.
func (o *Origin) HandleReport(now time.Time, from protocol.Session, r *protocol.Report) {
	i, ok := o.index[from]
	if !ok {
		return
	}
	m := o.members[i]
	m.heard = now
	if r.Origin != o.cfg.ID.Origin {
		return
	}
	m.word = now
	for _, rec := range m.in.take(r) {
		m.progress.moved(now)
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

// left returns how much of the stream has left this host.
func (o *Origin) left() (packets, blocks uint32) {
	if o.cfg.Out != nil {
		return o.cfg.Out()
	}
	return o.s.Packets(), o.s.Blocks()
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
	if _, blocks := o.left(); o.readEnd && blocks == o.s.Offered() {
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
