package daemon

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"makuo/internal/control"
	"makuo/internal/transport"
	"makuo/internal/transport/leak"
	"makuo/protocol"
)

// roamer is a connection that can be moved to another address, and be without
// one.
type roamer struct {
	transport.Conn // of the first place, closed with the daemon

	mu      sync.Mutex
	at      transport.Conn
	waiting string
}

func (r *roamer) now() transport.Conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at
}

func (r *roamer) Arrivals() <-chan *transport.Inbound { return r.now().Arrivals() }
func (r *roamer) Recv() (*transport.Inbound, error)   { return r.now().Recv() }
func (r *roamer) Send(t *transport.Train) error       { return r.now().Send(t) }
func (r *roamer) Local() netip.AddrPort               { return r.now().Local() }
func (r *roamer) Close() error                        { r.now().Close(); return r.Conn.Close() }
func (r *roamer) place() transport.Place {
	return transport.Place{Interface: "eth0", Local: r.Local(), Waiting: r.Info().Waiting}
}

func (r *roamer) Info() transport.Info {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.at.Info()
	i.Waiting = r.waiting
	return i
}

// roams has the machine be at a place that can be changed.
func (m *machine) roams() *roamer {
	r := &roamer{}
	m.stop()
	m.wrap = func(c transport.Conn) transport.Conn {
		r.Conn, r.at = c, c
		return r
	}
	m.start()
	return r
}

// move gives the machine another address, or has it wait for one.
func (m *machine) move(r *roamer, waiting string) {
	r.mu.Lock()
	if r.waiting = waiting; waiting == "" {
		r.at.Close()
		r.at = m.c.net.Host(protocol.ClusterID(DefaultCluster), m.n.session)
	}
	r.mu.Unlock()
	n, p := m.n, r.place()
	n.post(func(now time.Time) { n.moved(now, p) })
}

// TestWithoutANetwork: the daemon answers and says what it waits for; it pushes
// once it has a place.
func TestWithoutANetwork(t *testing.T) {
	leak.Check(t)
	c := newCluster(t)
	l := c.machines("a", "b")
	r := l[0].roams()
	c.settle(l...)
	l[0].write("f", []byte("x"))
	l[0].move(r, "interface eth0 has no IPv4 address")
	if w := l[0].status().Waiting; w != "waiting for a network interface with an IPv4 address: interface eth0 has no IPv4 address" {
		t.Errorf("status: %q", w)
	}
	o := l[0].push(paths("f"), nil)
	if e, ok := o.err.(*control.Error); !ok || e.Exit != control.ExitNobody || !strings.Contains(e.Error(), "is waiting for a network interface with an IPv4 address: interface eth0") {
		t.Errorf("a push: %v", o.err)
	}
	l[0].move(r, "")
	c.settle(l...)
	l[0].push(paths("f"), nil).exits(t, control.ExitOK)
	if s := l[0].status(); s.Waiting != "" || s.Address != r.Local().Addr().String() {
		t.Errorf("status: waiting %q, address %s", s.Waiting, s.Address)
	}
}

// TestAMemberMovesDuringAPush: it is the same member. What is fetched from it
// alone is asked for at its new address, and the origin may move, too.
func TestAMemberMovesDuringAPush(t *testing.T) {
	leak.Check(t)
	c := newCluster(t)
	l := c.machines("a", "b", "c")
	b, a := l[1].roams(), l[0].roams()
	c.settle(l...)
	const failing = 100
	for i := range failing {
		name := fmt.Sprintf("t/%d", i)
		l[0].write(name, []byte("x"))
		l[1].write(name+"/there/is/something", nil) // in the way
	}
	told := 0
	l[0].push(paths("t"), func(e control.Event) {
		switch e := e.(type) {
		case *control.Start:
			l[1].move(b, "")
			l[0].move(a, "")
			c.until("the origin knows the new address", func() bool {
				for _, m := range l[0].status().Members {
					if m.Name == "b" {
						return m.Addr == b.Local().Addr().String()
					}
				}
				return false
			})
		case *control.Problem:
			if e.Member == "b" && strings.HasPrefix(string(e.Path), "t/") {
				told++
			}
		}
	}).exits(t, control.ExitPartial)
	if told != failing {
		t.Errorf("%d problems were fetched from the member that moved, of %d", told, failing)
	}
	same(t, "t", l[0], l[2])
}
