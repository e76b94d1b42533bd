package push

import (
	"context"
	"path"
	"time"

	"makuo/protocol"
	"makuo/transfer"
)

// maxNotes is how many notes may wait for whoever asked for the push before no
// more of the members' logs are fetched.
const maxNotes = 10_000

// maxProblems is how many paths in error are known of one member; beyond that,
// all of its paths are taken to be.
const maxProblems = 100_000

// progressEvery is the interval of progress notes.
const progressEvery = 200 * time.Millisecond

// run is one push at its origin: the machine, its source, and the notes on
// their way to whoever asked for it. All but the source's goroutines and
// report belongs to the loop.
type run struct {
	mgr    *Manager
	req    *Request
	o      *Origin
	s      *transfer.Sender
	src    *source
	ctx    context.Context
	cancel context.CancelFunc
	notes  *queue[Note]

	entries  map[uint32]*protocol.Batch // batches not read yet
	scanItem *scanItem                  // taken from the channel, waiting for room
	readItem *readItem
	started  time.Time
	progress time.Time
	scanEnd  bool
	readEnd  bool
	files    uint64
	names    uint64 // entries that some member changes
	wire     meter  // bytes on the wire
	sent     meter  // content
	total    uint64
	offered  []offered // data blocks whose last packet is not out
	content  uint64    // bytes of files in those that are
	state    []byte    // scratch
	problems problemSet
	pathErrs int // the origin's own
	over     bool
	stopped  bool // cancelled when the decision was taken, or being taken
	replay   bool // the manifest is read from the spool

	changes *queue[EvWant] // on the way to the spool, if the report names paths
	noted   chan struct{}  // closed when they are there

	trains     int    // given to the wire and not out yet
	packetsOut uint32 // before them
	blocksOut  uint32
}

// out returns how much of the stream has left this host.
func (r *run) out() (packets, blocks uint32) {
	if r.trains == 0 {
		return r.s.Packets(), r.s.Blocks()
	}
	return r.packetsOut, r.blocksOut
}

// offered is a data block on its way.
type offered struct {
	block   uint32
	content uint64 // bytes of files in it
}

// pathLinesWanted reports whether the report names paths.
func (r *run) pathLinesWanted() bool {
	return r.src.spool != nil && (r.req.Verbose > 0 || r.o.cfg.DryRun)
}

// problemSet knows the paths that were in error, by member; "" is the origin.
type problemSet map[string]map[string]bool

func (p problemSet) add(member, path string) {
	if p[member] == nil {
		p[member] = make(map[string]bool)
	}
	if len(p[member]) >= maxProblems {
		p[member] = make(map[string]bool)
		path = "."
	}
	if !p[member]["."] {
		p[member][path] = true
	}
}

// covers reports whether the path or a directory above it was in error.
func (p problemSet) covers(member, name string) bool {
	m := p[member]
	if len(m) == 0 {
		return false
	}
	for ; ; name = path.Dir(name) {
		if m[name] {
			return true
		}
		if name == "." || name == "/" {
			return false
		}
	}
}

// poll lets the machine send, takes blocks from the source while there is
// room, and deals with the machine's events. It returns when to come again.
func (r *run) poll(now time.Time) time.Time {
	r.o.HoldFetches(r.notes.len() >= maxNotes)
	outs, next := r.o.Poll(now)
	for _, o := range outs {
		if o.State != nil {
			r.state = o.State.Append(r.state[:0])
			r.s.ChargeControl(now, protocol.PrefixLen+len(r.state)+protocol.CheckLen)
		}
	}
	r.mgr.sendOrigin(r, outs)
	r.pull(now)
	for {
		events := r.o.Events()
		if len(events) == 0 {
			break
		}
		for _, e := range events {
			r.event(now, e)
		}
		r.pull(now)
	}
	r.measure(now)
	if !r.over && now.Sub(r.progress) >= progressEvery && r.notes.len() == 0 {
		r.progress = now
		r.notes.put(NoteProgress{r.status(now)})
	}
	return next
}

// pull offers what the source has, as long as the machine takes it.
func (r *run) pull(now time.Time) {
	for {
		moved := r.pullScan(now)
		moved = r.pullRead(now) || moved
		if !moved {
			r.src.pace(r.s.Unsent(), r.s.Rate())
			return
		}
	}
}

func (r *run) pullScan(now time.Time) bool {
	if r.scanItem == nil {
		select {
		case it := <-r.src.scanned:
			r.scanItem = &it
		default:
			return false
		}
	}
	it := r.scanItem
	switch {
	case it.end && it.err != nil:
		r.o.Fail(now, it.err.Error())
	case it.end:
		r.o.ScanEnded(now, it.digest)
		r.scanEnd = true
	case !r.o.CanOfferBatch():
		return false
	default:
		r.entries[it.batch.Number] = it.batch
		r.o.OfferBatch(now, len(it.batch.Entries), it.block)
	}
	r.scanItem = nil
	return true
}

func (r *run) pullRead(now time.Time) bool {
	if r.readItem == nil {
		select {
		case it := <-r.src.read:
			r.readItem = &it
		default:
			return false
		}
	}
	it := r.readItem
	switch {
	case it.err != nil:
		r.o.Fail(now, it.err.Error())
	case it.end:
		r.readEnd = true
		r.o.ReadEnded(now)
	case it.batchRead:
		r.o.BatchRead(now)
	case !r.o.CanOfferData():
		return false
	default:
		r.offered = append(r.offered, offered{r.s.Offered(), it.content})
		r.o.OfferData(now, *it.block)
	}
	r.readItem = nil
	return true
}

func (r *run) event(now time.Time, e Event) {
	switch e := e.(type) {
	case EvWaiting:
		r.notes.put(NoteWaiting(e))
	case EvLocked:
		if r.replay {
			r.mgr.wg.Go(func() { r.src.replay(r.ctx) })
		} else {
			r.mgr.wg.Go(func() { r.src.scan(r.ctx) })
		}
		r.mgr.wg.Go(func() { r.src.reader(r.ctx) })
	case EvWant:
		if r.changes != nil {
			r.changes.put(e)
		}
	case EvWanted:
		r.wanted(e)
	case EvReadRest:
		r.src.jobs.put(readJob{})
	case EvDecide:
		r.decide()
	case EvDecided:
		r.notes.put(NoteDecided{})
		if r.stopped {
			r.leave(now)
		}
	case EvProbe:
		r.mgr.probe(r.o, e.Member)
	case EvMember:
		if e.State == MemberParked {
			r.notes.put(NoteParked{e.Name, e.Text})
		}
	case EvProblem:
		r.problem(e.Member, e.Problem.Path, e.Problem.Text, e.Problem.Warning)
	case EvDeleted:
		r.notes.put(NotePath{ActionDelete, e.Member, e.Path})
	case EvResult:
		if r.o.agreed() {
			r.mgr.wg.Go(func() {
				if err := r.noteOrder(); err != nil {
					r.mgr.log.Warn("could not note what a push has decided", zapErr(err))
				}
			})
		}
		r.end(now)
	}
}

func (r *run) problem(member, path, text string, warning bool) {
	if r.over {
		return // the report is being written, by another goroutine
	}
	if !warning {
		r.problems.add(member, path)
		if member == "" {
			r.pathErrs++
		}
	}
	r.notes.put(NoteProblem{member, path, text, warning})
}

// unsent takes a file that could not be sent out of what members are said to
// have got: each of them that lacks it names it.
func (r *run) unsent(path string) {
	if r.over {
		return
	}
	r.problems.add("", path)
	r.files -= min(r.files, 1)
	r.names -= min(r.names, 1)
}

// wanted hands the entries that some member wants to the reader.
func (r *run) wanted(e EvWanted) {
	b := r.entries[e.Batch]
	delete(r.entries, e.Batch)
	for i := range b.Entries {
		if b.Entries[i].Type < protocol.EntryAbsent && e.Change[i/8]>>(i%8)&1 != 0 {
			r.names++
		}
		wanted := e.Data[i/8]>>(i%8)&1 != 0
		switch typ := b.Entries[i].Type; {
		case typ == protocol.EntryRegular && e.Change[i/8]>>(i%8)&1 != 0, typ == protocol.EntryHardlink && wanted:
			r.files++
		}
		if !wanted {
			continue
		}
		if file := r.src.linked.Content(&b.Entries[i]); file != nil {
			r.total += file.Content()
		} else {
			e.Data[i/8] &^= 1 << (i % 8)
		}
	}
	if r.o.cfg.DryRun {
		clear(e.Data)
	}
	r.src.jobs.put(readJob{b, e.Data})
}

// decide has the decision written: nobody waits for it but this push.
func (r *run) decide() {
	r.mgr.wg.Go(func() {
		err := r.noteOrder()
		r.mgr.cfg.Post(func(now time.Time) {
			if err != nil {
				r.o.DecisionWritten(now, err)
				return
			}
			r.mgr.cfg.Store.Decide(r.o.cfg.ID, now, r.o.DecisionWritten)
		})
	})
}

// noteChanges writes what the members change to the spool, until the push has
// ended.
func (r *run) noteChanges() {
	defer close(r.noted)
	for {
		e, ok := r.changes.take()
		if !ok {
			return
		}
		if err := r.src.spool.setBits(e.Batch, e.Member, e.Change); err != nil {
			r.mgr.cfg.Post(func(now time.Time) { r.o.Fail(now, spoolError(err).Error()) })
			r.changes.close()
			return
		}
	}
}

// end stops the source and closes the notes with the report.
func (r *run) end(now time.Time) {
	if !r.over {
		r.endWith(r.final(now))
	}
}

func (r *run) endWith(f finalNote) {
	r.over = true
	r.cancel()
	r.closeQueues()
	r.notes.put(f)
	r.notes.close()
	r.mgr.share()
}

// closeQueues ends the goroutines that work for the push.
func (r *run) closeQueues() {
	r.src.jobs.close()
	if r.changes != nil {
		r.changes.close()
	}
}

func (r *run) final(now time.Time) finalNote {
	return finalNote{r.o.Result(), r.summary(now), r.pathErrs}
}

// finalNote is turned into the report by the goroutine that delivers notes.
type finalNote struct {
	result   Result
	summary  Summary
	pathErrs int // the origin's own
}

func (r *run) summary(now time.Time) Summary {
	st := r.s.Stats()
	return Summary{Entries: r.src.entries.Load(), Updated: r.names, Files: r.files, Bytes: r.total,
		SentBytes: st.SentBytes, RepairedBytes: st.RepairedBytes, Took: now.Sub(r.started)}
}

// measure samples what was sent.
func (r *run) measure(now time.Time) {
	if r.wire.due(now) {
		r.wire.add(now, r.s.Stats().SentBytes)
	}
	if r.sent.due(now) {
		r.countContent()
		r.sent.add(now, r.content)
	}
}

// countContent moves the content of the blocks that were sent from offered to
// content.
func (r *run) countContent() {
	for len(r.offered) > 0 && r.offered[0].block < r.s.Blocks() {
		r.content += r.offered[0].content
		r.offered = r.offered[1:]
	}
}

func (r *run) status(now time.Time) Status {
	st := r.s.Stats()
	r.countContent()
	s := Status{ID: r.o.cfg.ID, Module: r.req.Header.Module, Paths: r.req.Header.Paths, Stage: r.o.Stage(), Started: r.started,
		DryRun: r.o.cfg.DryRun, Decided: r.o.Decided(), Waiting: r.o.Waiting(), UID: r.req.UID,
		Entries: r.src.entries.Load(), Content: r.content, Total: r.total, TotalKnown: r.scanEnd && len(r.entries) == 0,
		Sent: st.SentBytes, Repaired: st.RepairedBytes, Rate: r.wire.rate(now, st.SentBytes), Percent: -1, Left: -1}
	s.Awaited, s.More = r.o.awaitedMembers()
	switch {
	case r.o.state >= originFlushing:
		s.Percent = 100
	case s.TotalKnown && r.total > 0:
		s.Percent = 100 * min(1, float64(s.Content)/float64(r.total))
		if fast := r.sent.rate(now, s.Content); fast > 0 {
			s.Left = time.Duration(float64(max(r.total, s.Content)-s.Content) / fast * float64(time.Second))
		}
	}
	for _, m := range r.o.members {
		s.Members = append(s.Members, MemberStatus{m.Name, m.Addr, m.stage, m.text})
	}
	return s
}
