package push

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"makuo/internal/push/order"
	"makuo/protocol"
	"makuo/transfer"
)

// ErrNoModule is wrapped when a request names a module that is not served.
var ErrNoModule = errors.New("no such module")

// encoded recycles the bytes of dead blocks.
var encoded = sync.Pool{New: func() any { return new([]byte) }}

func takeBytes() []byte { return (*encoded.Get().(*[]byte))[:0] }

func giveBytes(b []byte) { encoded.Put(&b) }

// Push runs one push and hands its notes to emit, in order, on the caller's
// goroutine; it returns when the push is over. The last note is NoteSummary,
// unless an error is returned. When ctx ends, the push is aborted if the
// decision is not taken yet; if it is, the members go on, but the report does
// not wait for them, and members that were set aside are not served. It may be called from any goroutine but the
// owner's.
func (m *Manager) Push(ctx context.Context, req *Request, emit func(Note)) error {
	r, err := m.begin(req, nil)
	if err != nil {
		return err
	}
	defer r.src.close()
	defer r.cancelWith(ctx)()
	final, err := r.deliver(emit)
	if err != nil {
		return err
	}
	sum, parked := r.report(final, emit)
	if len(parked) > 0 {
		m.late(ctx, req, r, parked, time.Now(), &sum, emit)
	}
	emit(NoteSummary{sum})
	return nil
}

// begin makes a run on the owner. Its files are made here, where a slow disk
// keeps nobody else waiting.
func (m *Manager) begin(req *Request, spooled *spool) (r *run, err error) {
	sp, err := m.spoolFor(req, spooled)
	if err != nil {
		return nil, err
	}
	done := make(chan struct{})
	m.cfg.Post(func(now time.Time) {
		r, err = m.start(now, req, sp, spooled != nil)
		close(done)
	})
	select {
	case <-done:
	case <-m.closed: // the owner is gone and runs nothing any more
		return nil, ErrShutdown
	}
	if err != nil && sp != nil {
		sp.close()
	}
	return r, err
}

// spoolFor returns the spool that a push needs, which is to read the batches of
// spooled if there is one; nil if it needs none.
func (m *Manager) spoolFor(req *Request, spooled *spool) (*spool, error) {
	dry := req.Header.Options&protocol.OptDryRun != 0
	switch {
	case spooled != nil:
		return spooled.again(m.cfg.Spool, len(req.Roster))
	case req.parks() || req.Verbose > 0 || dry:
		return newSpool(m.cfg.Spool, len(req.Roster))
	}
	return nil, nil
}

// parks reports whether the push goes on without members that hold the others
// back.
func (r *Request) parks() bool {
	return len(r.Roster) > 1 && !r.AllOrNone && r.Header.Options&protocol.OptDryRun == 0
}

// deliver hands the notes to emit until the push has ended.
func (r *run) deliver(emit func(Note)) (finalNote, error) {
	for {
		n, ok := r.notes.take()
		if !ok {
			return r.cutOff(time.Now(), emit)
		}
		if f, ok := n.(finalNote); ok {
			return f, nil
		}
		emit(n)
	}
}

// cutOff ends the notes of a push when the daemon was shut down under it. The
// owner is gone, so that the machine is this goroutine's.
func (r *run) cutOff(now time.Time, emit func(Note)) (finalNote, error) {
	if !r.o.Decided() {
		return finalNote{}, ErrShutdown
	}
	r.o.CutOff(now, "the daemon was shut down")
	for _, e := range r.o.Events() {
		if p, ok := e.(EvProblem); ok {
			emit(NoteProblem{p.Member, p.Problem.Path, p.Problem.Text, p.Problem.Warning})
		}
	}
	return r.final(now), nil
}

// unserved tells of parked members that could not be served after the others.
func unserved(parked []RosterMember, why error, sum *Summary, emit func(Note)) {
	for _, p := range parked {
		emit(NoteMember{MemberResult: MemberResult{RosterMember: p, Outcome: MemberFailed, Text: unservedText(why.Error())}})
	}
	sum.Failed += len(parked)
	if sum.Ending == EndedDone {
		sum.Ending = EndedPartial
	}
}

func unservedText(why string) string {
	return "it was set aside and could not be served after the others: " + why + "; it is behind"
}

// share divides what the daemon may use among its running pushes: the limit of
// the rate, and the memory of the windows.
func (m *Manager) share() {
	var running []*run
	for _, r := range m.runs {
		if !r.over {
			running = append(running, r)
		}
	}
	for _, r := range running {
		r.s.SetWindow(max(leastWindow, transfer.DefaultWindow/len(running)))
		if m.cfg.RateCap > 0 {
			r.s.SetCap(max(1, m.cfg.RateCap/int64(len(running))))
		}
	}
}

// leastWindow is what a push gets however many are running.
const leastWindow = 1 << 20 // bytes

// late serves parked members by a push of their own: the same manifest, from
// the spool. What they had stored completely is used. Of several, those that
// hold the others back are parked again.
func (m *Manager) late(ctx context.Context, req *Request, r *run, parked []RosterMember, since time.Time, sum *Summary, emit func(Note)) {
	if ctx.Err() != nil {
		unserved(parked, errors.New(cancelled), sum, emit)
		return
	}
	again := lateRequest(req, r.o.cfg.ID, parked)
	l, err := m.begin(&again, r.src.spool)
	if err != nil {
		unserved(parked, err, sum, emit)
		return
	}
	defer l.src.close()
	defer l.cancelWith(ctx)()
	pass := func(n Note) {
		if n, ok := lateNote(n, time.Since(since)); ok {
			emit(n)
		}
	}
	final, err := l.deliver(pass)
	if err != nil {
		unserved(parked, err, sum, emit)
		return
	}
	final.behind()
	part, rest := l.report(final, pass)
	sum.addLate(&part)
	if len(rest) > 0 {
		m.late(ctx, req, l, rest, since, sum, emit)
	}
}

// lateRequest asks for the push that serves the parked members of req, in whose
// place in the order it stays. What
// is in its way is that push itself, at members that have not heard of its end:
// it is waited for, whatever the user says of other pushes.
func lateRequest(req *Request, place protocol.PushID, parked []RosterMember) Request {
	again := *req
	again.Roster, again.Absent = parked, nil
	if again.Header.Order.IsZero() {
		again.Header.Order = place
	}
	again.Wait = max(req.Wait, req.Timeout, 2*preemptAfter)
	return again
}

// start makes the machine of a push and its source: a walk, or a spool that
// another push of the same manifest has filled.
func (m *Manager) start(now time.Time, req *Request, sp *spool, replay bool) (*run, error) {
	module := m.modules[req.Header.Module]
	if module == nil {
		return nil, fmt.Errorf("%w: %q", ErrNoModule, req.Header.Module)
	}
	if m.closing {
		return nil, ErrShutdown
	}
	req.Header.Name = m.cfg.Name
	req.Header.Roster = nil
	for _, r := range req.Roster {
		req.Header.Roster = append(req.Header.Roster, r.Session)
	}
	content := req.Header.Append(nil)
	if len(content) > protocol.MaxHeaderLen {
		return nil, fmt.Errorf("the push's paths, patterns and members take %d bytes, the limit is %d: push fewer paths at a time or shorten the patterns", len(content), protocol.MaxHeaderLen)
	}
	symbol := protocol.SymbolSize(m.cfg.Wire.Payload())
	src, err := newSource(module, &req.Header, symbol)
	if err != nil {
		return nil, err
	}
	src.spool = sp
	if replay {
		src.late = someNames(req.Roster)
	}
	r := &run{mgr: m, req: req, src: src, notes: newQueue[Note](), entries: make(map[uint32]*protocol.Batch),
		wire: meter{every: time.Second / meterSamples}, sent: meter{every: 5 * time.Second / meterSamples},
		started: now, problems: make(problemSet), replay: replay}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	if !order.Whole(&req.Header) && req.Header.Options&(protocol.OptDryRun|protocol.OptCheck) == 0 {
		src.decides = new(order.Entries)
	}
	src.wake = func() { m.cfg.Post(func(time.Time) {}) }
	src.problem = func(path, text string, warning bool) {
		m.cfg.Post(func(time.Time) { r.problem("", path, text, warning) })
	}
	src.unsent = func(path string) {
		m.cfg.Post(func(time.Time) { r.unsent(path) })
	}
	kind, enc, err := transfer.EncodeBlock(protocol.BlockHeader, content, nil)
	if err != nil {
		return nil, err
	}
	m.streams++
	r.s = transfer.NewSender(transfer.SenderConfig{Stream: m.streams, Members: len(req.Roster), SymbolSize: symbol,
		Rate: transfer.RateConfig{Cap: m.cfg.RateCap}, Release: giveBytes}, now)
	// Two pushes of one daemon never share an id, whatever the clock does.
	m.last = m.nextStart(now)
	id := protocol.PushID{Start: m.last, Origin: m.cfg.Self}
	opt := req.Header.Options
	r.o = NewOrigin(OriginConfig{ID: id, Stream: m.streams, DryRun: opt&protocol.OptDryRun != 0, AllOrNone: req.AllOrNone,
		Hopeless: req.lacking() > 0, Park: req.parks(), Deletes: req.Verbose > 0 || opt&protocol.OptDryRun != 0,
		Wait: req.Wait, Timeout: req.Timeout, Roster: req.Roster, Sender: r.s, Out: r.out, Payload: m.cfg.Wire.Payload(),
		HeaderBlock: transfer.Block{Kind: kind, Encoded: enc}, Lock: &ownLock{m, id, claimOf(id, &req.Header)}, Place: order.Place(id, &req.Header)}, now)
	if r.pathLinesWanted() {
		r.changes, r.noted = newQueue[EvWant](), make(chan struct{})
		m.wg.Go(r.noteChanges)
	}
	m.runs = append(m.runs, r)
	m.share()
	r.notes.put(NoteStart{id})
	return r, nil
}

// nextStart returns the start of the next push of ours: it comes after all that
// are known here, but is never further ahead of the clock than others accept.
func (m *Manager) nextStart(now time.Time) int64 {
	wall := now.UnixNano()
	if next := max(wall, m.last+1, m.seen+1); next <= wall+int64(aheadOfClock)/2 {
		return next
	}
	return wall
}

// ownLock is a push's lock on the paths of its own daemon.
type ownLock struct {
	m  *Manager
	id protocol.PushID
	c  claim
}

// Try implements Locker.
func (l *ownLock) Try() (Holder, bool) { return l.m.tryLock(l.c) }

// Release implements Locker.
func (l *ownLock) Release() { l.m.locks.Release(l.id) }
