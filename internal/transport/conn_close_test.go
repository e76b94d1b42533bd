package transport

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
)

func TestCloseEndsRecvAndSend(t *testing.T) {
	eachWorld(t, func(t *testing.T, w world) {
		a := w.host(t, 1)
		ended := make(chan error)
		go func() {
			_, err := a.Recv()
			ended <- err
		}()
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Recv: %v", err)
		}
		if _, err := a.Recv(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Recv after Close: %v", err)
		}
		train := NewTrain(netip.AddrPort{}, Control)
		defer train.Release()
		train.Message(prefix(1), text("late"))
		if err := a.Send(train); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Send after Close: %v", err)
		}
		if err := a.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
		a.Stats() // does not fail
	})
}

func TestCloseWithUnreadPackets(t *testing.T) {
	eachWorld(t, func(t *testing.T, w world) {
		a, b := w.host(t, 1), w.host(t, 2)
		for i := range 3000 { // more than the reader's queue holds
			say(t, a, 1, b.Local(), fmt.Sprint(i))
		}
		b.Close()
		if _, err := b.Recv(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Recv: %v", err)
		}
	})
}
