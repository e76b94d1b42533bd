package transfer

import (
	"testing"
	"time"

	"makuo/protocol"
)

// hostile reads operations and values off fuzz bytes; past the end all is 0.
type hostile struct{ b []byte }

func (h *hostile) u8() uint8 {
	if len(h.b) == 0 {
		return 0
	}
	v := h.b[0]
	h.b = h.b[1:]
	return v
}

// u32 yields values near each other, near the limits, and any.
func (h *hostile) u32() uint32 {
	switch c := h.u8(); {
	case c < 160:
		return uint32(c % 16)
	case c < 200:
		return MaxAhead - 8 + uint32(c%16)
	case c < 230:
		return -uint32(c % 16)
	default:
		return uint32(h.u8())<<24 | uint32(h.u8())<<8 | uint32(c)
	}
}

// index yields the sources of a block of up to five symbols, and its parity.
func (h *hostile) index() uint8 {
	if i := h.u8(); i < 200 {
		return i % 5
	} else if i < 220 {
		return 255 - i%3
	}
	return 3 + h.u8()%12
}

func (h *hostile) data() protocol.Data {
	d := protocol.Data{Stream: 1, Seq: h.u32(), Block: h.u32(), Index: h.index(), Kind: protocol.BlockData, First: uint32(h.u8() % 2), Count: 1}
	if d.Block == 0 {
		d.Kind = protocol.BlockHeader
	}
	d.Length = uint32(h.u8())*8 + uint32(h.u8()%8)
	n := min(int(h.u8()), int(d.Length))
	if h.u8() < 200 { // make it fit
		d.Length = 300 + 10*d.Block%7
		n = min(100, int(d.Length)-int(d.Index)*100)
		if n <= 0 { // parity
			n = 100
		}
	}
	d.Symbol = make([]byte, n)
	return d
}

func (h *hostile) feedback() protocol.Feedback {
	fb := protocol.Feedback{Stream: 1, Flags: h.u8(), Consumed: h.u32(), Room: h.u32() << (h.u8() % 24), Highest: h.u32(), Received: h.u32(),
		Clock: uint64(h.u32()) << (h.u8() % 40), Echo: uint64(h.u32()) << (h.u8() % 40), Held: time.Duration(h.u32()) * time.Microsecond}
	for range h.u8() % 4 {
		n := protocol.Nak{Block: h.u32()}
		if h.u8() < 128 {
			n.All = true
		} else {
			n.Missing, n.Need = []byte{h.u8() | 1, h.u8(), h.u8() | 1}, h.u8()
		}
		fb.Naks = append(fb.Naks, n)
	}
	return fb
}

func seeds(f *testing.F) {
	f.Add([]byte{})
	for _, step := range []int{1, 7, 37, 101} {
		b := make([]byte, 600)
		for i := range b {
			b[i] = byte(i * step)
		}
		f.Add(b)
	}
	f.Add(noise(2000, 5))
	f.Add(noise(2000, 6))
}

// FuzzSender drives a sender with hostile feedback.
func FuzzSender(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		h := &hostile{b}
		now := time.Unix(1000, 0)
		freed := 0
		s := NewSender(SenderConfig{Stream: 1, Members: 3, SymbolSize: 100, Window: 5000, Release: func([]byte) { freed++ }}, now)
		sent := map[uint32]int{}
		for len(h.b) > 0 {
			now = now.Add(time.Duration(h.u8()) * 100 * time.Microsecond)
			switch h.u8() % 8 {
			case 0, 1:
				kind := protocol.BlockData
				if s.Offered() == 0 {
					kind = protocol.BlockHeader
				}
				if n := 1 + int(h.u8())*4; n <= s.Room() {
					if _, err := s.Offer(now, Block{Kind: kind, Encoded: make([]byte, n)}); err != nil {
						t.Fatal(err)
					}
				}
			case 2, 3:
				fb := h.feedback()
				s.HandleFeedback(now, int(h.u8()%5)-1, &fb)
			case 4:
				s.Drop(int(h.u8()%5) - 1)
			case 5:
				s.Add(int(h.u8()%5) - 1)
			default:
				for range 3 {
					if d, ok := s.Next(now); ok {
						if d.Block < s.base || d.Block >= s.next || len(d.Symbol) == 0 || len(d.Symbol) > 100 {
							t.Fatalf("packet of block %d, %d bytes", d.Block, len(d.Symbol))
						}
						sent[d.Block]++
					}
				}
			}
			checkSender(t, s, now, freed)
		}
		// However it was treated, what it was offered goes out in the end.
		for i := 0; !s.Idle(); i++ {
			if at := s.Poll(now); at.After(now) {
				now = at
			}
			s.Next(now)
			if i > 100000 {
				t.Fatal("never idle")
			}
		}
	})
}

func checkSender(t *testing.T, s *Sender, now time.Time, freed int) {
	t.Helper()
	held := 0
	for id := s.base; id < s.next; id++ {
		held += len(s.ring[id%MaxAhead].Encoded)
	}
	low := s.next
	for _, m := range s.window.members {
		if m.in {
			low = min(low, m.consumed)
		}
	}
	switch {
	case low != s.base:
		t.Fatalf("base %d, slowest member %d", s.base, low)
	case freed != int(s.base):
		t.Fatalf("%d blocks freed below %d", freed, s.base)
	case held > 5000+protocol.MaxBlock:
		t.Fatalf("%d bytes held", held)
	case s.base == s.next && s.Room() < protocol.MaxBlock:
		t.Fatalf("room %d with nothing outstanding", s.Room())
	case s.Blocks() > s.Offered() || s.cur < s.base:
		t.Fatalf("blocks %d of %d, base %d", s.Blocks(), s.Offered(), s.base)
	case s.Rate() < int64(DefaultFloorRate):
		t.Fatalf("rate %d", s.Rate())
	case s.RTT() <= 0 || s.RTT() > maxRTT:
		t.Fatalf("round trip %v", s.RTT())
	case s.Idle() != s.Poll(now).IsZero():
		t.Fatal("idle and poll disagree")
	}
}

// FuzzReceiver drives a receiver with hostile packets and states.
func FuzzReceiver(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		h := &hostile{b}
		now := time.Unix(1000, 0)
		const room = 1000
		r := NewReceiver(ReceiverConfig{Stream: 1, Seed: 1, Room: room, Roster: 1 + int(h.u8())*8, Payload: 90 + int(h.u8())}, now)
		got := map[uint32]bool{}
		done := map[uint32]bool{}
		for len(h.b) > 0 {
			now = now.Add(time.Duration(h.u8()) * 100 * time.Microsecond)
			switch h.u8() % 8 {
			case 0:
				st := protocol.State{Stream: 1, Seq: h.u32(), Time: uint64(h.u32()), RTT: time.Duration(h.u32()) * time.Microsecond, Packets: h.u32(), Blocks: h.u32()}
				r.HandleState(now, &st)
			case 1:
				id := h.u32()
				r.Consumed(id)
				if id < r.consumed || id-r.consumed < MaxAhead {
					delete(got, id)
					done[id] = true
				}
			case 2:
				id := h.u32()
				r.Failed(id)
				delete(got, id)
			default:
				d := h.data()
				if c, ok := r.HandleData(now, &d); ok {
					if got[c.ID] || done[c.ID] || c.ID != d.Block || len(c.Encoded) != int(d.Length) {
						t.Fatalf("block %d again, or %d bytes of %d", c.ID, len(c.Encoded), d.Length)
					}
					got[c.ID] = true
				}
			}
			checkReceiver(t, r, now)
			if r.Held() > room+2*protocol.MaxBlock {
				t.Fatalf("%d bytes held", r.Held())
			}
		}
	})
}

func checkReceiver(t *testing.T, r *Receiver, now time.Time) {
	t.Helper()
	fb, next := r.Poll(now)
	if fb != nil {
		body := fb.Append(nil)
		if _, err := protocol.ParseFeedback(body); err != nil {
			t.Fatalf("feedback of its own: %v", err)
		}
		if n := protocol.PrefixLen + len(body) + protocol.CheckLen; n > r.cfg.Payload {
			t.Fatalf("feedback of %d bytes in %d", n, r.cfg.Payload)
		}
	} else if !next.IsZero() && !next.After(now) {
		t.Fatal("nothing to say, and to be asked again at once")
	}
	held, beyond := 0, 0
	for i := range r.ring {
		switch b := &r.ring[i]; b.state {
		case blockConsumed:
			beyond += b.length
		default:
			held += b.length
		}
	}
	if held != r.held || beyond != r.beyond {
		t.Fatalf("held %d, counted %d; beyond %d, counted %d", r.held, held, r.beyond, beyond)
	}
	if len(r.ring) > MaxAhead || r.oldest < r.consumed {
		t.Fatalf("ring of %d, oldest %d, consumed %d", len(r.ring), r.oldest, r.consumed)
	}
}

func TestStrangersAreIgnored(t *testing.T) {
	now := time.Unix(1000, 0)
	r := NewReceiver(ReceiverConfig{Stream: 1, Roster: 1}, now)
	d := protocol.Data{Stream: 2, Kind: protocol.BlockHeader, Length: 1, Symbol: []byte{1}}
	if _, ok := r.HandleData(now, &d); ok || r.Stats().Packets != 0 {
		t.Error("a packet of another stream was taken")
	}
	r.HandleState(now, &protocol.State{Stream: 2, Seq: 1, Blocks: 5})
	if fb, next := r.Poll(now.Add(time.Second)); fb != nil || !next.IsZero() {
		t.Error("a state of another stream was answered")
	}
	s := NewSender(SenderConfig{Stream: 1, Members: 1, SymbolSize: 100}, now)
	s.HandleFeedback(now, 0, &protocol.Feedback{Stream: 2})
	s.HandleFeedback(now, 1, &protocol.Feedback{Stream: 1})
	s.HandleFeedback(now, -1, &protocol.Feedback{Stream: 1})
	s.HandleFeedback(now, 0, &protocol.Feedback{Stream: 1, Consumed: 1})
	s.HandleFeedback(now, 0, &protocol.Feedback{Stream: 1, Highest: 1})
	if st := s.Stats(); st.Absurd != 5 || st.Feedback != 1 || !s.AllConsumed() {
		t.Errorf("%+v", st)
	}
	for _, b := range []Block{{Kind: protocol.BlockData, Encoded: []byte{1}}, {Kind: protocol.BlockHeader},
		{Kind: protocol.BlockHeader, Encoded: make([]byte, 100*protocol.MaxSymbols+1)}, {Kind: protocol.BlockHeader, Encoded: []byte{1}, Count: 1 << 24}} {
		if _, err := s.Offer(now, b); err == nil {
			t.Errorf("a block of kind %d and %d bytes was taken", b.Kind, len(b.Encoded))
		}
	}
}

// The symbol size is told by nothing but the packets: every first packet of a
// stream must lead to the right one or be refused.
func TestSymbolSizeIsLearned(t *testing.T) {
	now := time.Unix(1000, 0)
	for length := 1; length < 400; length += 3 {
		for k, i := symbols(length, 100), 0; i < k; i++ {
			r := NewReceiver(ReceiverConfig{Stream: 1, Roster: 1}, now)
			send := func(i int) bool {
				block := make([]byte, length)
				_, ok := r.HandleData(now, &protocol.Data{Stream: 1, Kind: protocol.BlockHeader, Length: uint32(length), Index: uint8(i),
					Symbol: block[i*100 : min(length, i*100+100)]})
				return ok
			}
			ok := send(i)
			if r.size != 0 && r.size != 100 {
				t.Fatalf("symbol %d of %d bytes: size %d", i, length, r.size)
			}
			for j := range k {
				ok = send(j) || ok
			}
			if !ok {
				t.Fatalf("symbol %d of %d bytes first: the block was never complete", i, length)
			}
		}
	}
}
