package push

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"makuo/internal/push/journal"
	"makuo/internal/push/order"
	"makuo/internal/tree"
	"makuo/protocol"
	"makuo/transfer"
)

// storeWorkers is how many goroutines write data blocks at one member.
const storeWorkers = 2

// memberRun is one push at a member: the machine, which belongs to the loop,
// and a target that only work's goroutine begins, compares with, stages,
// commits and discards; data blocks are stored by goroutines beside it.
type memberRun struct {
	mgr    *Manager
	m      *Member
	origin protocol.Session
	addr   netip.AddrPort // its state messages come from
	jobs   *queue[func()]
	blocks *queue[transfer.Complete]
	wg     sync.WaitGroup // store workers
	work   sync.WaitGroup // blocks handed to them and not dealt with
	done   chan struct{}  // closed when all goroutines have ended

	working atomic.Pointer[tree.Target] // whose work is told
	storing atomic.Pointer[tree.Target] // set by the job goroutine, used by the workers

	// Owned by the job goroutine.
	target  *tree.Target
	early   map[uint32]transfer.Complete // batches ahead of the next one, by number
	next    uint32
	begun   int // the attempt that target is of
	digest  uint64
	failed  error
	discard bool
	dry     bool
	decides *order.Entries // what the push decides; nil: all that is at or below its paths

	// Owned by the loop: the target whose logs are served.
	logs     LogReader
	fetches  []protocol.Fetch // not answered; the first is being read
	attempts int              // targets asked for
	entries  uint64
	content  uint64               // bytes stored
	received meter                // of content
	waits    bool                 // to commit, for a newer push
	newer    []protocol.NewerPush // decided elsewhere since
	cause    error                // why the commit failed last
}

// maxEarlyBatches is how far a batch may be ahead of the next one. They are
// kept as they came, within the receiver's room.
const maxEarlyBatches = 64

func newMemberRun(mgr *Manager, origin protocol.Session, addr netip.AddrPort) *memberRun {
	r := &memberRun{mgr: mgr, origin: origin, addr: addr, jobs: newQueue[func()](), blocks: newQueue[transfer.Complete](),
		early: make(map[uint32]transfer.Complete), done: make(chan struct{}), received: meter{every: time.Second / meterSamples}}
	mgr.wg.Add(1)
	go func() {
		defer mgr.wg.Done()
		defer close(r.done)
		for {
			job, ok := r.jobs.take()
			if !ok {
				break
			}
			job()
		}
		r.blocks.close()
		r.wg.Wait()
		if r.target != nil {
			r.target.Close()
		}
	}()
	return r
}

// post runs f on the loop.
func (r *memberRun) post(f func(now time.Time)) { r.mgr.cfg.Post(f) }

func (r *memberRun) poll(now time.Time) time.Time {
	if t := r.working.Load(); t != nil {
		r.m.Worked(t.Work())
	}
	outs, next := r.m.Poll(now)
	for _, o := range outs {
		r.mgr.sendMember(r, o)
	}
	r.handle()
	if r.waits {
		r.commit()
		next = earlier(next, now.Add(commitAgain))
	}
	return next
}

func (r *memberRun) event(e Event) {
	switch e := e.(type) {
	case EvBegin:
		r.begin(e.Header)
	case EvBlock:
		r.block(e.Block)
	case EvStage:
		r.jobs.put(r.stage)
	case EvCommit:
		r.commit()
	case EvAgreed:
		r.jobs.put(r.agreed)
	case EvDiscard:
		r.jobs.put(func() { r.drop(e.Keep) })
	case EvFinished:
		r.mgr.memberOver(r, e.Outcome)
	}
}

func (r *memberRun) begin(h *protocol.PushHeader) {
	id, module := r.m.ID(), r.mgr.modules[h.Module]
	r.attempts++
	attempt := r.attempts
	earlier := r.mgr.endings(r, h)
	r.jobs.put(func() {
		for _, ended := range earlier {
			<-ended
		}
		r.dry = h.Options&protocol.OptDryRun != 0
		if r.target != nil {
			r.target.Close() // of an attempt that gave the lock back
		}
		if r.decides = nil; !order.Whole(h) && !r.dry {
			r.decides = new(order.Entries)
		}
		t, err := module.Begin(id, h)
		r.target, r.early, r.next, r.digest, r.failed, r.discard = t, make(map[uint32]transfer.Complete), 0, 0, err, false
		if err == nil {
			if r.begun == 0 {
				r.startStorers()
			}
			r.begun = attempt
			r.storing.Store(t)
			r.working.Store(t)
		}
		r.post(func(now time.Time) {
			if err == nil {
				r.logs = t
			}
			r.m.Began(now, err)
		})
	})
}

func (r *memberRun) startStorers() {
	for range storeWorkers {
		r.wg.Add(1)
		go r.storer()
	}
}

// block routes a complete block: manifest batches to the job goroutine, which
// compares them in order, data to the store workers.
func (r *memberRun) block(c transfer.Complete) {
	if c.Kind.Base() == protocol.BlockData {
		r.work.Add(1)
		r.blocks.put(c)
		return
	}
	r.jobs.put(func() { r.manifest(c) })
}

func (r *memberRun) manifest(c transfer.Complete) {
	if r.discard || r.failed != nil || r.target == nil {
		r.post(func(now time.Time) { r.m.Stored(now, c) })
		return
	}
	content, b, err := parseBatch(c)
	switch {
	case err != nil:
		r.bad(c, err)
		return
	case b.Number < r.next || b.Number-r.next > maxEarlyBatches || r.early[b.Number].Encoded != nil:
		r.bad(c, fmt.Errorf("batch %d of the manifest came out of turn: %d is the next", b.Number, r.next))
		return
	case b.Number > r.next:
		r.early[b.Number] = c
		return
	}
	for {
		r.compare(c, content, b)
		var ok bool
		if c, ok = r.early[r.next]; !ok {
			return
		}
		delete(r.early, r.next)
		if content, b, err = parseBatch(c); err != nil {
			r.bad(c, err) // it was whole when it came
			return
		}
	}
}

func parseBatch(c transfer.Complete) (content []byte, b *protocol.Batch, err error) {
	if content, _, err = transfer.DecodeBlock(c.Kind, c.Encoded, nil); err == nil {
		b, err = protocol.ParseBatch(content)
	}
	return content, b, err
}

// bad deals with a block that cannot be used. One that is damaged is asked for
// anew; one that is what its origin sent would come again as it is.
func (r *memberRun) bad(c transfer.Complete, err error) {
	if errors.Is(err, transfer.ErrContent) {
		r.post(func(time.Time) { r.m.BlockBad(c.ID) })
		return
	}
	r.post(func(now time.Time) {
		r.m.Fail(now, fmt.Sprintf("it could not read block %d of the push: %v", c.ID, err))
		r.m.Stored(now, c)
	})
}

func (r *memberRun) compare(c transfer.Complete, content []byte, b *protocol.Batch) {
	r.next++
	r.digest = protocol.ChainDigest(r.digest, content)
	if r.decides != nil {
		r.decides.AddBatch(b)
	}
	data, change, err := r.target.Compare(b)
	digest, attempt, count := r.digest, r.begun, uint64(len(b.Entries))
	if err != nil {
		r.failed = err
		r.post(func(now time.Time) { r.m.Fail(now, err.Error()) })
		return
	}
	r.post(func(now time.Time) {
		if attempt != r.attempts {
			r.m.Stored(now, c) // the lock was given back since
			return
		}
		r.entries = uint64(b.First) + count
		r.m.Compared(now, c, b.Number, b.First, uint32(len(b.Entries)), data, change, digest)
	})
}

// storer writes data blocks until there are no more.
func (r *memberRun) storer() {
	defer r.wg.Done()
	for {
		c, ok := r.blocks.take()
		if !ok {
			return
		}
		r.store(r.storing.Load(), c)
		r.work.Done()
	}
}

func (r *memberRun) store(t *tree.Target, c transfer.Complete) {
	content, hash, err := transfer.DecodeBlock(c.Kind, c.Encoded, nil)
	var pieces []protocol.Piece
	if err == nil {
		pieces, err = protocol.ParsePieces(content)
	}
	if err != nil {
		r.bad(c, err)
		return
	}
	if t != nil { // nil: it was discarded meanwhile
		err = t.Store(pieces, hash)
	}
	size := uint64(len(content))
	r.post(func(now time.Time) {
		if err != nil {
			r.m.Fail(now, err.Error())
		}
		r.m.Stored(now, c)
		if r.received.due(now) {
			r.received.add(now, r.content)
		}
		r.content += size
	})
}

func (r *memberRun) stage() {
	err := r.failed
	var counts protocol.Counts
	if err == nil {
		err = r.target.EndCompare()
	}
	switch {
	case err != nil:
	case r.dry:
		counts = r.target.Counts()
	default:
		counts, err = r.target.Stage(r.digest)
	}
	r.post(func(now time.Time) { r.m.StageDone(now, counts, err) })
}

// commit has it noted that the push is to be committed here, then commits.
func (r *memberRun) commit() {
	m := r.mgr
	id, header := r.m.ID(), r.m.Header()
	module := header.Module
	c := claimOf(id, header)
	if r.waits = m.newerHolds(&c); r.waits {
		return
	}
	newer := r.newer
	m.behind(id, newer)
	m.cfg.Store.Ordered(id, module, m.now, func(now time.Time, err error) {
		m.noted(now, err)
		r.jobs.put(func() {
			counts, took, err := r.decide(newer)
			r.post(func(now time.Time) {
				r.cause = err
				if err != nil {
					m.log.Error("could not commit a push; it is tried again", zap.Stringer("push", id), zapErr(err))
				} else {
					m.cfg.Store.Ended(module, journal.LastPush{ID: id, Origin: r.m.Header().Name, At: now, Errors: counts.Errors}, m.noted)
				}
				r.m.CommitDone(now, counts, took, err)
			})
		})
	})
}

// drop discards the target when the stores under way are over. Its logs stay
// readable.
func (r *memberRun) drop(keep bool) {
	r.discard = true
	r.storing.Store(nil)
	if r.target == nil {
		return
	}
	r.work.Wait()
	if err := r.target.Discard(keep); err != nil {
		r.mgr.log.Warn("could not discard what was staged", zapErr(err))
	}
}

// maxFetches is how many requests for pieces of a log wait; the origin repeats
// the others.
const maxFetches = 4

// fetch answers the origin's request for a piece of a log, which may be on disk.
func (r *memberRun) fetch(f *protocol.Fetch) {
	if len(r.fetches) >= maxFetches {
		return
	}
	r.fetches = append(r.fetches, *f)
	if len(r.fetches) == 1 {
		r.nextFetch()
	}
}

// nextFetch reads what the oldest request asks for on a goroutine.
func (r *memberRun) nextFetch() {
	f, logs := r.fetches[0], r.logs
	if logs == nil {
		logs = emptyLog{}
	}
	r.wg.Go(func() {
		var list []*protocol.Page
		err := pages(logs, r.origin, &f, func(p *protocol.Page) {
			page := *p
			page.Bytes = bytes.Clone(p.Bytes)
			list = append(list, &page)
		})
		r.post(func(time.Time) {
			if err != nil {
				r.mgr.log.Warn("could not read a log of the push", zapErr(fmt.Errorf("kind %d: %w", f.Kind, err)))
			}
			for _, p := range list {
				r.mgr.toOrigin(r, protocol.TypePage, p)
			}
			if r.fetches = r.fetches[1:]; len(r.fetches) > 0 && !r.m.Over() {
				r.nextFetch()
			}
		})
	})
}

type emptyLog struct{}

func (emptyLog) LogSize(protocol.PageKind) int64 { return 0 }

func (emptyLog) ReadLog(protocol.PageKind, []byte, int64) (int, error) { return 0, nil }
