package transfer

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"makuo/protocol"
)

const testSymbol = 100

// dataOf makes the packet of a symbol, parity or not.
func dataOf(all [][]byte, id uint32, length, i int) protocol.Data {
	d := protocol.Data{Stream: 1, Seq: uint32(i), Block: id, Index: uint8(i), Kind: protocol.BlockData, Length: uint32(length), Count: 1, Symbol: all[i]}
	if id == 0 {
		d.Kind = protocol.BlockHeader
	}
	if i < symbols(length, testSymbol) {
		d.Symbol = d.Symbol[:min(testSymbol, length-i*testSymbol)]
	}
	return d
}

// Whatever symbols arrive, in whatever order, several times, mixed with those of
// other blocks: with the k-th the block is complete and right.
func TestReceiverTakesAnySymbols(t *testing.T) {
	now := time.Unix(1000, 0)
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 4))
		r := NewReceiver(ReceiverConfig{Stream: 1, Roster: 1}, now)
		var blocks [3][]byte
		var symbolsOf [3][][]byte
		got := [3]map[int]bool{{}, {}, {}}
		type packet struct{ block, index int }
		var order []packet
		for id := range blocks {
			length := testSymbol + 1 + rng.IntN(127*testSymbol)
			blocks[id] = noise(length, seed*3+uint64(id))
			symbolsOf[id] = encodeAll(blocks[id], testSymbol)
			for _, x := range rng.Perm(protocol.MaxIndex + 1) {
				if x < symbols(length, testSymbol) || rng.IntN(3) == 0 || seed%4 == 0 {
					order = append(order, packet{id, x}, packet{id, x})
				}
			}
		}
		rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		done := 0
		for _, p := range order {
			d := dataOf(symbolsOf[p.block], uint32(p.block), len(blocks[p.block]), p.index)
			c, ok := r.HandleData(now, &d)
			if r.size == 0 {
				continue // it might be a last symbol: that does not tell the size
			}
			k := symbols(len(blocks[p.block]), testSymbol)
			if got[p.block][p.index] = true; ok != (len(got[p.block]) == k && !got[p.block][-1]) {
				t.Fatalf("seed %d: block %d complete: %v, with %d symbols of %d", seed, p.block, ok, len(got[p.block]), k)
			}
			if !ok {
				continue
			}
			got[p.block][-1] = true
			if done++; !bytes.Equal(c.Encoded, blocks[p.block]) {
				t.Fatalf("seed %d: block %d is not what was sent", seed, p.block)
			}
			r.Consumed(c.ID)
			r.Recycle(c.Encoded)
		}
		if done != 3 || r.Stats().Inconsistent > 3 {
			t.Fatalf("seed %d: %d blocks complete, %+v", seed, done, r.Stats())
		}
	}
}

// A parity symbol of the wrong size, index or content harms no other block.
func TestHostileParityHarmsItsBlockOnly(t *testing.T) {
	now := time.Unix(1000, 0)
	r := NewReceiver(ReceiverConfig{Stream: 1, Roster: 1}, now)
	block := noise(550, 1)
	all := encodeAll(block, testSymbol)
	feed := func(id uint32, i int) (Complete, bool) {
		d := dataOf(all, id, len(block), i)
		return r.HandleData(now, &d)
	}
	feed(0, 0)
	feed(1, 0)
	for _, bad := range []struct {
		index  uint8
		symbol []byte
	}{{6, all[6][:99]}, {6, append(bytes.Clone(all[6]), 1)}, {255, all[6]}, {6, nil}} {
		d := dataOf(all, 1, len(block), 6)
		d.Index, d.Symbol = bad.index, bad.symbol
		if _, ok := r.HandleData(now, &d); ok {
			t.Errorf("symbol %d of %d bytes was taken", bad.index, len(bad.symbol))
		}
	}
	if st := r.Stats(); st.Inconsistent != 4 || st.Parity != 0 {
		t.Errorf("%+v", st)
	}
	single := protocol.Data{Stream: 1, Block: 2, Index: 1, Kind: protocol.BlockData, Length: 50, Symbol: all[0]}
	if _, ok := r.HandleData(now, &single); ok || r.Stats().Inconsistent != 5 {
		t.Error("parity of a block of one symbol was taken")
	}
	lie := dataOf(all, 1, len(block), 6)
	lie.Symbol = noise(testSymbol, 9)
	r.HandleData(now, &lie)
	for i := 1; i < 6; i++ {
		feed(1, i)
		if c, ok := feed(0, i); ok && !bytes.Equal(c.Encoded, block) {
			t.Error("another block was harmed")
		}
	}
	if !r.Complete(0) || r.slot(0).state != blockComplete || r.slot(1).state != blockComplete {
		t.Error("not complete")
	}
}

// sendAll returns the indices of the packets that go out now.
func sendAll(s *Sender, now *time.Time) (sent []int) {
	for !s.Idle() {
		*now = now.Add(time.Millisecond)
		if d, ok := s.Next(*now); ok {
			sent = append(sent, int(d.Index))
		}
	}
	return sent
}

// asking returns a feedback that had seen all before seq and lacks need
// symbols, with these sources missing, of block id.
func asking(seq, id uint32, need int, missing ...int) *protocol.Feedback {
	var m symbolSet
	for _, i := range missing {
		m.add(i)
	}
	return &protocol.Feedback{Stream: 1, Room: 1 << 20, Highest: seq, Received: seq, Naks: []protocol.Nak{{Block: id, Need: uint8(need), Missing: m.appendMissing(nil)}}}
}

// repairSender returns a sender that has sent one block of ten symbols and
// knows of no loss, so that it is not generous.
func repairSender(t *testing.T, members int) (*Sender, *time.Time) {
	now := time.Unix(1000, 0)
	s := NewSender(SenderConfig{Stream: 1, Members: members, SymbolSize: testSymbol, Rate: RateConfig{Start: 1 << 40, Floor: 1 << 40}}, now)
	if _, err := s.Offer(now, Block{Kind: protocol.BlockHeader, Count: 1, Encoded: noise(10*testSymbol-5, 1)}); err != nil {
		t.Fatal(err)
	}
	if n := len(sendAll(s, &now)); n != 10 {
		t.Fatalf("%d packets of a block of ten", n)
	}
	return s, &now
}

func TestRepairChoosesWhatServesMost(t *testing.T) {
	type nak struct {
		member  int
		seq     uint32
		need    int
		missing []int
	}
	for name, c := range map[string]struct {
		members int
		overlap float64
		naks    []nak
		want    []int
	}{
		"one member":                    {1, 0, []nak{{0, 10, 2, []int{3, 7}}}, []int{3, 7}},
		"one member with parity":        {1, 0, []nak{{0, 10, 1, []int{3, 7}}}, []int{10}},
		"two members, separate losses":  {2, 0, []nak{{0, 10, 2, []int{3, 7}}, {1, 10, 1, []int{5}}}, []int{10, 11}},
		"two members, the same losses":  {2, 0.95, []nak{{0, 10, 2, []int{3, 7}}, {1, 10, 2, []int{3, 7}}}, []int{3, 7}},
		"shared, but one more":          {2, 0.95, []nak{{0, 10, 2, []int{3, 7}}, {1, 10, 1, []int{5}}}, []int{10, 11}},
		"the largest need, whoever":     {3, 0, []nak{{0, 10, 1, []int{3}}, {1, 10, 3, []int{1, 2, 3}}, {2, 10, 2, []int{8, 9}}}, []int{10, 11, 12}},
		"impossible":                    {1, 0, []nak{{0, 10, 3, []int{20, 30, 40}}}, nil},
		"more needed than is missing":   {1, 0, []nak{{0, 10, 9, []int{4}}}, []int{4}},
		"one member, asked three times": {1, 0, []nak{{0, 10, 1, []int{4}}, {0, 10, 1, []int{4}}, {0, 10, 1, []int{4}}}, []int{4}},
	} {
		t.Run(name, func(t *testing.T) {
			s, now := repairSender(t, c.members)
			s.overlap = c.overlap
			for _, n := range c.naks {
				s.HandleFeedback(*now, n.member, asking(n.seq, 0, n.need, n.missing...))
			}
			if got := sendAll(s, now); fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("sent %v, want %v", got, c.want)
			}
		})
	}
}

func TestNaksMadeBeforeTheRepairAreStale(t *testing.T) {
	s, now := repairSender(t, 3)
	s.HandleFeedback(*now, 0, asking(10, 0, 2, 3, 7))
	if got := sendAll(s, now); fmt.Sprint(got) != "[10 11]" { // sequence numbers 10 and 11
		t.Fatal(got)
	}
	s.HandleFeedback(*now, 1, asking(10, 0, 2, 1, 2))
	if !s.Idle() || s.Stats().StaleSymbols != 2 {
		t.Errorf("answered twice: %v, %+v", sendAll(s, now), s.Stats())
	}
	// It had seen neither of them: of its three one is still needed.
	s.HandleFeedback(*now, 2, asking(10, 0, 3, 1, 2, 4))
	if got := sendAll(s, now); fmt.Sprint(got) != "[12]" {
		t.Errorf("three needed, two under way: sent %v", got)
	}
	// It has seen 10 and 11, or knows that they were sent, and 12 is on its way.
	s.HandleFeedback(*now, 1, asking(12, 0, 1, 1, 2))
	if !s.Idle() {
		t.Errorf("answered twice: %v", sendAll(s, now))
	}
	// It has seen 12, and something is still lacking: a repair was lost.
	s.HandleFeedback(*now, 1, asking(13, 0, 1, 1, 2))
	if got := sendAll(s, now); fmt.Sprint(got) != "[13]" {
		t.Errorf("a lost repair: sent %v", got)
	}
	// Nothing was sent for long: what was on its way is lost.
	*now = now.Add(time.Second)
	s.HandleFeedback(*now, 1, asking(13, 0, 1, 1, 2))
	if got := sendAll(s, now); fmt.Sprint(got) != "[14]" {
		t.Errorf("the last packet was lost: sent %v", got)
	}
}

func TestSourcesFollowWhenParityIsUsedUp(t *testing.T) {
	s, now := repairSender(t, 2)
	seen := map[int]int{}
	for round := 0; round < 300; round++ {
		*now = now.Add(time.Second)
		s.HandleFeedback(*now, round%2, asking(s.Packets(), 0, 1, round%10))
		for _, i := range sendAll(s, now) {
			seen[i]++
		}
	}
	for i := 10; i <= protocol.MaxIndex; i++ {
		if seen[i] != 1 {
			t.Fatalf("parity symbol %d was sent %d times", i, seen[i])
		}
	}
	for i := range 10 {
		if seen[i] < 3 {
			t.Errorf("source %d was sent %d times after the parity", i, seen[i])
		}
	}
	if st := s.Stats(); st.Repaired != 300 || st.Parity != 245 {
		t.Errorf("%+v", st)
	}
	for member := range 2 {
		s.HandleFeedback(*now, member, asking(s.Packets(), 0, 1, 3+member))
	}
	if got := sendAll(s, now); fmt.Sprint(got) != "[3 4]" {
		t.Errorf("two lack one source each: sent %v", got)
	}
}

// With nothing behind the block, repairs are sent that make up for the loss of
// repairs, but not for ever.
func TestTheTailIsGenerous(t *testing.T) {
	s, now := repairSender(t, 2)
	m := &s.losses.members[1]
	m.quick, m.slow = lossAverage{100, 2000}, lossAverage{100, 2000}
	s.HandleFeedback(*now, 0, asking(10, 0, 2, 3, 7))
	if got := sendAll(s, now); fmt.Sprint(got) != "[10 11]" {
		t.Errorf("a member without losses was sent %v", got)
	}
	s.HandleFeedback(*now, 1, asking(12, 0, 2, 3, 7))
	if got := sendAll(s, now); fmt.Sprint(got) != "[12 13 14]" {
		t.Errorf("a member that loses 5 %% was sent %v", got)
	}
	s.spent = tailPackets
	s.HandleFeedback(*now, 1, asking(15, 0, 2, 3, 7))
	if got := sendAll(s, now); fmt.Sprint(got) != "[15 16]" {
		t.Errorf("when all is spent, %v", got)
	}
}

// In blocks of one symbol the symbol itself is what parity is to others.
func TestSingleSymbolsAreRepeated(t *testing.T) {
	m := newSim(t, simConfig{members: 20, blocks: 300, loss: 0.1, blockLen: func(int, *rand.Rand) int { return 700 }}, 3)
	m.run()
	m.check()
	if st := m.s.Stats(); st.Parity != 0 || st.Repaired == 0 || st.Repaired > 3*st.Sent {
		t.Errorf("%+v", st)
	}
}

func TestSharedLossIsMendedWithSources(t *testing.T) {
	// All members hear what the first one hears.
	now := time.Unix(1000, 0)
	s := benchSender(3, 60, now)
	rng := rand.New(rand.NewPCG(1, 1))
	for range 60 {
		var lost []int
		id := s.cur
		for range 92 {
			now = now.Add(time.Millisecond)
			if d, ok := s.Next(now); ok && rng.IntN(30) == 0 {
				lost = append(lost, int(d.Index))
			}
		}
		if len(lost) == 0 {
			continue
		}
		for member := range 3 {
			s.HandleFeedback(now, member, asking(s.Packets(), id, len(lost), lost...))
		}
		for s.repairs.sum != 0 {
			now = now.Add(time.Millisecond)
			s.Next(now)
		}
	}
	if st := s.Stats(); s.overlap < shared || st.Parity > st.Repaired*2/3 {
		t.Errorf("overlap %.2f, %+v", s.overlap, st)
	}
}
