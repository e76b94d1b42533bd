package tree

import "encoding/binary"

// firstLinks is the first paths of the files with several links whose links
// were not all seen yet: about 30 bytes for each in memory, the paths are in a
// log that goes to a file when it is long.
type firstLinks struct {
	files map[scanID]firstLink
	paths pageLog
}

// scanID names a file whatever its path.
type scanID uint64

// firstLink is where the first path is in the log, and how many links are not
// seen yet: linkLeft at most, which then counts as never ending.
type firstLink uint64

const (
	linkLeftBits = 20
	linkLeft     = 1<<linkLeftBits - 1
)

// add notes the first path of a file with links more.
func (l *firstLinks) add(id scanID, path string, more uint64) error {
	off := l.paths.size
	l.paths.add(append(binary.AppendUvarint(nil, uint64(len(path))), path...))
	if l.paths.err != nil {
		return l.paths.err
	}
	if l.files == nil {
		l.files = make(map[scanID]firstLink)
	}
	l.files[id] = firstLink(uint64(off)<<linkLeftBits | min(more, linkLeft))
	return nil
}

// next returns the first path of a file of which one link more was seen, "" if
// this is the first.
func (l *firstLinks) next(id scanID) (string, error) {
	f, ok := l.files[id]
	if !ok {
		return "", nil
	}
	path, err := l.path(int64(f >> linkLeftBits))
	switch left := f & linkLeft; left {
	case 1:
		delete(l.files, id)
		if len(l.files) == 0 {
			l.paths.truncate(0)
		}
	case linkLeft:
	default:
		l.files[id] = f - 1
	}
	return path, err
}

func (l *firstLinks) path(off int64) (string, error) {
	var head [binary.MaxVarintLen64]byte
	got, err := l.paths.readAt(head[:], off)
	n, k := binary.Uvarint(head[:got])
	if k <= 0 {
		return "", err
	}
	path := make([]byte, n)
	if got, err := l.paths.readAt(path, off+int64(k)); got < len(path) {
		return "", err
	}
	return string(path), nil
}

func (l *firstLinks) close() { l.paths.close() }
