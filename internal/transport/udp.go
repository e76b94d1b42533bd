package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"

	"makuo/protocol"
)

// Defaults of a Config.
const (
	DefaultRecvBuffer = 8 << 20
	DefaultSendBuffer = 512 << 10 // small: what waits in it is delay for everything behind it
	DefaultTTL        = 1
)

// Bytes of the IPv4 and UDP headers, and the range of Config.MTU: every host
// takes 576 bytes (RFC 791), and 9000 is the largest that is common.
const (
	headers = 20 + 8
	MinMTU  = 576
	MaxMTU  = protocol.MaxPacket + headers
)

// Config says how to open UDP sockets. Zero values are defaults but for Group,
// Port and Session.
type Config struct {
	Interface  string     // name or IPv4 address; empty: see choose
	Group      netip.Addr // IPv4 multicast address
	Port       uint16
	TTL        int // of multicast packets, 1..255
	MTU        int // MinMTU..MaxMTU; 0: 1500. The interface's, if smaller, counts
	RecvBuffer int // bytes, of each of the two sockets
	SendBuffer int // bytes

	// NoSegmentation has every packet sent and received by itself, as kernels
	// without UDP_SEGMENT and UDP_GRO do.
	NoSegmentation bool

	Cluster uint32
	Session protocol.Session
}

func (c *Config) check() error {
	switch {
	case !c.Group.Is4() || !c.Group.IsMulticast():
		return fmt.Errorf("%s is not an IPv4 multicast address: choose one from 224.0.0.0 to 239.255.255.255, such as 224.0.0.108", c.Group)
	case c.Port == 0:
		return errors.New("the group's port must not be 0: choose one from 1 to 65535, the same on all members")
	case c.TTL < 0 || c.TTL > 255:
		return fmt.Errorf("a time to live of %d is not possible: choose one from 1 to 255", c.TTL)
	case c.MTU != 0 && (c.MTU < MinMTU || c.MTU > MaxMTU):
		return fmt.Errorf("an MTU of %d is not possible: choose one from %d to %d", c.MTU, MinMTU, MaxMTU)
	case c.RecvBuffer < 0 || c.SendBuffer < 0 || c.RecvBuffer > 1<<30 || c.SendBuffer > 1<<30:
		return fmt.Errorf("buffers of %d and %d bytes are not possible: choose sizes up to 1 GiB", c.RecvBuffer, c.SendBuffer)
	case c.Session == 0:
		return errors.New("no session id")
	}
	if c.TTL == 0 {
		c.TTL = DefaultTTL
	}
	if c.RecvBuffer == 0 {
		c.RecvBuffer = DefaultRecvBuffer
	}
	if c.SendBuffer == 0 {
		c.SendBuffer = DefaultSendBuffer
	}
	return nil
}

// UDP is a Conn on two sockets: one bound to the group receives multicast; one
// bound to the interface's address receives unicast and sends everything, so
// that the source of every packet is the member's own address.
type UDP struct {
	gate
	info    Info // Segmentation and Unsegmented: see refused
	group   netip.AddrPort
	local   netip.AddrPort
	payload int
	slot    int // bytes of the longest packet that is received
	segment int // bytes of the longest packet in a segmented send

	multicast groupSocket
	waiter    *waiter // of multicast
	unicast   *net.UDPConn
	out       *ipv4.PacketConn // of unicast
	raw       syscall.RawConn  // of unicast
	groupAddr *net.UDPAddr
	filtered  bool // the kernel drops the own session's packets

	pool    *reserve[*Inbound]
	spills  *reserve[*spill]
	writers sync.Pool     // of *writer
	in      chan *Inbound // from both readers
	done    chan struct{} // closed by Close
	wg      sync.WaitGroup
	once    sync.Once

	looped  atomic.Uint32 // datagrams of the own session that the group's socket dropped, modulo 2^32
	refused atomic.Pointer[SegmentationError]
	watched interfaceState
}

// groupSocket is the socket that hears the group. Sending and control calls
// use it as a connection only for a moment, see withGroup.
type groupSocket interface {
	syscall.Conn
	io.Closer
}

// Open opens the sockets on the interface that can be used now. Errors are
// sentences for the user; a *NoInterfaceError where there is no interface.
func Open(cfg Config) (*UDP, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	around, err := lookAround(netip.AddrPortFrom(cfg.Group, cfg.Port))
	if err != nil {
		return nil, err
	}
	c, err := choose(around, cfg.Interface, seat{})
	if err != nil {
		return nil, err
	}
	return openAt(cfg, c, make(chan *Inbound, maxInbounds), 0)
}

// openAt opens the sockets at a place. What arrives goes to in. The unicast
// socket has the given port, if that is not 0 and is free.
func openAt(cfg Config, c choice, in chan *Inbound, port uint16) (*UDP, error) {
	u := &UDP{
		gate:  gate{cluster: cfg.Cluster, session: cfg.Session},
		group: netip.AddrPortFrom(cfg.Group, cfg.Port),
		in:    in,
		done:  make(chan struct{}),
	}
	ifi := &c.link.Interface
	u.info = Info{Interface: ifi.Name, Index: ifi.Index, MTU: ifi.MTU, TTL: cfg.TTL, RecvAsked: cfg.RecvBuffer, SendAsked: cfg.SendBuffer,
		Why: c.why, Addresses: c.link.addrs}
	u.watched.index = ifi.Index
	u.payload = protocol.DefaultPayload
	if cfg.MTU != 0 {
		u.payload = cfg.MTU - headers
	}
	u.payload = min(u.payload, ifi.MTU-headers)
	u.slot = max(u.payload, min(ifi.MTU-headers, protocol.MaxPacket))
	u.segment = ifi.MTU - headers
	u.pool, u.spills = u.newReserves()
	u.groupAddr = net.UDPAddrFromAddrPort(u.group)
	if err := u.open(ifi, c.addr, port, cfg); err != nil {
		u.closeSockets()
		return nil, err
	}
	return u, nil
}

// open opens both sockets and starts the goroutines.
func (u *UDP) open(ifi *net.Interface, addr netip.Addr, port uint16, cfg Config) (err error) {
	if u.multicast, err = listenGroup(u.group, ifi); err != nil {
		if isAny(err, syscall.EADDRINUSE) {
			return fmt.Errorf("listen on %s: another program has UDP port %d for itself: stop it, or choose another port on all members (%w)", u.group, u.group.Port(), err)
		}
		return fmt.Errorf("listen on %s: %w", u.group, err)
	}
	if u.waiter, err = newWaiter(u.multicast); err != nil {
		return err
	}
	if err := u.bindUnicast(addr, port, cfg.Port, 0); err != nil {
		return err
	}
	err = withGroup(u.multicast, func(c *ipv4.PacketConn) error { return c.JoinGroup(ifi, u.groupAddr) })
	if err != nil && !isAny(err, syscall.EADDRINUSE) {
		return fmt.Errorf("join the group %s on interface %s: %w", u.group.Addr(), ifi.Name, err)
	}
	if err := u.setOptions(ifi, cfg); err != nil {
		return err
	}
	if err := u.setBuffers(cfg); err != nil {
		return err
	}
	if u.raw, err = u.unicast.SyscallConn(); err != nil {
		return err
	}
	u.writers.New = func() any { return newWriter(u) }
	multi, err := newReader(u, u.multicast, true, u.waiter)
	if err != nil {
		return err
	}
	uni, err := newReader(u, u.unicast, false, nil)
	if err != nil {
		return err
	}
	u.wg.Add(2)
	go multi.run()
	go uni.run()
	return nil
}

// bindUnicast takes the first of the ports that is free on the address: the
// beacon names it. 0 as the last stands for any.
func (u *UDP) bindUnicast(addr netip.Addr, ports ...uint16) (err error) {
	for i, port := range ports {
		if port == 0 && i+1 < len(ports) {
			continue
		}
		u.unicast, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, port)))
		if !isAny(err, syscall.EADDRINUSE, syscall.EACCES) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("open a UDP socket on %s: %w", addr, err)
	}
	local := u.unicast.LocalAddr().(*net.UDPAddr).AddrPort()
	u.local = netip.AddrPortFrom(local.Addr().Unmap(), local.Port())
	u.out = ipv4.NewPacketConn(u.unicast)
	return nil
}

func (u *UDP) setOptions(ifi *net.Interface, cfg Config) error {
	if err := u.out.SetMulticastInterface(ifi); err != nil {
		return fmt.Errorf("send multicast through interface %s: %w", ifi.Name, err)
	}
	if err := u.out.SetMulticastTTL(cfg.TTL); err != nil {
		return fmt.Errorf("set the time to live of multicast packets to %d: %w", cfg.TTL, err)
	}
	if err := u.out.SetMulticastLoopback(true); err != nil {
		return fmt.Errorf("let other daemons on this host hear multicast: %w", err)
	}
	filter, err := ownFilter(cfg.Session)
	if err != nil {
		return fmt.Errorf("make the socket filter: %w", err)
	}
	if !cfg.NoSegmentation {
		u.info.Segmentation = canSegment(u.unicast)
		u.info.Coalescing = coalesce(u.multicast) && coalesce(u.unicast)
	}
	// Only speed is lost without it: the gate drops what it would have dropped.
	u.filtered = withGroup(u.multicast, func(c *ipv4.PacketConn) error { return c.SetBPF(filter) }) == nil
	return nil
}

// setBuffers sets all buffers and words the warning.
func (u *UDP) setBuffers(cfg Config) error {
	var err error
	for _, c := range []syscall.Conn{u.unicast, u.multicast} {
		if u.info.RecvGot, err = setBuffer(c, true, cfg.RecvBuffer); err != nil {
			return fmt.Errorf("set a receive buffer of %d bytes: %w", cfg.RecvBuffer, err)
		}
	}
	if u.info.SendGot, err = setBuffer(u.unicast, false, cfg.SendBuffer); err != nil {
		return fmt.Errorf("set a send buffer of %d bytes: %w", cfg.SendBuffer, err)
	}
	u.info.Warning = bufferWarning(u.info)
	return nil
}

// bufferWarning words what is wrong with the buffers, if anything.
func bufferWarning(i Info) string {
	if i.RecvGot < i.RecvAsked {
		return fmt.Sprintf("the receive buffer has %d bytes instead of %d, so packets can be lost at high rates: sysctl -w %s=%d, then restart",
			i.RecvGot, i.RecvAsked, bufferSysctl(true), i.RecvAsked)
	}
	if i.SendGot < i.SendAsked {
		return fmt.Sprintf("the send buffer has %d bytes instead of %d: sysctl -w %s=%d, then restart",
			i.SendGot, i.SendAsked, bufferSysctl(false), i.SendAsked)
	}
	return ""
}

// Recv implements Conn.
func (u *UDP) Recv() (*Inbound, error) { return recv(u.in, u.done) }

// recv waits for what arrives, until done is closed.
func recv(arrivals <-chan *Inbound, done <-chan struct{}) (*Inbound, error) {
	select {
	case <-done:
		return nil, net.ErrClosed
	default:
	}
	select {
	case in := <-arrivals:
		return in, nil
	case <-done:
		return nil, net.ErrClosed
	}
}

// Arrivals implements Conn.
func (u *UDP) Arrivals() <-chan *Inbound { return u.in }

// Queued implements Conn.
func (u *UDP) Queued() int { return queued(u.raw) }

// Local implements Conn.
func (u *UDP) Local() netip.AddrPort { return u.local }

// Group implements Conn.
func (u *UDP) Group() netip.AddrPort { return u.group }

// Info implements Conn.
func (u *UDP) Info() Info {
	i := u.info
	if e := u.refused.Load(); e != nil {
		i.Segmentation, i.Unsegmented = false, e
	}
	return i
}

// Payload implements Conn.
func (u *UDP) Payload() int { return u.payload }

// Close implements Conn. Closing again does nothing.
func (u *UDP) Close() error {
	u.once.Do(func() {
		close(u.done)
		u.waiter.stop()
		u.unicast.Close()
		u.wg.Wait()
		u.closeSockets()
	})
	return nil
}

func (u *UDP) closeSockets() {
	if u.unicast != nil {
		u.unicast.Close()
	}
	if u.waiter != nil {
		u.waiter.close()
	}
	if u.multicast != nil {
		u.multicast.Close()
	}
}

// probeWait is how long Probe waits for an answer: much more than a round trip
// in one network.
const probeWait = 250 * time.Millisecond

// Probe implements Conn. The question is an empty packet: an open port takes
// it silently, a closed one has its host answer with an ICMP message, which
// only a connected socket hears of.
func (u *UDP) Probe(ctx context.Context, addr netip.AddrPort) error {
	c, err := net.DialUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(u.local.Addr(), 0)), net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return fmt.Errorf("probe %s: %w", addr, err)
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Unix(1, 0)) })()
	if err := c.SetReadDeadline(time.Now().Add(probeWait)); err != nil {
		return fmt.Errorf("probe %s: %w", addr, err)
	}
	if _, err := c.Write(nil); err != nil {
		return fmt.Errorf("probe %s: %w", addr, err)
	}
	_, err = c.Read(make([]byte, 1))
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case isRefused(err):
		return fmt.Errorf("probe %s: %w", addr, ErrUnreachable)
	}
	return nil
}
