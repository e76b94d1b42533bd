package transport

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"makuo/internal/transport/leak"
	"makuo/protocol"
)

// slowConn is a Conn whose Send waits to be let through and records.
type slowConn struct {
	Conn
	entered chan string   // the first packet's body of a train in Send
	pass    chan struct{} // lets one Send return; nil: at once

	mu   sync.Mutex
	sent []string
	at   []time.Time
	err  error

	queued atomic.Int64
}

func (c *slowConn) Queued() int { return int(c.queued.Load()) }

func (c *slowConn) Send(t *Train) error {
	p := t.Packet(0)
	body := string(p[protocol.PrefixLen : len(p)-protocol.CheckLen])
	c.mu.Lock()
	c.sent = append(c.sent, body)
	c.at = append(c.at, time.Now())
	err := c.err
	c.mu.Unlock()
	if c.entered != nil {
		c.entered <- body
	}
	if c.pass != nil {
		<-c.pass
	}
	return err
}

func train(class Class, body string) *Train {
	t := NewTrain(netip.AddrPort{}, class)
	t.Message(prefix(1), text(body))
	return t
}

func TestDataWaitsForTheLinkAndControlDoesNot(t *testing.T) {
	leak.Check(t)
	c := &slowConn{entered: make(chan string)}
	c.queued.Store(leastBacklog + 1)
	o := NewOutbox(c, OutboxConfig{})
	o.Enqueue(train(Data, "d0"))
	for i := range 3 {
		o.Enqueue(train(Control, fmt.Sprint("c", i)))
		if got := <-c.entered; got != fmt.Sprint("c", i) {
			t.Fatalf("sent %s while the link is busy", got)
		}
	}
	c.queued.Store(leastBacklog)
	if got := <-c.entered; got != "d0" {
		t.Errorf("sent %s when the link was free", got)
	}
	o.Close()
}

func TestControlGoesFirstAndDataKeepsItsOrder(t *testing.T) {
	leak.Check(t)
	c := &slowConn{entered: make(chan string), pass: make(chan struct{})}
	o := NewOutbox(c, OutboxConfig{})
	o.Enqueue(train(Data, "d0"))
	got := []string{<-c.entered}
	for i := range 3 {
		o.Enqueue(train(Data, fmt.Sprint("d", i+1)))
		o.Enqueue(train(Control, fmt.Sprint("c", i)))
	}
	o.Enqueue(NewTrain(netip.AddrPort{}, Control)) // empty: not sent
	for range 6 {
		c.pass <- struct{}{}
		got = append(got, <-c.entered)
	}
	c.pass <- struct{}{}
	o.Close()
	if want := []string{"d0", "c0", "c1", "c2", "d1", "d2", "d3"}; !slices.Equal(got, want) {
		t.Errorf("sent %v, want %v", got, want)
	}
	size := uint64(protocol.PrefixLen + 2 + protocol.CheckLen)
	if s := o.Stats(); s.Trains != 7 || s.Packets != 7 || s.Bytes != 7*size || s.Dropped != 0 || s.Errors.Total() != 0 {
		t.Errorf("counted %+v", s)
	}
}

func TestDataIsNotSentBeforeItsTime(t *testing.T) {
	leak.Check(t)
	c := &slowConn{entered: make(chan string)}
	o := NewOutbox(c, OutboxConfig{})
	defer o.Close()
	start := time.Now()
	var at []time.Time
	for i, d := range []time.Duration{100 * time.Microsecond, 350 * time.Microsecond, 3 * time.Millisecond, 3100 * time.Microsecond} {
		tr := train(Data, fmt.Sprint(i))
		tr.At = start.Add(d)
		at = append(at, tr.At)
		o.Enqueue(tr)
	}
	for i := range at {
		<-c.entered
		c.mu.Lock()
		early := at[i].Sub(c.at[i])
		c.mu.Unlock()
		if early > 0 {
			t.Errorf("train %d was sent %v too early", i, early)
		}
	}
}

func TestControlDoesNotWaitForData(t *testing.T) {
	leak.Check(t)
	c := &slowConn{entered: make(chan string)}
	o := NewOutbox(c, OutboxConfig{})
	defer o.Close()
	tr := train(Data, "in an hour")
	tr.At = time.Now().Add(time.Hour)
	o.Enqueue(tr)
	o.Enqueue(train(Control, "now"))
	if got := <-c.entered; got != "now" {
		t.Errorf("sent %q", got)
	}
}

func TestQueuesAreBoundedAndSayWhenThereIsRoom(t *testing.T) {
	leak.Check(t)
	c := &slowConn{entered: make(chan string), pass: make(chan struct{})}
	o := NewOutbox(c, OutboxConfig{Data: 4, Control: 2})
	o.Enqueue(train(Data, "x"))
	<-c.entered // the thread is busy
	for i := range 6 {
		if ok := o.Enqueue(train(Data, "x")); ok != (i < 4) {
			t.Errorf("data train %d: %v", i, ok)
		}
		if ok := o.Enqueue(train(Control, "x")); ok != (i < 2) {
			t.Errorf("control train %d: %v", i, ok)
		}
	}
	if o.Free() != 0 || o.Stats().Dropped != 6 {
		t.Errorf("%d free, %d dropped", o.Free(), o.Stats().Dropped)
	}
	select {
	case <-o.Room():
		t.Error("room was announced while the queue was full")
	default:
	}
	for range 4 { // two control, two data trains are taken
		c.pass <- struct{}{}
		<-c.entered
	}
	select {
	case <-o.Room():
	default:
		t.Error("room was not announced at half")
	}
	if o.Free() != 2 {
		t.Errorf("%d free", o.Free())
	}
	for range 2 {
		c.pass <- struct{}{}
		<-c.entered
	}
	c.pass <- struct{}{}
	o.Close()
}

func TestOutboxCountsFailuresAndGoesOn(t *testing.T) {
	leak.Check(t)
	c := &slowConn{entered: make(chan string)}
	o := NewOutbox(c, OutboxConfig{})
	one := func(err error) SendErrors {
		before := o.Stats().Errors
		c.mu.Lock()
		c.err = &SendError{Failed: 1, Err: err}
		if errors.Is(err, net.ErrClosed) {
			c.err = err
		}
		c.mu.Unlock()
		o.Enqueue(train(Control, "x"))
		<-c.entered
		c.mu.Lock()
		c.err = nil
		c.mu.Unlock()
		o.Enqueue(train(Control, "behind")) // when it is sent, the first is counted
		<-c.entered
		after := o.Stats().Errors
		return SendErrors{NoBuffers: after.NoBuffers - before.NoBuffers, Unreachable: after.Unreachable - before.Unreachable,
			Refused: after.Refused - before.Refused, TooBig: after.TooBig - before.TooBig, Closed: after.Closed - before.Closed, Other: after.Other - before.Other}
	}
	sys := func(e syscall.Errno) error {
		return &net.OpError{Op: "write", Net: "udp", Err: os.NewSyscallError("sendmmsg", e)}
	}
	for _, tc := range []struct {
		err  error
		kind func(SendErrors) uint64
	}{
		{sys(syscall.ENOBUFS), func(e SendErrors) uint64 { return e.NoBuffers }},
		{sys(syscall.EAGAIN), func(e SendErrors) uint64 { return e.NoBuffers }},
		{sys(syscall.ENETUNREACH), func(e SendErrors) uint64 { return e.Unreachable }},
		{sys(syscall.ENETDOWN), func(e SendErrors) uint64 { return e.Unreachable }},
		{sys(syscall.EPERM), func(e SendErrors) uint64 { return e.Refused }},
		{sys(syscall.EMSGSIZE), func(e SendErrors) uint64 { return e.TooBig }},
		{net.ErrClosed, func(e SendErrors) uint64 { return e.Closed }},
		{errors.New("whatever"), func(e SendErrors) uint64 { return e.Other }},
	} {
		if e := one(tc.err); tc.kind(e) == 0 || tc.kind(e) != e.Total() {
			t.Errorf("%v counted as %+v", tc.err, e)
		}
	}
	o.Close()
	if o.Enqueue(train(Control, "late")) {
		t.Error("accepted after Close")
	}
	o.Close()
}

func TestCloseDropsWhatIsQueued(t *testing.T) {
	leak.Check(t)
	c := &slowConn{entered: make(chan string), pass: make(chan struct{})}
	o := NewOutbox(c, OutboxConfig{})
	o.Enqueue(train(Control, "in the middle"))
	<-c.entered
	for range 5 {
		o.Enqueue(train(Data, "dropped"))
		o.Enqueue(train(Control, "dropped"))
	}
	closed := make(chan struct{})
	go func() {
		o.Close()
		close(closed)
	}()
	for begun := false; !begun; runtime.Gosched() {
		o.mu.Lock()
		begun = o.closed
		o.mu.Unlock()
	}
	close(c.pass)
	<-closed
	if len(c.sent) != 1 {
		t.Errorf("sent %v", c.sent)
	}
}

func TestTrain(t *testing.T) {
	tr := NewTrain(netip.MustParseAddrPort("10.0.0.1:5"), Data)
	for i := range 3 {
		tr.Append(func(dst []byte) []byte { return append(prefix(1).Append(dst), make([]byte, 100-i)...) })
	}
	n := protocol.PrefixLen + 100 + protocol.CheckLen
	if tr.Packets() != 3 || tr.Bytes() != 3*n-3 || len(tr.Packet(0)) != n || len(tr.Packet(2)) != n-2 {
		t.Errorf("%d packets, %d bytes", tr.Packets(), tr.Bytes())
	}
	buf := &tr.buf[0]
	tr.seal()
	tr.seal() // again: a train can be sent twice
	for i := range 3 {
		if _, err := protocol.OpenCheck(tr.Packet(i)); err != nil {
			t.Errorf("packet %d: %v", i, err)
		}
	}
	if &tr.buf[0] != buf || &tr.Packet(1)[0] != &tr.buf[n] {
		t.Error("sealing moved the packets")
	}
	if !tr.Fits(1472) || tr.Fits(MaxTrainBytes) {
		t.Error("Fits")
	}
	for tr.Fits(30) {
		tr.Message(prefix(1), text("123456"))
	}
	if tr.Packets() != MaxTrainPackets {
		t.Errorf("full with %d packets", tr.Packets())
	}
	mustPanic(t, "without prefix", func() { tr.Append(func(dst []byte) []byte { return append(dst, 1, 2, 3) }) })
	tr.Release()
	mustPanic(t, "released twice", tr.Release)

	small := NewTrain(netip.AddrPort{}, Control) // grows
	for range 10 {
		small.Append(func(dst []byte) []byte { return append(prefix(1).Append(dst), make([]byte, 1400)...) })
	}
	small.seal()
	if _, err := protocol.OpenCheck(small.Packet(9)); err != nil {
		t.Error(err)
	}
	small.Release()
	if again := NewTrain(netip.AddrPort{}, Control); again.Packets() != 0 || again.Bytes() != 0 {
		t.Error("a train from the pool is not empty")
	}
}
