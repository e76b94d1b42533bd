package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"makuo/internal/fsroot"
	"makuo/protocol"
)

// ScanSpec says what Scan walks.
type ScanSpec struct {
	Header *protocol.PushHeader // Paths (as MergePaths returns them) and Options; Rules are in Filter
	Filter *Filter              // of Header.Rules; nil: everything

	// Problem takes what is wrong with a path, one call each: path is below
	// the module's root, text is what was attempted and why it failed. A
	// warning does not spoil the push. It is called by Scan's goroutine.
	Problem func(path, text string, warning bool)

	// Room is how many bytes of a batch are sure to fit a block; 0: as many as
	// a block holds at most.
	Room int

	// Limit is the largest number of entries; 0: what a manifest can number.
	Limit int
}

// Sizes of batches. The first ones are small, so that members have something
// to compare at once; an entry with many
// attributes may be longer than maxBatchBytes, and is then alone.
const (
	firstBatch    = 128
	maxBatchBytes = 120 << 10
	maxBareEntry  = 64 + 2*protocol.MaxPath + 2*protocol.MaxOwnerName // an entry without attributes
	batchFrame    = 32
	maxEntries    = 1<<32 - 1
)

// MergePaths returns the pushed paths as a push header holds them: each once,
// in manifest order, and with recursive without those below another. Paths
// must be clean and relative to the module, "." is all of it; anything else is
// an error that names the path.
func MergePaths(paths []string, recursive bool) ([]string, error) {
	out := make([]string, 0, len(paths))
	for _, p := range paths {
		c := cleanPath(p)
		if !protocol.ValidPath(c) {
			return nil, fmt.Errorf("path %q: cannot be pushed: it is not a path inside the module, or is too long", p)
		}
		out = append(out, c)
	}
	slices.SortFunc(out, protocol.ComparePaths)
	out = slices.Compact(out)
	if !recursive {
		return out, nil
	}
	kept := out[:0]
	for _, p := range out {
		if len(kept) == 0 || !protocol.Within(p, kept[len(kept)-1]) {
			kept = append(kept, p)
		}
	}
	return kept, nil
}

// cleanPath takes off what only spelling adds: "./", repeated and trailing
// slashes, "." components. ".." stays and is refused: through a symbolic link
// it would mean something else than it says.
func cleanPath(p string) string {
	if p == "" || p[0] == '/' {
		return p
	}
	parts := slices.DeleteFunc(strings.Split(p, "/"), func(s string) bool { return s == "" || s == "." })
	if len(parts) == 0 {
		return "."
	}
	return strings.Join(parts, "/")
}

// Scan walks what the header names and emits the manifest, batch by batch, in
// the order of protocol.ComparePaths. A batch belongs to emit from then on.
//
// What a path has wrong goes to spec.Problem and into the manifest, in a way
// that leaves the members' side of it alone; Scan itself fails when ctx ends,
// emit fails, the module's root is gone or there are more than Limit entries.
//
// Memory does not grow with the tree: it holds the names of the directories on
// the way from the root to where the walk is, and some 30 bytes for each file
// with several links until all of them were seen (to the end, if some are
// outside of what is pushed).
func (m *Module) Scan(ctx context.Context, spec ScanSpec, emit func(*protocol.Batch) error) error {
	m.accounts.refresh()
	m.plain.start(m.Root)
	m.Root.Invalidate(".")
	if spec.Limit <= 0 || spec.Limit > maxEntries {
		spec.Limit = maxEntries
	}
	if err := m.CheckBase(); err != nil {
		return err
	}
	if spec.Room <= 0 || spec.Room > protocol.MaxBlock {
		spec.Room = protocol.MaxBlock - 8
	}
	h := spec.Header
	s := &scan{
		m: m, ctx: ctx, spec: spec, emit: emit,
		recursive: h.Options&protocol.OptRecursive != 0,
		sum:       h.Options&(protocol.OptChecksum|protocol.OptCheck) != 0,
		root:      os.Geteuid() == 0,
		users:     make(map[uint32]protocol.Owner),
		groups:    make(map[uint32]protocol.Owner),
	}
	defer s.links.close()
	for _, p := range h.Paths {
		if err := s.pushed(p); err != nil {
			return err
		}
	}
	return s.flush()
}

// scan is one walk.
type scan struct {
	m         *Module
	ctx       context.Context
	spec      ScanSpec
	emit      func(*protocol.Batch) error
	recursive bool
	sum       bool
	root      bool

	users, groups map[uint32]protocol.Owner // of this scan, without the lock
	links         firstLinks
	spare         []*fsroot.Names // to be used for the next directories
	dirs          []string        // directories emitted above the pushed path at hand
	anchor        int             // bytes of a path before what the filter sees
	sumBuf        []byte
	plain         plainWalk // of the directory at hand

	batch *protocol.Batch
	bytes int
	next  uint32 // index of the next entry
	count uint32 // batches so far
}

// problem reports what is wrong with path.
func (s *scan) problem(path string, warning bool, format string, args ...any) {
	s.spec.Problem(path, fmt.Sprintf(format, args...), warning)
}

// add puts one entry into the manifest.
func (s *scan) add(e *protocol.Entry) error {
	size := e.EncodedSize()
	if s.batch != nil && s.bytes+size > min(maxBatchBytes, s.spec.Room-batchFrame) {
		if err := s.flush(); err != nil {
			return err
		}
	}
	if uint64(s.next) >= uint64(s.spec.Limit) {
		return fmt.Errorf("more than %d entries in one push: push parts of the tree", s.spec.Limit)
	}
	most := protocol.MaxBatch
	if s.count < 4 {
		most = firstBatch << s.count
	}
	if s.batch == nil {
		s.batch = &protocol.Batch{Number: s.count, First: s.next, Entries: make([]protocol.Entry, 0, most)}
	}
	s.batch.Entries = append(s.batch.Entries, *e)
	s.bytes += size
	s.next++
	if len(s.batch.Entries) >= min(most, protocol.MaxBatch) {
		return s.flush()
	}
	return nil
}

// flush emits what is collected.
func (s *scan) flush() error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	if s.batch == nil {
		return nil
	}
	b := s.batch
	s.batch, s.bytes = nil, 0
	s.count++
	return s.emit(b)
}

// failed adds an entry that members leave alone, and says why.
func (s *scan) failed(path string, warning bool, format string, args ...any) error {
	s.problem(path, warning, format, args...)
	return s.add(&protocol.Entry{Path: path, Type: protocol.EntryFailed})
}

// pushed walks one of the header's paths.
func (s *scan) pushed(path string) error {
	if stage := s.m.stageRel; stage != "" && protocol.Within(path, stage) {
		return s.failed(path, false, "is in the staging directory, which is never pushed")
	}
	if s.m.isOwn(path) {
		return s.failed(path, false, "belongs to the daemon itself, which is never pushed")
	}
	s.anchor = strings.LastIndexByte(path, '/') + 1
	if path == "." {
		d, err := s.m.Root.OpenDir(".")
		if err != nil {
			return err
		}
		defer d.Close()
		return s.directory(d, path)
	}
	parent, err := s.parents(path)
	switch {
	case errors.Is(err, errScan):
		return err
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fsroot.ErrNotDir):
		return s.absent(path)
	case err != nil:
		return s.failed(path, false, "cannot be reached: %v", err)
	}
	defer parent.Close()
	name := path[s.anchor:]
	var st fsroot.Stat
	switch err := parent.Stat(name, &st); {
	case errors.Is(err, fs.ErrNotExist):
		return s.absent(path)
	case err != nil:
		return s.failed(path, false, "cannot be examined: %v", cause(err))
	}
	return s.entry(parent, name, path, st.Type())
}

// absent handles a pushed path that is not there. Without OptDeleteMissing
// CheckPaths has still seen it.
func (s *scan) absent(path string) error {
	if s.spec.Header.Options&protocol.OptDeleteMissing != 0 {
		return s.add(&protocol.Entry{Path: path, Type: protocol.EntryAbsent})
	}
	return s.failed(path, false, "vanished when the push began; the members keep what they have")
}

// errScan marks errors that end the scan.
var errScan = errors.New("the scan is over")

// parents adds the directories above path that the manifest does not have yet,
// and opens the last of them.
func (s *scan) parents(path string) (*fsroot.Dir, error) {
	for len(s.dirs) > 0 && !protocol.Within(path, s.dirs[len(s.dirs)-1]) {
		s.dirs = s.dirs[:len(s.dirs)-1]
	}
	done := 0 // bytes of path whose directories are in the manifest
	if n := len(s.dirs); n > 0 {
		done = len(s.dirs[n-1]) + 1
	}
	// All of them are opened before the first is added: a path that is not
	// there must not create its parents on the members.
	parent, err := s.m.Root.OpenDir(dirOf(path))
	if err != nil {
		return nil, explain(err)
	}
	for done < s.anchor {
		done += strings.IndexByte(path[done:], '/') + 1
		if err := s.implied(path[:done-1]); err != nil {
			parent.Close()
			return nil, err
		}
	}
	return parent, nil
}

// explain keeps the path in the error: it is not the one that is reported.
func explain(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return fmt.Errorf("%s: %w", p.Path, p.Err)
	}
	return err
}

func dirOf(path string) string {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i]
	}
	return "."
}

// implied adds a directory above a pushed path.
func (s *scan) implied(path string) error {
	d, err := s.m.Root.OpenDir(path)
	if err != nil {
		return explain(err)
	}
	defer d.Close()
	e := protocol.Entry{Path: path, Type: protocol.EntryDirectory, Flags: protocol.EntryImplied}
	if _, err := s.self(d, &e); err != nil {
		return explain(err)
	}
	if err := s.add(&e); err != nil {
		return fmt.Errorf("%w: %w", errScan, err)
	}
	s.dirs = append(s.dirs, path)
	return nil
}
