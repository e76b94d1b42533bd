package transport

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"makuo/protocol"
)

// loop sends trains of full packets from one socket on lo to another and
// returns what makes one pass, which ends when the train has arrived.
func loop(t testing.TB, plain bool) (send func(), size int) {
	cfg := Config{Interface: "lo", Group: netip.MustParseAddr("239.255.7.9"), Port: 42117, Cluster: testCluster, Session: 1, NoSegmentation: plain}
	a, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	cfg.Session = 2
	b, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	body := make([]byte, a.Payload()-protocol.PrefixLen-protocol.CheckLen)
	fill := func(dst []byte) []byte { return append(prefix(1).Append(dst), body...) }
	const packets = MaxTrainBytes / protocol.DefaultPayload
	return func() {
		tr := NewTrain(netip.AddrPort{}, Data)
		for range packets {
			tr.Append(fill)
		}
		if err := a.Send(tr); err != nil {
			t.Fatal(err)
		}
		tr.Release()
		for n := 0; n < packets; {
			in, err := b.Recv()
			if err != nil {
				t.Fatal(err)
			}
			n += len(in.Packets)
			in.Release()
		}
	}, packets * a.Payload()
}

func TestSendAndReceiveDoNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector pools forget what they are given")
	}
	for _, plain := range []bool{false, true} {
		send, _ := loop(t, plain)
		send()
		// A collection in between empties the pools: fewer than one allocation
		// in ten packets is none on the path.
		if n := testing.AllocsPerRun(200, send); n > 4 {
			t.Errorf("%v allocations for a train of %d packets (one by one: %v)", n, MaxTrainBytes/protocol.DefaultPayload, plain)
		}
	}
}

func BenchmarkLoopback(b *testing.B) {
	for _, plain := range []bool{false, true} {
		b.Run(fmt.Sprintf("plain=%v", plain), func(b *testing.B) { benchmarkLoopback(b, plain) })
	}
}

func benchmarkLoopback(b *testing.B, plain bool) {
	send, size := loop(b, plain)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		send()
	}
	b.ReportMetric(float64(b.N)*float64(size/protocol.DefaultPayload)/b.Elapsed().Seconds(), "packets/s")
}

func BenchmarkSeal(b *testing.B) {
	tr := NewTrain(netip.AddrPort{}, Data)
	for tr.Fits(protocol.DefaultPayload) {
		tr.Append(func(dst []byte) []byte {
			return append(prefix(1).Append(dst), make([]byte, protocol.DefaultPayload-protocol.PrefixLen-protocol.CheckLen)...)
		})
	}
	b.SetBytes(int64(tr.Bytes()))
	for range b.N {
		tr.seal()
	}
}

func BenchmarkJudge(b *testing.B) {
	g := gate{cluster: testCluster, session: 2}
	raw := protocol.AppendCheck(append(prefix(1).Append(nil), make([]byte, 1440)...))
	var s Stats
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for range b.N {
		if _, _, ok := g.judge(&s, raw, false); !ok {
			b.Fatal("refused")
		}
	}
}

// pacedConn takes trains and notes how late they are.
type pacedConn struct {
	Conn
	late, max atomic.Int64
}

func (c *pacedConn) Send(t *Train) error {
	late := time.Since(t.At).Nanoseconds()
	c.late.Add(late)
	c.max.Store(max(c.max.Load(), late))
	return nil
}

// Queued says that all has left.
func (c *pacedConn) Queued() int { return 0 }

// BenchmarkOutboxPacing shows how late trains leave that are due every 250
// microseconds.
func BenchmarkOutboxPacing(b *testing.B) {
	c := &pacedConn{}
	o := NewOutbox(c, OutboxConfig{})
	at := time.Now()
	for range b.N {
		tr := train(Data, "x")
		at = at.Add(250 * time.Microsecond)
		tr.At = at
		for o.Free() == 0 {
			<-o.Room()
		}
		o.Enqueue(tr)
	}
	for o.Stats().Trains < uint64(b.N) {
		<-o.Room() // a value comes when the last has left
	}
	o.Close()
	b.ReportMetric(float64(c.late.Load())/float64(b.N), "ns-late/train")
	b.ReportMetric(float64(c.max.Load()), "ns-late-max")
}

// BenchmarkSingleWrites is what a packet costs without batches.
func BenchmarkSingleWrites(b *testing.B) {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	to := netip.MustParseAddrPort("127.0.0.1:9")
	data := make([]byte, protocol.DefaultPayload)
	for range b.N {
		if _, err := c.WriteToUDPAddrPort(data, to); err != nil && !errors.Is(err, net.ErrClosed) {
			b.Fatal(err)
		}
	}
}
