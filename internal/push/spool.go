package push

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"makuo/protocol"
)

// spool keeps what the report of a push with path lines needs: the manifest's
// batches and, for each batch and member, which entries change there. Both
// are unlinked files, so that memory does not grow with the tree.
type spool struct {
	members int
	batches *os.File
	bits    *os.File
	offsets []int64 // of each batch; the last one is the end
	shared  bool    // batches belongs to another spool
}

const bitsLen = protocol.MaxBatch / 8

func newSpool(dir string, members int) (*spool, error) {
	s := &spool{members: members, offsets: []int64{0}}
	for _, f := range []**os.File{&s.batches, &s.bits} {
		t, err := os.CreateTemp(dir, "spool-*")
		if err != nil {
			s.close()
			return nil, spoolError(err)
		}
		os.Remove(t.Name())
		*f = t
	}
	return s, nil
}

// spoolError says what a spool is for, and where it is kept.
func spoolError(err error) error {
	advice := "name another with makuod --state"
	switch {
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		advice = "make room there, or " + advice
	case errors.Is(err, syscall.EROFS):
		advice = "make that file system writable, or " + advice
	}
	return fmt.Errorf("the list of what is pushed could not be kept in the daemon's state directory: %w; %s", err, advice)
}

func (s *spool) close() error {
	var errs []error
	for _, f := range []*os.File{s.batches, s.bits} {
		if f != nil && !(s.shared && f == s.batches) {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// addBatch appends the content of the next batch.
func (s *spool) addBatch(content []byte) error {
	end := s.offsets[len(s.offsets)-1]
	if _, err := s.batches.WriteAt(content, end); err != nil {
		return err
	}
	s.offsets = append(s.offsets, end+int64(len(content)))
	return nil
}

// setBits notes what member changes of batch.
func (s *spool) setBits(batch uint32, member int, change []byte) error {
	if len(change) == 0 {
		return nil
	}
	_, err := s.bits.WriteAt(change, s.at(batch, member))
	return err
}

func (s *spool) at(batch uint32, member int) int64 {
	return (int64(batch)*int64(s.members) + int64(member)) * bitsLen
}

// count returns the number of batches.
func (s *spool) count() int { return len(s.offsets) - 1 }

// batch reads one batch back, with the bytes it was parsed from.
func (s *spool) batch(n int) (*protocol.Batch, []byte, error) {
	content := make([]byte, s.offsets[n+1]-s.offsets[n])
	if _, err := s.batches.ReadAt(content, s.offsets[n]); err != nil {
		return nil, nil, spoolError(err)
	}
	b, err := protocol.ParseBatch(content)
	return b, content, err
}

// again returns a spool of the same batches for other members; the batches
// stay this spool's to close.
func (s *spool) again(dir string, members int) (*spool, error) {
	t, err := newSpool(dir, members)
	if err != nil {
		return nil, err
	}
	t.batches.Close()
	t.batches, t.offsets, t.shared = s.batches, s.offsets, true
	return t, nil
}

// change reads back what member changes of a batch.
func (s *spool) change(batch uint32, member int, buf *[bitsLen]byte) {
	clear(buf[:])
	// Behind the end of the file nothing was noted: no changes.
	s.bits.ReadAt(buf[:], s.at(batch, member))
}
