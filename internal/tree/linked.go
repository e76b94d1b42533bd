package tree

import (
	"sync"

	"github.com/cespare/xxhash/v2"

	"makuo/protocol"
)

// LinkedFiles knows, at the origin, the files of a manifest that have several
// names. A member that can't place the first one wants the content under a later
// one, whose entry says no more than that it is a hard link. It may be used by
// several goroutines. About 70 bytes a file.
type LinkedFiles struct {
	mu    sync.Mutex
	files map[uint64]linkedFile // by the hash of the first path
}

// linkedFile is what Open and whoever counts bytes need to know of a file.
type linkedFile struct {
	size, holes uint64
	sec         int64
	nsec        uint32
}

// AddBatch notes the files of the next batch.
func (l *LinkedFiles) AddBatch(b *protocol.Batch) {
	for i := range b.Entries {
		if e := &b.Entries[i]; e.Flags&protocol.EntryLinked != 0 && e.Type == protocol.EntryRegular {
			l.add(e)
		}
	}
}

func (l *LinkedFiles) add(e *protocol.Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.files == nil {
		l.files = make(map[uint64]linkedFile)
	}
	l.files[xxhash.Sum64String(e.Path)] = linkedFile{e.Size, e.Holes, e.Sec, e.Nsec}
}

// Content returns the entry of the file whose content goes under the number of
// e, nil if e has none: e itself, or of a hard link one to open by its path.
func (l *LinkedFiles) Content(e *protocol.Entry) *protocol.Entry {
	switch e.Type {
	case protocol.EntryRegular:
		return e
	case protocol.EntryHardlink:
	default:
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	f, ok := l.files[xxhash.Sum64String(e.Link)]
	if !ok {
		return nil
	}
	return &protocol.Entry{Path: e.Path, Type: protocol.EntryRegular, Size: f.size, Holes: f.holes, Sec: f.sec, Nsec: f.nsec}
}
