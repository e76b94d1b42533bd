package tree

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/cespare/xxhash/v2"

	"makuo/internal/fsroot"
	"makuo/protocol"
)

// File is an open regular file of the manifest, at the origin. It belongs to
// one goroutine. Errors of Open and of its methods say what was attempted and
// why it failed, but not the path: it is reported beside them, as in
// ScanSpec.Problem.
type File struct {
	fd     int
	start  fsroot.Stat
	off    int64 // where Next goes on
	end    int64 // end of the data that off lies in; beyond it is a hole, or unknown
	sparse bool
}

// adviseSize is the size from which the kernel is told to read far ahead.
const adviseSize = 1 << 20

// Open opens the file of a manifest entry for reading. Errors match ErrVanished,
// ErrChanged (it is another file than the manifest says), or are that of the
// open, as fs.ErrPermission.
func (m *Module) Open(e *protocol.Entry) (*File, error) {
	if e.Type != protocol.EntryRegular {
		return nil, errors.New("is no regular file in the manifest")
	}
	d, err := m.Root.Dir(dirOf(e.Path))
	if err != nil {
		return nil, opened(err)
	}
	defer d.Close()
	fd, err := d.OpenReadFD(baseOf(e.Path))
	if err != nil {
		return nil, opened(err)
	}
	f := &File{fd: fd}
	if err := f.check(e); err != nil {
		f.Close()
		return nil, err
	}
	f.sparse = f.start.Blocks*512 < f.start.Size
	if !f.sparse {
		f.end = f.start.Size
	}
	if f.start.Size >= adviseSize {
		adviseSequential(fd)
	}
	return f, nil
}

func baseOf(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// opened says what an error of an open means for the manifest.
func opened(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ErrVanished
	case errors.Is(err, fsroot.ErrSymlink), errors.Is(err, fsroot.ErrNotDir), errors.Is(err, fsroot.ErrMount):
		return fmt.Errorf("%w: it %w", ErrChanged, cause(err))
	}
	return fmt.Errorf("cannot be opened: %w", cause(err))
}

func (f *File) check(e *protocol.Entry) error {
	if err := fsroot.StatFD(f.fd, &f.start); err != nil {
		return fmt.Errorf("cannot be examined: %w", err)
	}
	st := &f.start
	switch {
	case !st.IsRegular():
		return fmt.Errorf("%w: it is no regular file any more", ErrChanged)
	case uint64(st.Size) != e.Size:
		return fmt.Errorf("%w: it had %d bytes and has %d", ErrChanged, e.Size, st.Size)
	case st.Sec != e.Sec || st.Nsec != e.Nsec:
		return fmt.Errorf("%w: its modification time is another one", ErrChanged)
	}
	return nil
}

// Size returns the size in bytes, as in the manifest.
func (f *File) Size() int64 { return f.start.Size }

// Next reads on into buf: n bytes that belong at off. buf is filled unless a
// hole or the end comes first; holes are skipped. At the end it is io.EOF. A
// file that is shorter than the manifest says is ErrChanged.
func (f *File) Next(buf []byte) (n int, off int64, err error) {
	for f.off >= f.end {
		if err := f.seek(); err != nil {
			return 0, 0, err
		}
	}
	buf = buf[:min(int64(len(buf)), f.end-f.off)]
	for n < len(buf) {
		got, err := pread(f.fd, buf[n:], f.off+int64(n))
		if err != nil {
			return 0, 0, fmt.Errorf("cannot be read: %w", err)
		}
		if got == 0 {
			return 0, 0, fmt.Errorf("%w: it ends at %d of %d bytes", ErrChanged, f.off+int64(n), f.start.Size)
		}
		n += got
	}
	off = f.off
	f.off += int64(n)
	return n, off, nil
}

// seek finds the next data: off and end become its bounds. A file system that
// does not know its holes says that everything is data.
func (f *File) seek() error {
	if f.off >= f.start.Size {
		return io.EOF
	}
	data, hole, err := nextData(f.fd, f.off)
	switch {
	case err == nil:
		f.off, f.end = min(data, f.start.Size), min(hole, f.start.Size)
	case errors.Is(err, io.EOF):
		f.off, f.end = f.start.Size, f.start.Size
	default: // the hole at the end, or no support
		f.end = f.start.Size
	}
	if f.off >= f.start.Size {
		return io.EOF
	}
	return nil
}

// Verify reports ErrChanged if the file was touched since Open: it compares
// size, modification time and change time, which no program can set back.
func (f *File) Verify() error {
	var now fsroot.Stat
	if err := fsroot.StatFD(f.fd, &now); err != nil {
		return fmt.Errorf("cannot be examined: %w", err)
	}
	if !same(&f.start, &now) {
		return ErrChanged
	}
	return nil
}

// same reports whether a file was written between two looks at it. A change
// of links moves the ctime too; that costs one more try and no correctness.
func same(a, b *fsroot.Stat) bool {
	return a.Size == b.Size && a.Sec == b.Sec && a.Nsec == b.Nsec && a.CSec == b.CSec && a.CNsec == b.CNsec
}

// Close closes the file.
func (f *File) Close() error { return closeFD(f.fd) }

// sumBuf is what a checksum reads at once.
const sumBuf = 256 << 10

// errRestless: a file was written during each of two readings.
var errRestless = errors.New("it is being written; push again when it is complete")

// checksum reads a file for the sum of its content. A file that changes
// meanwhile is read once more.
func (s *scan) checksum(parent *fsroot.Dir, name string, st *fsroot.Stat, e *protocol.Entry) error {
	if s.sumBuf == nil {
		s.sumBuf = make([]byte, sumBuf)
	}
	err := errRestless
	for try := 0; try < 2 && errors.Is(err, errRestless); try++ {
		e.Sum, err = s.sumOnce(parent, name, st)
	}
	e.HasSum = err == nil
	return err
}

func (s *scan) sumOnce(parent *fsroot.Dir, name string, st *fsroot.Stat) (uint64, error) {
	fd, err := parent.OpenReadFD(name)
	if err != nil {
		return 0, err
	}
	defer closeFD(fd)
	var before, after fsroot.Stat
	if err := fsroot.StatFD(fd, &before); err != nil {
		return 0, err
	}
	if !before.IsRegular() || before.Dev != st.Dev || before.Ino != st.Ino {
		return 0, errors.New("it was replaced while the tree was read; push again")
	}
	if before.Size >= adviseSize {
		adviseSequential(fd)
	}
	sum, err := s.sumContent(fd)
	if err != nil {
		return 0, err
	}
	if err := fsroot.StatFD(fd, &after); err != nil {
		return 0, err
	}
	if !same(&before, &after) {
		return 0, errRestless
	}
	*st = after
	return sum, nil
}

func (s *scan) sumContent(fd int) (uint64, error) {
	var d xxhash.Digest
	d.Reset()
	for off := int64(0); ; {
		if err := s.ctx.Err(); err != nil {
			return 0, err
		}
		n, err := pread(fd, s.sumBuf, off)
		if err != nil {
			return 0, err
		}
		if n == 0 {
			return d.Sum64(), nil
		}
		d.Write(s.sumBuf[:n])
		off += int64(n)
	}
}
