package tree

import (
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"makuo/internal/fsroot"
)

// plainDirs remembers directories in which nothing but directories may have
// extended attributes, so that a walk need not ask for those of each file
// again: asking costs as much as a stat, and nearly no file has any.
//
// A record says: at the time At, no file that was then in the directory with
// this path and inode had attributes that count. It holds for a file of that
// directory whose change time is before At:
//
//   - to set an attribute moves the change time of the file,
//   - so does a rename or a link, by which a file comes into the directory,
//   - a directory that takes the place of another has another inode, or is
//     newer than the record and so is everything in it.
//
// That is so on the file systems that fsroot.Root.CtimeMoves names; on others
// nothing is remembered. It also takes a clock that does not go back. One that
// was set back between two pushes is noticed, and all is forgotten; one that was
// set back and forth again in between, with attributes set in that time, is not.
//
// The table is bounded: beyond maxPlain directories, old records go.
type plainDirs struct {
	use sync.Once
	ok  bool // the file system is one of those

	mu     sync.Mutex
	slots  []plainDir // a power of two; key 0 is free
	n      int
	offset time.Duration // of the clock to one that nobody sets
}

// plainDir is one record.
type plainDir struct {
	key uint64
	at  int64 // nanoseconds since 1970
}

const (
	maxPlain    = 1 << 18 // 4 MiB
	plainWindow = 8       // slots that are looked at for a key
)

// Whose idea of "attributes that count" a record is of.
type plainKind uint64

const (
	plainScan    plainKind = 0x9e3779b97f4a7c15
	plainCompare plainKind = 0xc2b2ae3d27d4eb4f
)

func plainKey(kind plainKind, path string, ino uint64) uint64 {
	h := xxhash.Sum64String(path) ^ (ino+1)*uint64(kind)
	h ^= h >> 29
	return max(h*0xbf58476d1ce4e5b9, 1)
}

// changedAt returns the change time of st as records have it.
func changedAt(st *fsroot.Stat) int64 { return st.CSec*1e9 + int64(st.CNsec) }

// start comes before a scan or a push.
func (p *plainDirs) start(root *fsroot.Root) {
	p.use.Do(func() { p.ok = root.CtimeMoves() })
	p.watch(fsroot.ClockOffset())
}

// clockSlack is what an offset may shrink without the clock having been set
// back: one that runs slower to be right never goes back.
const clockSlack = 10 * time.Millisecond

// watch forgets everything if the clock was set back.
func (p *plainDirs) watch(offset time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if offset < p.offset-clockSlack {
		p.slots, p.n = nil, 0
	}
	p.offset = offset
}

// since returns the time of the record of a directory, 0 if there is none: a
// file in it whose change time is before that has no attributes.
func (p *plainDirs) since(kind plainKind, path string, ino uint64) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.slots) == 0 {
		return 0
	}
	key := plainKey(kind, path, ino)
	for i := range uint64(plainWindow) {
		if s := &p.slots[(key+i)&uint64(len(p.slots)-1)]; s.key == key {
			return s.at
		}
	}
	return 0
}

// note records that no file of a directory had attributes at the time at,
// which is one of fsroot.FileClock.
func (p *plainDirs) note(kind plainKind, path string, ino uint64, at int64) {
	if !p.ok {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if 2*p.n >= len(p.slots) && len(p.slots) < maxPlain {
		p.grow()
	}
	p.put(plainDir{plainKey(kind, path, ino), at})
}

// put takes the slot of the same key, else a free one, else the oldest one of
// the window.
func (p *plainDirs) put(d plainDir) {
	var place *plainDir
	for i := range uint64(plainWindow) {
		s := &p.slots[(d.key+i)&uint64(len(p.slots)-1)]
		if s.key == d.key {
			place = s
			break
		}
		if place == nil || place.key != 0 && (s.key == 0 || s.at < place.at) {
			place = s
		}
	}
	if place.key == 0 {
		p.n++
	}
	*place = d
}

func (p *plainDirs) grow() {
	old := p.slots
	p.slots, p.n = make([]plainDir, max(1024, 2*len(old))), 0
	for _, d := range old {
		if d.key != 0 {
			p.put(d)
		}
	}
}

// plainWalk is what is known, and found out, of the files of one directory.
type plainWalk struct {
	since int64 // a file that was last changed before has no attributes
	at    int64 // when the walk began
	ino   uint64
	files int // of which it was found
}

// begin starts the walk of a directory, before it is listed.
func (p *plainDirs) begin(kind plainKind, path string, ino uint64) plainWalk {
	if !p.ok {
		return plainWalk{}
	}
	return plainWalk{since: p.since(kind, path, ino), at: fsroot.FileClock(), ino: ino}
}

// knows reports whether st is surely without attributes.
func (w *plainWalk) knows(st *fsroot.Stat) bool { return w.since != 0 && changedAt(st) < w.since }

// end records the directory if each name in it that is not a directory was
// found to be without attributes.
func (p *plainDirs) end(kind plainKind, path string, w *plainWalk, names *fsroot.Names) {
	if w.at == 0 {
		return
	}
	files := 0
	for i := range names.Len() {
		if names.Type(i) != fsroot.TypeDir {
			files++
		}
	}
	if files == w.files && files > 0 {
		p.note(kind, path, w.ino, w.at)
	}
}
