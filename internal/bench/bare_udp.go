//go:build linux

package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"makuo/integration/lab"
)

// The floor for one large file: a sender that reads it and a receiver that
// writes it, with the calls that are to be had (sendmmsg, recvmmsg, trains sent
// by UDP_SEGMENT and received by UDP_GRO, preadv, pwritev), multicast, and
// nothing around them but a window that keeps the receiver's buffer from
// overflowing: no repair, no hash, no manifest.
//
// A packet is eight bytes of offset in the file and up to 1,464 bytes of it.
// The receiver answers with the number of bytes it has, to where they came from.

const (
	bareSendCommand    = "bare-send"
	bareReceiveCommand = "bare-receive"

	barePacket  = 1472 // UDP payload
	bareHead    = 8
	bareContent = barePacket - bareHead
	bareTrain   = 44      // packets: 64,768 bytes, the most that fits 65,507
	bareBatch   = 8       // trains in one sendmmsg or recvmmsg
	bareWindow  = 4 << 20 // bytes of content on the way
	bareBuffer  = 16 << 20
	bareAnswer  = 512 << 10 // bytes of content between two answers
)

var bareGroup = &net.UDPAddr{IP: net.IPv4(239, 77, 0, 1), Port: 5999}

// bareUDP sends the tree's only file to one member.
func bareUDP(f *field, limit time.Duration) (outcome, error) {
	self, err := os.Executable()
	if err != nil {
		return outcome{}, err
	}
	size := fmt.Sprint(f.size.Bytes)
	if err := os.Mkdir(f.members[0].Base(treeName), 0o755); err != nil {
		return outcome{}, err
	}
	c := newCrew(f)
	err = c.serve(f, "the bare receiver", func(*lab.Host) []string {
		return []string{self, bareReceiveCommand, treeName + "/random", size}
	})
	if err == nil {
		err = c.await("the bare receiver", func() bool { return bound(f, fmt.Sprintf(":%04X ", bareGroup.Port)) })
	}
	var o outcome
	if err == nil {
		began := time.Now()
		_, err = c.client(f, "the bare sender", self, bareSendCommand, treeName+"/random", size)
		for _, p := range append(c.servers, c.clients...) {
			if err == nil {
				err = p.wait(began.Add(limit))
				o.Wall = max(o.Wall, p.at.Sub(began))
			}
		}
	}
	o.Sender, o.Receivers = c.end()
	return o, err
}

// bareArgs are a file's name and size.
func bareArgs(args []string, flags int) (*os.File, int64, error) {
	var size int64
	if _, err := fmt.Sscan(args[1], &size); err != nil {
		return nil, 0, fmt.Errorf("the size %q: %w", args[1], err)
	}
	f, err := os.OpenFile(args[0], flags, 0o644)
	return f, size, err
}

// bareSocket opens a socket for multicast on eth0.
func bareSocket(port int, group bool) (*net.UDPConn, *ipv4.PacketConn, error) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{Port: port})
	if err != nil {
		return nil, nil, err
	}
	eth0, err := net.InterfaceByName("eth0")
	if err != nil {
		return nil, nil, err
	}
	pc := ipv4.NewPacketConn(conn)
	if group {
		err = pc.JoinGroup(eth0, bareGroup)
	} else {
		err = pc.SetMulticastInterface(eth0)
	}
	return conn, pc, err
}

// sockopts sets options of a socket, each a level, a name and a value.
func sockopts(conn *net.UDPConn, opts ...[3]int) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	if e := raw.Control(func(fd uintptr) {
		for _, o := range opts {
			if err == nil {
				err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(int(fd), o[0], o[1], o[2]))
			}
		}
	}); e != nil {
		return e
	}
	return err
}

// progressOf is what a receiver has, as its answers say.
type progressOf struct {
	mu   sync.Mutex
	more *sync.Cond
	have int64
	err  error
}

func (p *progressOf) set(have int64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.have, p.err = max(p.have, have), err
	p.more.Broadcast()
}

// await waits until the receiver has that much.
func (p *progressOf) await(have int64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.have < have && p.err == nil {
		p.more.Wait()
	}
	if p.have >= have {
		return nil
	}
	return p.err
}

// sendBare is the sender's program.
func sendBare(args []string) error {
	file, size, err := bareArgs(args, os.O_RDONLY)
	if err != nil {
		return err
	}
	conn, pc, err := bareSocket(0, false)
	if err != nil {
		return err
	}
	err = sockopts(conn, [3]int{unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, bareBuffer},
		[3]int{unix.IPPROTO_UDP, unix.UDP_SEGMENT, barePacket})
	if err != nil {
		return err
	}
	p := &progressOf{}
	p.more = sync.NewCond(&p.mu)
	go func() { // ends with the process
		var answer [8]byte
		for {
			n, _, err := conn.ReadFromUDP(answer[:])
			if err == nil && n < 8 {
				err = fmt.Errorf("an answer of %d bytes", n)
			}
			p.set(int64(binary.BigEndian.Uint64(answer[:])), err)
			if err != nil {
				return
			}
		}
	}()
	runtime.LockOSThread()
	var trains [bareBatch]bareOut
	msgs := make([]ipv4.Message, 0, bareBatch)
	for off := int64(0); off < size; {
		msgs = msgs[:0]
		for i := 0; i < bareBatch && off < size; i++ {
			n, err := trains[i].fill(file, off, size)
			if err != nil {
				return err
			}
			msgs = append(msgs, ipv4.Message{Buffers: [][]byte{trains[i].data()}, Addr: bareGroup})
			off += n
		}
		if err := p.await(off - bareWindow); err != nil {
			return err
		}
		for left := msgs; len(left) > 0; {
			n, err := pc.WriteBatch(left, 0)
			if err != nil {
				return err
			}
			left = left[n:]
		}
	}
	return p.await(size)
}

// bareOut is one train on its way out.
type bareOut struct {
	buf   [bareTrain * barePacket]byte
	iovs  [bareTrain][]byte
	bytes int
}

// fill reads a train's worth of the file from off and returns how much that is.
func (t *bareOut) fill(file *os.File, off, size int64) (int64, error) {
	content := min(size-off, bareTrain*bareContent)
	packets := 0
	for at := int64(0); at < content; at += bareContent {
		packet := t.buf[packets*barePacket:]
		binary.BigEndian.PutUint64(packet, uint64(off+at))
		n := min(content-at, bareContent)
		t.iovs[packets] = packet[bareHead : bareHead+n]
		packets++
	}
	n, err := unix.Preadv(int(file.Fd()), t.iovs[:packets], off)
	if err == nil && int64(n) != content {
		err = fmt.Errorf("the file ended at %d", off+int64(n))
	}
	t.bytes = int(content) + packets*bareHead
	return content, err
}

func (t *bareOut) data() []byte { return t.buf[:t.bytes] }

// receiveBare is the receiver's program.
func receiveBare(args []string) error {
	file, size, err := bareArgs(args, os.O_WRONLY|os.O_CREATE)
	if err != nil {
		return err
	}
	conn, pc, err := bareSocket(bareGroup.Port, true)
	if err != nil {
		return err
	}
	err = sockopts(conn, [3]int{unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bareBuffer},
		[3]int{unix.IPPROTO_UDP, unix.UDP_GRO, 1})
	if err != nil {
		return err
	}
	msgs := make([]ipv4.Message, bareBatch)
	for i := range msgs {
		msgs[i] = ipv4.Message{Buffers: [][]byte{make([]byte, 1<<16)}, OOB: make([]byte, 64)}
	}
	runtime.LockOSThread()
	var have, answered int64
	var iovs [][]byte
	for have < size {
		n, err := pc.ReadBatch(msgs, 0)
		if err != nil {
			return err
		}
		for i := range n {
			written, err := writeTrain(file, msgs[i].Buffers[0][:msgs[i].N], iovs[:0])
			if err != nil {
				return err
			}
			have += written
		}
		if have-answered >= bareAnswer || have >= size {
			answered = have
			if _, err := conn.WriteTo(binary.BigEndian.AppendUint64(nil, uint64(have)), msgs[0].Addr); err != nil {
				return err
			}
		}
	}
	return file.Close()
}

// writeTrain writes a train, which is packets of equal size but the last and
// of offsets that follow each other, to where it belongs.
func writeTrain(file *os.File, train []byte, iovs [][]byte) (int64, error) {
	if len(train) < bareHead {
		return 0, fmt.Errorf("a packet of %d bytes", len(train))
	}
	start := int64(binary.BigEndian.Uint64(train))
	var content int64
	for len(train) > bareHead {
		packet := train[:min(len(train), barePacket)]
		if off := int64(binary.BigEndian.Uint64(packet)); off != start+content {
			return 0, fmt.Errorf("a train that jumps from %d to %d", start+content, off)
		}
		iovs = append(iovs, packet[bareHead:])
		content += int64(len(packet) - bareHead)
		train = train[len(packet):]
	}
	n, err := unix.Pwritev(int(file.Fd()), iovs, start)
	if err == nil && int64(n) != content {
		err = fmt.Errorf("only %d of %d bytes written", n, content)
	}
	return content, err
}
