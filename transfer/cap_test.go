package transfer

import (
	"testing"
	"time"

	"makuo/protocol"
)

func TestSetCap(t *testing.T) {
	now := time.Unix(1000, 0)
	s := NewSender(SenderConfig{Members: 1, SymbolSize: 1000, Rate: RateConfig{Cap: 2e6}}, now)
	if r := s.Rate(); r != 2e6 {
		t.Fatalf("the rate begins at %d", r)
	}
	s.SetCap(1e6)
	if r := s.Rate(); r != 1e6 {
		t.Errorf("the rate is %d under a limit of 1,000,000", r)
	}
	s.SetCap(1000) // below the floor
	if r := s.Rate(); r != 1000 {
		t.Errorf("the rate is %d under a limit of 1,000", r)
	}
	s.SetCap(0)
	if r := s.Rate(); r != DefaultFloorRate {
		t.Errorf("the rate is %d without a limit: it is to grow from the floor", r)
	}
}

func TestSetWindow(t *testing.T) {
	now := time.Unix(1000, 0)
	s := NewSender(SenderConfig{Members: 1, SymbolSize: 1300, Window: 3 * protocol.MaxBlock}, now)
	if _, err := s.Offer(now, Block{Kind: protocol.BlockHeader, Encoded: make([]byte, 100_000)}); err != nil {
		t.Fatal(err)
	}
	if s.Room() <= 0 {
		t.Fatal("no room in a window of three blocks")
	}
	s.SetWindow(100_000)
	if r := s.Room(); r != 0 {
		t.Errorf("room for %d bytes in a window that is full", r)
	}
	s.SetWindow(0)
	if s.Window() != DefaultWindow {
		t.Errorf("window %d", s.Window())
	}
}
