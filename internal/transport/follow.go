package transport

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"makuo/protocol"
)

// interfaceCheck is how often the host's interfaces are looked at.
const interfaceCheck = time.Second

// Place is where a Follower is in the network, or why it is nowhere.
type Place struct {
	Interface string // name; empty before the first
	Local     netip.AddrPort
	Why       string // this interface, in a few words
	Waiting   string // for what, a sentence for people; empty while the network can be used
}

// Follower is a Conn that goes with the host's interfaces: it waits for one
// that can be used, opens its sockets when it comes, and opens them anew when
// another interface or address takes its place.
//
//	          an interface that can be used
//	nowhere ------------------------------> at a place <---+
//	                                         |       |     | another interface or address:
//	           the interface is down or gone |       +-----+ sockets opened anew
//	at a place, waiting <--------------------+
//	   |  it comes back: the group joined again, the sockets stay
//	   +--------------------------------------> at a place
//
// Where there is no place, sends fail as with an interface that is down.
type Follower struct {
	cfg     Config
	counts  gate // of sockets that are closed
	in      chan *Inbound
	done    chan struct{}
	wg      sync.WaitGroup
	current atomic.Pointer[UDP]   // nil before the first place
	place   atomic.Pointer[Place] // never nil

	mu     sync.Mutex // guards all below, and that one looks at a time
	used   seat
	closed bool
}

// Follow opens the sockets, or waits for an interface on which to do so.
// Errors are those of Open for which no interface is to blame.
func Follow(cfg Config) (*Follower, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	f := &Follower{cfg: cfg, in: make(chan *Inbound, maxInbounds), done: make(chan struct{})}
	f.place.Store(&Place{})
	err := f.look()
	var none *NoInterfaceError
	if err != nil && !errors.As(err, &none) && !isAny(err, syscall.EADDRNOTAVAIL, syscall.ENODEV, syscall.ENETDOWN) {
		return nil, err
	}
	return f, nil
}

// Watch looks at the interfaces from now on until Close, and calls changed, if
// not nil, on a goroutine of its own whenever the place is another.
func (f *Follower) Watch(changed func(Place)) {
	f.wg.Add(1)
	go func() {
		defer f.wg.Done()
		t := time.NewTicker(interfaceCheck)
		defer t.Stop()
		for {
			select {
			case <-f.done:
				return
			case <-t.C:
				f.lookAndTell(changed)
			}
		}
	}()
}

func (f *Follower) lookAndTell(changed func(Place)) {
	before := f.Place()
	_ = f.look() // is in the place
	if now := f.Place(); now != before && changed != nil {
		changed(now)
	}
}

// Place returns where the connection is.
func (f *Follower) Place() Place { return *f.place.Load() }

// look looks at the interfaces once and goes where they lead.
func (f *Follower) look() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return net.ErrClosed
	}
	p := f.Place()
	err := f.move(&p)
	p.Waiting = ""
	if err != nil {
		p.Waiting = err.Error()
	}
	f.place.Store(&p)
	return err
}

// move makes p the place where the connection should be.
func (f *Follower) move(p *Place) error {
	group := netip.AddrPortFrom(f.cfg.Group, f.cfg.Port)
	around, err := lookAround(group)
	if err != nil {
		return err
	}
	c, err := choose(around, f.cfg.Interface, f.used)
	u := f.current.Load()
	if err != nil {
		if u != nil {
			_ = u.checkInterface(nil) // fails for no interface
		}
		return err
	}
	if u != nil && f.used.name == c.link.Name && f.used.addr == c.addr {
		f.used.guess = c.guess
		return u.checkInterface(&c.link.Interface)
	}
	var port uint16
	if u != nil {
		port = u.local.Port()
		f.retire(u)
	}
	if u, err = openAt(f.cfg, c, f.in, port); err != nil {
		return err
	}
	f.current.Store(u)
	f.used = seat{c.link.Name, c.addr, c.guess}
	*p = Place{Interface: c.link.Name, Local: u.Local(), Why: c.why}
	return nil
}

// retire closes sockets whose place is no longer right, and keeps their counts.
func (f *Follower) retire(u *UDP) {
	s := u.Stats()
	f.counts.count(&s)
	f.current.Store(nil)
	f.used = seat{}
	u.Close()
}

// Recv implements Conn.
func (f *Follower) Recv() (*Inbound, error) { return recv(f.in, f.done) }

// Arrivals implements Conn.
func (f *Follower) Arrivals() <-chan *Inbound { return f.in }

// Send implements Conn.
func (f *Follower) Send(t *Train) error {
	err := error(net.ErrClosed)
	if u := f.current.Load(); u != nil {
		err = u.Send(t)
	}
	if !errors.Is(err, net.ErrClosed) {
		return err
	}
	select {
	case <-f.done:
		return net.ErrClosed
	default:
		return &SendError{Failed: t.Packets(), Err: syscall.ENETDOWN}
	}
}

// Queued implements Conn.
func (f *Follower) Queued() int {
	if u := f.current.Load(); u != nil {
		return u.Queued()
	}
	return 0
}

// Local implements Conn. Before the first place it is not valid.
func (f *Follower) Local() netip.AddrPort { return f.place.Load().Local }

// Group implements Conn.
func (f *Follower) Group() netip.AddrPort { return netip.AddrPortFrom(f.cfg.Group, f.cfg.Port) }

// Info implements Conn.
func (f *Follower) Info() Info {
	i := Info{TTL: f.cfg.TTL, RecvAsked: f.cfg.RecvBuffer, SendAsked: f.cfg.SendBuffer}
	if u := f.current.Load(); u != nil {
		i = u.Info()
	}
	i.Waiting = f.place.Load().Waiting
	return i
}

// Stats implements Conn.
func (f *Follower) Stats() Stats {
	sum := gate{stats: f.counts.snapshot()}
	if u := f.current.Load(); u != nil {
		s := u.Stats()
		sum.count(&s)
	}
	return sum.stats
}

// Payload implements Conn.
func (f *Follower) Payload() int {
	if u := f.current.Load(); u != nil {
		return u.Payload()
	}
	if f.cfg.MTU != 0 {
		return f.cfg.MTU - headers
	}
	return protocol.DefaultPayload
}

// Probe implements Conn.
func (f *Follower) Probe(ctx context.Context, addr netip.AddrPort) error {
	u := f.current.Load()
	if u == nil {
		return syscall.ENETDOWN
	}
	return u.Probe(ctx, addr)
}

// Close implements Conn. Closing again does nothing.
func (f *Follower) Close() error {
	f.mu.Lock()
	if !f.closed {
		f.closed = true
		close(f.done)
		if u := f.current.Load(); u != nil {
			u.Close()
		}
	}
	f.mu.Unlock()
	f.wg.Wait()
	return nil
}
