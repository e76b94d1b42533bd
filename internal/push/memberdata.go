package push

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"makuo/protocol"
	"makuo/transfer"
)

// Wanted reports whether the content of any of count entries from first is
// wanted here: the Cares of the stream's receiver.
func (m *Member) Wanted(kind protocol.BlockKind, first, count uint32) bool {
	if kind.Base() != protocol.BlockData {
		return m.state != bystander && m.state < finished
	}
	if m.state != streaming {
		return false
	}
	for i := uint64(first); i < uint64(first)+uint64(count); i++ {
		if w := i / 64; w < uint64(len(m.wanted)) && m.wanted[w]>>(i%64)&1 != 0 {
			return true
		}
	}
	return false
}

func (m *Member) want(first uint32, bits []byte) {
	for i, b := range bits {
		for j := range 8 {
			if b>>j&1 == 0 {
				continue
			}
			n := uint64(first) + uint64(i*8+j)
			for uint64(len(m.wanted)) <= n/64 {
				m.wanted = append(m.wanted, 0)
			}
			m.wanted[n/64] |= 1 << (n % 64)
		}
	}
}

// HandleData takes one symbol.
func (m *Member) HandleData(now time.Time, d *protocol.Data) {
	if m.state == bystander || m.state >= finished {
		return
	}
	m.heard = now
	// What comes before the lock is held is not kept, nor passed over: it is
	// asked for when the lock is there.
	if m.state < streaming && (d.Block != 0 || d.Kind.Base() != protocol.BlockHeader) {
		return
	}
	// Whether content is wanted is not known before its entries are compared: it
	// is neither passed over nor kept, and lacks until it comes again.
	if d.Kind.Base() == protocol.BlockData && uint64(d.First)+uint64(d.Count) > uint64(m.judged) {
		return
	}
	c, ok := m.r.HandleData(now, d)
	if !ok {
		return
	}
	if c.Kind.Base() == protocol.BlockHeader {
		m.learn(now, c)
		return
	}
	m.busy++
	m.emit(EvBlock{c})
}

// learn takes block 0.
func (m *Member) learn(now time.Time, c transfer.Complete) {
	content, _, err := transfer.DecodeBlock(c.Kind, c.Encoded, nil)
	var h *protocol.PushHeader
	if err == nil {
		h, err = protocol.ParsePushHeader(content)
	}
	if errors.Is(err, transfer.ErrContent) {
		m.r.Failed(c.ID)
		return
	}
	m.r.Consumed(c.ID)
	if m.state != learning {
		return
	}
	if err != nil {
		m.record(now, protocol.Record{Type: protocol.RecordRefused, Text: clip(fmt.Sprintf("it could not read the push's header: %v", err))})
		m.state, m.outcome = finished, "refused"
		return
	}
	m.header = h
	m.self = slices.Index(h.Roster, m.cfg.Self)
	if m.self < 0 {
		m.state = bystander
		return
	}
	m.r.SetRoster(len(h.Roster))
	m.state = asking
	m.act(now)
}

// Began says that the target is open, or why it is not.
func (m *Member) Began(now time.Time, err error) {
	if err != nil {
		m.fail(now, err.Error())
	}
}

// Compared says that a batch was compared: its number, first entry, entries and two bit
// sets; the block's bytes are no longer needed.
func (m *Member) Compared(now time.Time, block transfer.Complete, batch, first, count uint32, data, change []byte, digest uint64) {
	m.dealtWith(block)
	if m.state != streaming {
		return
	}
	m.compared, m.judged, m.digest = batch+1, first+count, digest
	m.want(first, data)
	m.record(now, protocol.Record{Type: protocol.RecordWant, Batch: batch, Data: data, Change: change})
	m.act(now)
}

// Stored says that a data block's content is with the file system.
func (m *Member) Stored(now time.Time, block transfer.Complete) {
	m.dealtWith(block)
	m.act(now)
}

func (m *Member) dealtWith(block transfer.Complete) {
	m.busy--
	m.r.Consumed(block.ID)
	m.r.Recycle(block.Encoded)
}

// BlockBad says that a block's content did not verify: it is asked for anew.
func (m *Member) BlockBad(block uint32) {
	m.busy--
	m.r.Failed(block)
}
