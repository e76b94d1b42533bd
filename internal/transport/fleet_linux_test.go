package transport

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"makuo/protocol"
)

// What a process of BenchmarkFleet does is in its environment.
const (
	fleetRole  = "MAKUO_FLEET_ROLE"  // send or receive
	fleetRate  = "MAKUO_FLEET_RATE"  // bit/s, 0: as fast as possible
	fleetPlain = "MAKUO_FLEET_PLAIN" // without segmentation
)

const fleetBytes = 256 << 20

// fleetReport is what such a process prints at its end.
type fleetReport struct {
	Packets  uint64
	Bytes    uint64
	Batches  int
	Overflow uint64
	Elapsed  time.Duration
	CPU      time.Duration // user and system
}

// BenchmarkFleet sends from one host over a switch to others, each a process
// in a namespace of its own. It makes the switch in its own namespace:
//
//	unshare -n go test -run '^$' -bench Fleet -benchtime 1x ./internal/transport
func BenchmarkFleet(b *testing.B) {
	if all, err := net.Interfaces(); err != nil || len(all) != 1 {
		b.Skip("run it with unshare -n, in a network namespace of its own")
	}
	for _, cut := range []bool{true, false} {
		for _, receivers := range []int{1, 4} {
			for _, rate := range []int{0, 300e6} {
				for _, plain := range []bool{false, true} {
					name := fmt.Sprintf("cut=%v/receivers=%d/rate=%d/plain=%v", cut, receivers, rate/1e6, plain)
					b.Run(name, func(b *testing.B) { benchmarkFleet(b, cut, receivers, rate, plain) })
				}
			}
		}
	}
}

func benchmarkFleet(b *testing.B, cut bool, receivers, rate int, plain bool) {
	l := newLab(b, cut)
	defer l.remove(b)
	var members []*fleetProcess
	for range receivers {
		members = append(members, startFleet(b, l.host(b), "receive", rate, plain))
	}
	sent := startFleet(b, l.host(b), "send", rate, plain).report(b)
	var got fleetReport
	for _, m := range members {
		r := m.report(b)
		got.Packets, got.Bytes, got.Batches = got.Packets+r.Packets, got.Bytes+r.Bytes, got.Batches+r.Batches
		got.Overflow, got.CPU = got.Overflow+r.Overflow, got.CPU+r.CPU
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(sent.Packets)/sent.Elapsed.Seconds()/1e3, "kpackets/s")
	b.ReportMetric(100*float64(got.Packets)/float64(sent.Packets)/float64(receivers), "%arrived")
	b.ReportMetric(sent.CPU.Seconds()/float64(sent.Bytes)*1e9, "send-cpu-s/GB")
	b.ReportMetric(got.CPU.Seconds()/float64(got.Bytes)*1e9, "recv-cpu-s/GB")
	b.ReportMetric(float64(got.Packets)/float64(got.Batches), "packets/batch")
}

// fleetProcess is a process in a host. It ends when its input does.
type fleetProcess struct {
	cmd *exec.Cmd
	in  io.Closer
	out *bufio.Reader
}

func startFleet(b *testing.B, h *labHost, role string, rate int, plain bool) *fleetProcess {
	p := &fleetProcess{cmd: exec.Command(os.Args[0], "-test.run=^TestFleetMember$")}
	p.cmd.Env = append(os.Environ(), fleetRole+"="+role, fleetRate+"="+strconv.Itoa(rate), fleetPlain+"="+strconv.FormatBool(plain))
	p.cmd.Stderr = os.Stderr
	in, err := p.cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	h.do(b, func() { err = p.cmd.Start() })
	if err != nil {
		b.Fatal(err)
	}
	p.in, p.out = in, bufio.NewReader(out)
	if line, err := p.out.ReadString('\n'); err != nil || !strings.Contains(line, "ready") {
		b.Fatalf("%s: %q, %v", role, line, err)
	}
	return p
}

func (p *fleetProcess) report(b *testing.B) (r fleetReport) {
	p.in.Close()
	line, err := p.out.ReadString('\n')
	if err == nil {
		err = json.Unmarshal([]byte(line), &r)
	}
	if err != nil {
		b.Fatalf("report: %q, %v", line, err)
	}
	p.cmd.Wait()
	return r
}

// TestFleetMember is a process of BenchmarkFleet, and nothing by itself.
func TestFleetMember(t *testing.T) {
	role := os.Getenv(fleetRole)
	if role == "" {
		return
	}
	rate, err := strconv.Atoi(os.Getenv(fleetRate))
	if err != nil {
		t.Fatal(err)
	}
	cfg := labConfig(protocol.Session(os.Getpid()))
	cfg.NoSegmentation = os.Getenv(fleetPlain) == "true"
	u, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("ready")
	began, cpu := time.Now(), processorTime()
	var r fleetReport
	if role == "send" {
		fleetSend(u, rate)
		s := u.Stats()
		r.Packets, r.Bytes = s.SentPackets, s.SentBytes
	} else {
		ended := make(chan struct{})
		go func() {
			io.Copy(io.Discard, os.Stdin)
			close(ended)
		}()
		r.Batches = receiveFleet(u, ended)
		s := u.Stats()
		r.Packets, r.Bytes, r.Overflow = s.Packets, s.Bytes, s.Overflow
	}
	r.Elapsed, r.CPU = time.Since(began), processorTime()-cpu
	json.NewEncoder(os.Stdout).Encode(r)
	u.Close()
}

// receiveFleet reads until the sender has ended and then no packet has come for
// a tenth of a second, and returns the number of batches.
func receiveFleet(u *UDP, ended <-chan struct{}) (batches int) {
	var quiet <-chan time.Time
	for {
		select {
		case in := <-u.Arrivals():
			batches++
			in.Release()
		case <-ended:
			ended = nil
		case <-quiet:
			return batches
		}
		if ended == nil {
			quiet = time.After(100 * time.Millisecond)
		}
	}
}

// fleetSend sends trains of 40 packets, the last of which is short.
func fleetSend(u *UDP, rate int) {
	o := NewOutbox(u, OutboxConfig{})
	at := time.Now()
	for sent := 0; sent < fleetBytes; {
		for o.Free() == 0 {
			<-o.Room()
		}
		tr := dataTrain(u, u.session, 0)
		sent += tr.Bytes()
		if rate > 0 {
			at = at.Add(time.Duration(float64(tr.Bytes()) * 8 / float64(rate) * 1e9))
			tr.At = at
		}
		o.Enqueue(tr)
	}
	for s := o.Stats(); s.Bytes < fleetBytes && s.Errors.Total() == 0; s = o.Stats() {
		<-o.Room() // a value comes when the last has left
	}
	o.Close()
}

func processorTime() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
