package tree

import "sync/atomic"

// workCount counts what the disk has done for a push: entries compared, parts
// of files read for their sum, steps staged and committed. A file system that is
// synced as a whole does not tell how far it is: what its device has written
// meanwhile counts.
type workCount struct {
	atomic.Uint32
	dev atomic.Uint64 // being synced; 0: none
}

// Write counts what was read, as the Writer of a checksum.
func (w *workCount) Write(p []byte) (int, error) {
	w.Add(1)
	return len(p), nil
}

// sync says that the file system on dev is being synced, until synced.
func (w *workCount) sync(dev uint64) { w.dev.Store(dev) }

func (w *workCount) synced() {
	w.dev.Store(0)
	w.Add(1)
}

// Work returns a number that changes when the disk has done something for the
// push. It may be called from any goroutine and does not wait for the disk.
func (t *Target) Work() uint32 {
	n := t.work.Load()
	if dev := t.work.dev.Load(); dev != 0 {
		n += sectorsWritten(dev)
	}
	return n
}
