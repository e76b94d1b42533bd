package push

import (
	"time"

	"makuo/protocol"
)

// fetchWindow is how many pages are asked for at a time: 16 x 1,200 bytes fit
// any receive buffer, whatever else arrives.
const fetchWindow = 16

// fetch copies one log of one member to the origin, page by page. Pages that
// arrive out of order are asked for again: a log is small beside the data.
type fetch struct {
	kind   protocol.PageKind
	offset uint64 // bytes taken
	total  uint64
	known  bool // total is known
	rest   []byte
	due    time.Time // repeat the request
	asked  uint64    // end of what was asked for
	tries  int
}

func (f *fetch) done() bool { return f.known && f.offset == f.total }

// request returns the next Fetch if one is due.
func (f *fetch) request(now time.Time, stream uint32, rto time.Duration) (protocol.Fetch, bool) {
	if f.done() || (now.Before(f.due) && f.offset < f.asked) {
		return protocol.Fetch{}, false
	}
	if f.offset < f.asked {
		f.tries++
	}
	f.asked = f.offset + fetchWindow*protocol.MaxPage
	f.due = now.Add(min(rto<<min(f.tries, 5), time.Second))
	return protocol.Fetch{Stream: stream, Kind: f.kind, Offset: f.offset, Count: fetchWindow}, true
}

// page takes one page and returns the bytes of the log it adds, joined with
// what was left over before; nil if it adds nothing.
func (f *fetch) page(p *protocol.Page) []byte {
	if p.Offset != f.offset || (f.known && p.Total != f.total) {
		return nil
	}
	f.known, f.total, f.tries = true, p.Total, 0
	f.offset += uint64(len(p.Bytes))
	b := append(f.rest, p.Bytes...)
	f.rest = nil
	return b
}

// LogReader is a member's log as a Page is cut from it.
type LogReader interface {
	LogSize(kind protocol.PageKind) int64
	ReadLog(kind protocol.PageKind, p []byte, off int64) (int, error)
}

// pages answers a Fetch of an origin from a log.
func pages(l LogReader, origin protocol.Session, f *protocol.Fetch, send func(*protocol.Page)) error {
	total := uint64(l.LogSize(f.Kind))
	off := f.Offset
	if off > total {
		return nil
	}
	buf := make([]byte, protocol.MaxPage)
	for range f.Count {
		n := int(min(uint64(len(buf)), total-off))
		if n > 0 {
			if _, err := l.ReadLog(f.Kind, buf[:n], int64(off)); err != nil {
				return err
			}
		}
		send(&protocol.Page{Origin: origin, Stream: f.Stream, Kind: f.Kind, Offset: off, Total: total, Bytes: buf[:n]})
		if off += uint64(n); off == total {
			return nil
		}
	}
	return nil
}
