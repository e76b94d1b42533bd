package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"makuo/internal/fsroot"
	"makuo/protocol"
)

// Target is one push at one member. The way through it:
//
//	Begin -> Compare* -> EndCompare -> Stage -> Commit -> Close
//	                  \-- Store* --/         \-> Discard
//
// Compare and EndCompare belong to one goroutine, Store may be called by
// several and at the same time as Compare; each later call comes after all
// earlier ones have returned. A dry run ends after EndCompare. ReadLog and
// LogSize may be called at any time until Close.
//
// A path that can't be brought to the pushed state is a Problem in the log and
// never stops the others. An error returned means that the member as a whole
// can't go on: no space, no working disk, no staging directory.
type Target struct {
	m      *Module
	id     protocol.PushID
	header *protocol.PushHeader
	filter *Filter
	root   bool // owners apply
	dry    bool
	hold   holdable

	// Owned by the goroutine that compares.
	frames    []*frame
	nextBatch uint32
	nextEntry uint32
	last      string // path of the last entry
	present   int    // entries of the manifest below the root that can be in place here
	keptOff   uint64 // protected paths that differ
	newer     newerWins
	dotEmpty  bool // "." is recursed into
	links     linkTable
	spare     *fsroot.Names
	stat      fsroot.Stat // of the entry that is looked at
	space     spaceBook
	stageSeen bool // dry run: whether a staging directory can be made was looked at
	resume    []*leftover

	// Made when something is to be changed for the first time.
	stage *pushStage

	mu       sync.Mutex
	wants    wantList
	parts    map[uint32]*partFile
	counts   protocol.Counts
	held     map[string]bool // directories in which an entry had an error
	holdAll  bool            // too many to tell apart
	problems pageLog
	deletes  pageLog
	warned   map[string]bool

	work workCount

	full        atomic.Bool  // space or inodes ran out
	stored      atomic.Int64 // bytes of wanted content that are written
	storedFiles atomic.Int64

	going     uint64 // names that deletion takes
	goingRoot int    // ... directly at the root
	noDelete  bool   // MaxDelete or an empty source: nothing is deleted at all
	staged    bool
	marked    bool
	otherBoot bool         // it was staged under another run of the kernel: device numbers may differ
	began     *commitStart // nil: no commit has been tried
	goneTo    int64        // names that went with a directory are logged up to here in the plan

	ending sync.Mutex // Commit, Discard and Close exclude each other: Begin may finish another push
	closed bool
}

// Begin starts a push. Nothing is made on disk before something is to be
// changed. The header comes from protocol.ParsePushHeader.
//
// A commit on overlapping paths that stopped half-way is finished first; as
// long as that fails, so does Begin.
func (m *Module) Begin(id protocol.PushID, h *protocol.PushHeader) (*Target, error) {
	if err := m.CheckBase(); err != nil {
		return nil, err
	}
	if h.Options&(protocol.OptDryRun|protocol.OptCheck) == 0 {
		if err := m.finishEarlier(h.Paths); err != nil {
			return nil, fmt.Errorf("module %s: %w", m.Name(), err)
		}
	}
	return m.begin(id, h)
}

// begin is Begin without looking at earlier pushes.
func (m *Module) begin(id protocol.PushID, h *protocol.PushHeader) (*Target, error) {
	f, err := NewFilter(h.Rules)
	if err != nil {
		return nil, err
	}
	m.accounts.refresh()
	m.plain.start(m.Root)
	t := &Target{
		m: m, id: id, header: h, filter: f,
		root:  m.may.chown,
		dry:   h.Options&(protocol.OptDryRun|protocol.OptCheck) != 0,
		parts: make(map[uint32]*partFile), held: make(map[string]bool), warned: make(map[string]bool),
	}
	t.hold.init(t)
	t.links.init()
	t.askNewer()
	root, err := m.Root.OpenDir(".")
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", m.Name(), err)
	}
	t.frames = []*frame{{path: ".", dir: root}}
	if !t.dry {
		if err = m.trimLeftovers(time.Now()); err == nil {
			t.resume, err = m.leftovers(h.Paths)
		}
		if err != nil {
			root.Close()
			return nil, err
		}
	}
	return t, nil
}

// Compare holds the next batch against the member's tree. Bit i of data says
// that the content of entry i is needed, bit i of change that the entry will
// be made or changed. Its entries belong to the target from then on.
func (t *Target) Compare(b *protocol.Batch) (data, change []byte, err error) {
	if b.Number != t.nextBatch || b.First != t.nextEntry {
		return nil, nil, fmt.Errorf("batch %d with entry %d came when batch %d with entry %d was due", b.Number, b.First, t.nextBatch, t.nextEntry)
	}
	n := (len(b.Entries) + 7) / 8
	data, change = make([]byte, n), make([]byte, n)
	for i := range b.Entries {
		e := &b.Entries[i]
		if t.last != "" && protocol.ComparePaths(t.last, e.Path) >= 0 {
			return nil, nil, fmt.Errorf("manifest: %q does not come after %q", e.Path, t.last)
		}
		t.last = e.Path
		t.work.Add(1)
		v, err := t.entry(b.First+uint32(i), e)
		if err != nil {
			return nil, nil, err
		}
		if v >= verdictChange {
			change[i/8] |= 1 << (i % 8)
		}
		if v == verdictData {
			data[i/8] |= 1 << (i % 8)
		}
	}
	t.nextBatch++
	t.nextEntry += uint32(len(b.Entries))
	if err := t.flushPlan(); err != nil {
		return nil, nil, err
	}
	return data, change, t.space.check(t)
}

// EndCompare comes after the last batch: what is left of the member's own
// listing is decided, and the plan is complete but for what Store brings.
func (t *Target) EndCompare() error {
	for len(t.frames) > 0 {
		if err := t.pop(); err != nil {
			return err
		}
	}
	t.checkDeletes()
	t.reportKeptOff()
	t.reportNewer()
	return t.flushPlan()
}

// verdict is what compare decided about one entry.
type verdict uint8

const (
	verdictNone   verdict = iota
	verdictChange         // made or changed without content
	verdictData           // content is needed
)

// entry decides about one entry.
func (t *Target) entry(n uint32, e *protocol.Entry) (verdict, error) {
	if e.Path == "." {
		return t.rootEntry(n, e)
	}
	dir, name := splitPath(e.Path)
	f, err := t.enter(dir, e.Type >= protocol.EntryAbsent)
	if err == nil && f.protected {
		t.links.fail(e)
		v := t.belowProtected(e)
		t.countChange(v)
		return v, nil
	}
	if err != nil || f.blocked {
		t.links.fail(e)
		return verdictNone, err
	}
	f.filled = f.filled || e.Type < protocol.EntryAbsent
	st, err := f.lookup(t, name)
	if err != nil {
		t.links.fail(e)
		return verdictNone, t.fail(e.Path, err)
	}
	if len(e.Xattrs) > 0 && e.Type != protocol.EntryDirectory || e.Type == protocol.EntryHardlink {
		f.mixed = true
	}
	if scope := t.newer.scope(e.Path); scope == ScopePath || scope == ScopeBelow && e.Type != protocol.EntryDirectory && st != nil && st.IsDir() {
		t.newerEntry(f, e, name, st)
		return verdictNone, nil
	}
	t.hold.narrow(e)
	v, err := t.decide(f, n, e, name, st)
	if err != nil {
		if e.Type == protocol.EntryDirectory {
			t.pushBlocked(e.Path)
		}
		t.links.fail(e)
		return verdictNone, t.fail(e.Path, err)
	}
	if e.Type < protocol.EntryAbsent && e.Flags&protocol.EntryImplied == 0 && !t.protected(e, st) {
		t.present++
		t.hold.tellOwner(e, st)
		t.hold.tellAttrs(e)
		t.hold.tellTime(e)
	}
	t.countChange(v)
	return v, nil
}

func (t *Target) countChange(v verdict) {
	if v != verdictNone {
		t.counted(func(c *protocol.Counts) { c.Changed++ })
	}
}

var errStagePath = errors.New("is, or holds, this member's staging directory, which no push may touch")

// decide returns what is to be done about e; st is nil if the name is free. An
// error is one of the path, or of the member if fatal says so.
func (t *Target) decide(f *frame, n uint32, e *protocol.Entry, name string, st *fsroot.Stat) (verdict, error) {
	isDir := e.Type == protocol.EntryDirectory
	switch {
	case e.Path == t.m.stageRel, !isDir && e.Type < protocol.EntryAbsent && t.m.holdsStage(e.Path):
		return verdictNone, errStagePath
	case e.Type == protocol.EntryFailed, t.protected(e, st):
		t.pushBlocked(e.Path)
		t.links.fail(e)
		if e.Type == protocol.EntryFailed {
			return verdictNone, nil
		}
		t.frames[len(t.frames)-1].protected = true
		return t.keepOff(f.dir, e, name, st), nil
	case e.Type == protocol.EntryAbsent:
		return t.absent(f, e, name, st)
	case st != nil && st.IsDir() != isDir && t.excludedHere(f, e.Path, st):
		return verdictNone, errExcluded
	case st != nil && !st.IsDir() && e.Flags&protocol.EntryImplied != 0:
		return verdictNone, t.errParent(f, name, st)
	case st != nil && st.Mount && !(isDir && e.Flags&protocol.EntryImplied != 0):
		return verdictNone, fsroot.ErrMount
	case isDir:
		return t.directory(f, n, e, name, st)
	case e.Type == protocol.EntryHardlink:
		return t.hardlink(f, n, e, name, st)
	}
	v, err := t.file(f, n, e, name, st)
	return v, err
}

// rootEntry is entry for ".".
func (t *Target) rootEntry(n uint32, e *protocol.Entry) (verdict, error) {
	f := t.frames[0]
	if e.Type == protocol.EntryFailed {
		f.blocked = true
		return verdictNone, nil
	}
	if e.Flags&protocol.EntryImplied != 0 {
		return verdictNone, nil
	}
	f.take(t, n, e)
	f.newer = t.newer.scope(".") == ScopePath
	t.dotEmpty = e.Flags&protocol.EntryRecurse != 0
	st, err := f.dir.LstatSelf()
	if err != nil {
		return verdictNone, t.fail(".", err)
	}
	t.hold.narrow(e)
	t.hold.tellOwner(e, &st)
	t.hold.tellAttrs(e)
	t.hold.tellTime(e)
	f.plain.ino, f.judged = st.Ino, identOf(&st)
	if f.differs, err = t.differs(node{d: f.dir}, e, &st, nil); err != nil {
		return verdictNone, t.fail(".", err)
	}
	if f.differs && f.newer {
		f.differs = false
		t.newer.left++
	}
	f.foreign = f.differs && !t.mayAdjust(".", &st)
	f.differs = f.differs && !f.foreign
	if f.differs {
		t.counted(func(c *protocol.Counts) { c.Changed++ })
		return verdictChange, nil
	}
	return verdictNone, nil
}

// directory is decide for directories. It leaves a frame for what lies below.
func (t *Target) directory(f *frame, n uint32, e *protocol.Entry, name string, st *fsroot.Stat) (verdict, error) {
	child := &frame{path: e.Path, name: name, inTree: f.inTree, top: f.top, keep: f.keep}
	if st == nil || !st.IsDir() {
		if err := t.makeDirectory(f, child, n, e, st); err != nil {
			return verdictNone, err
		}
		child.take(t, n, e)
		child.deletes = false
		t.frames = append(t.frames, child)
		return verdictChange, nil
	}
	child.plain.ino, child.judged = st.Ino, identOf(st)
	if e.Flags&protocol.EntryImplied == 0 {
		child.take(t, n, e)
		var err error
		if child.differs, err = t.differs(node{f.dir, name}, e, st, nil); err != nil {
			return verdictNone, err
		}
	}
	child.foreign = child.differs && !t.mayAdjust(e.Path, st)
	child.differs = child.differs && !child.foreign
	t.frames = append(t.frames, child)
	if child.differs {
		return verdictChange, nil
	}
	return verdictNone, nil
}

// absent is decide for a pushed path that is not at the origin.
func (t *Target) absent(f *frame, e *protocol.Entry, name string, st *fsroot.Stat) (verdict, error) {
	opt := t.header.Options
	if st == nil || opt&protocol.OptDeleteMissing == 0 {
		return verdictNone, nil
	}
	if st.IsDir() && opt&protocol.OptRecursive == 0 {
		if err := t.refuseFull(f.dir, name, "with -r it would be removed"); err != nil {
			return verdictNone, err
		}
	}
	if err := t.mayChange(f, st); err != nil {
		return verdictNone, fmt.Errorf("is not deleted: %w", err)
	}
	_, err := t.remove(deletion{from: f, op: opDelete}, f.dir, name, e.Path, st.Type())
	return verdictNone, err
}

// splitPath returns the directory and the last component of a path.
func splitPath(p string) (dir, name string) {
	i := strings.LastIndexByte(p, '/')
	if i < 0 {
		return ".", p
	}
	return p[:i], p[i+1:]
}

func joinPath(dir, name string) string {
	if dir == "." {
		return name
	}
	return dir + "/" + name
}

// absentOK turns "is not there" into success.
func absentOK(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
