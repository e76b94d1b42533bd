//go:build linux

package lab

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// helperVar makes this test binary a helper program: "send ADDRESS:PORT PACKETS
// SIZE TRAIN", or "lab" (see TestLeftoversAreSwept).
const helperVar = "LAB_HELPER"

func TestMain(m *testing.M) {
	if f := strings.Fields(os.Getenv(helperVar)); len(f) > 0 && f[0] == "send" {
		if err := send(f[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(Main(m))
}

// send sends packets to an address, TRAIN of them in one call.
func send(args []string) error {
	var n [3]int
	for i := range n {
		n[i], _ = strconv.Atoi(args[i+1])
	}
	packets, size, train := n[0], n[1], n[2]
	conn, err := net.Dial("udp4", args[0])
	if err != nil {
		return err
	}
	raw, err := conn.(*net.UDPConn).SyscallConn()
	if err != nil {
		return err
	}
	if train > 1 {
		raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, size)
		})
		if err != nil {
			return err
		}
	}
	for range packets / train {
		if _, err := conn.Write(make([]byte, size*train)); err != nil {
			return err
		}
	}
	return nil
}

// multicast sends packets from a host to the group.
func multicast(h *Host, packets, size, train int) {
	h.lab.t.Helper()
	sendTo(h, "224.0.0.108:5000", packets, size, train)
}

// broadcast sends packets that every host takes in: those to a group without
// members do not reach the firewall's input.
func broadcast(h *Host, packets int) {
	h.lab.t.Helper()
	sendTo(h, "10.77.0.255:5000", packets, 100, 1)
}

func sendTo(h *Host, addr string, packets, size, train int) {
	h.lab.t.Helper()
	self, err := os.Executable()
	if err != nil {
		h.lab.t.Fatal(err)
	}
	h.Exec("env", fmt.Sprintf("%s=send %s %d %d %d", helperVar, addr, packets, size, train), self)
}

// received is the number of packets a host gets while f runs, and after, until
// at least want have come.
func received(h *Host, want uint64, f func()) uint64 {
	h.lab.t.Helper()
	before := h.Traffic()
	f()
	var got uint64
	WaitFor(h.lab.t, "packets at "+h.Name, func() error {
		if got = h.Traffic().Since(before).ReceivedPackets; got < want {
			return fmt.Errorf("%d of %d came", got, want)
		}
		return nil
	})
	return got
}

func TestHostsAreApartAndConnected(t *testing.T) {
	l := New(t, Options{Hosts: 3, Names: []string{"src", "dst"}})
	for i, name := range []string{"src", "dst", "h2"} {
		if got := strings.TrimSpace(l.Host(i).Exec("cat", "/proc/sys/kernel/hostname")); got != name {
			t.Errorf("host %d calls itself %q, want %q", i, got, name)
		}
	}
	l.Host(0).Shell("echo hello >file; test -d /run/state")
	if data, err := os.ReadFile(l.Host(0).Base("file")); err != nil || string(data) != "hello\n" {
		t.Errorf("the base as seen from outside: %q, %v", data, err)
	}
	if _, err := os.Stat(l.Host(1).Base("file")); !os.IsNotExist(err) {
		t.Errorf("a file of one host at another: %v", err)
	}
	for _, h := range l.Hosts()[1:] {
		received(h, 100, func() { multicast(l.Host(0), 100, 1472, 1) })
	}
}

func TestLossIsCountedAndEnds(t *testing.T) {
	l := New(t, Options{Hosts: 2, LossPercent: 50})
	h := l.Host(1)
	received(h, 2000, func() { broadcast(l.Host(0), 2000) })
	if n := h.Lost(); n < 800 || n > 1200 {
		t.Errorf("%d of 2000 packets lost at 50 %%", n)
	}
	h.SetLoss(0)
	received(h, 100, func() { broadcast(l.Host(0), 100) })
	if n := h.Lost(); n != 0 {
		t.Errorf("%d packets lost after SetLoss(0)", n)
	}
}

func TestTrainsAreCutAtThePorts(t *testing.T) {
	for _, cut := range []bool{false, true} {
		l := New(t, Options{Hosts: 2, CutTrains: cut})
		got := received(l.Host(1), 1, func() { multicast(l.Host(0), 40, 1400, 40) })
		if whole := got < 40; whole == cut {
			t.Errorf("CutTrains %v: a train of 40 came as %d packets", cut, got)
		}
	}
}

func TestASlowPortDropsAndIsSeen(t *testing.T) {
	l := New(t, Options{Hosts: 3, RateMbit: 1000, PortRateMbit: map[int]int{2: 10}, CutTrains: true})
	received(l.Host(1), 4000, func() { multicast(l.Host(0), 4000, 1400, 1) })
	if n := l.Host(2).PortDrops(); n < 1000 {
		t.Errorf("%d packets dropped at a port of 10 Mbit/s", n)
	}
	if n := l.Host(1).PortDrops(); n != 0 {
		t.Errorf("%d packets dropped at a port of 1000 Mbit/s", n)
	}
}

func TestACutCableIsMended(t *testing.T) {
	l := New(t, Options{Hosts: 3})
	h := l.Host(1)
	received(h, 10, func() { multicast(l.Host(0), 10, 100, 1) })
	h.Cut()
	before := h.Traffic()
	received(l.Host(2), 10, func() { multicast(l.Host(0), 10, 100, 1) })
	if got := h.Traffic().Since(before).ReceivedPackets; got != 0 {
		t.Errorf("%d packets came through a cut cable", got)
	}
	h.Mend()
	WaitFor(t, "the mended cable", func() error {
		before := h.Traffic()
		multicast(l.Host(0), 1, 100, 1)
		if h.Traffic().Since(before).ReceivedPackets == 0 {
			return fmt.Errorf("nothing comes")
		}
		return nil
	})
	received(l.Host(0), 10, func() { multicast(h, 10, 100, 1) })
}

func TestNothingIsLeft(t *testing.T) {
	Need(t)
	var mark string
	t.Run("lab", func(t *testing.T) {
		l := New(t, Options{Hosts: 2})
		mark = l.mark
		l.Host(0).Shell("setsid sleep 1000 </dev/null >/dev/null 2>&1 &")
	})
	awaitNone(t, mark)
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), BaseDir) {
		t.Errorf("a base is still mounted:\n%s", mounts)
	}
}

// awaitNone waits until no process has the mark.
func awaitNone(t *testing.T, mark string) {
	t.Helper()
	WaitFor(t, "the processes of "+mark+" to end", func() error {
		var err error
		marked(func(pid int, m string) {
			if strings.HasPrefix(m, mark) {
				err = fmt.Errorf("process %d is there", pid)
			}
		})
		return err
	})
}

// TestLeftoversAreSwept kills a test process that has a lab, and sweeps.
func TestLeftoversAreSwept(t *testing.T) {
	Need(t)
	if os.Getenv(helperVar) == "lab" {
		l := New(t, Options{Hosts: 1})
		l.Host(0).Shell("setsid sleep 1000 </dev/null >/dev/null 2>&1 &")
		t.Logf("killing this process")
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestLeftoversAreSwept$")
	cmd.Env = append(os.Environ(), helperVar+"=lab")
	if err := cmd.Run(); err == nil {
		t.Fatal("the process with the lab was not killed")
	}
	mark := fmt.Sprintf("%d:", cmd.Process.Pid)
	found := false
	marked(func(_ int, m string) { found = found || strings.HasPrefix(m, mark) })
	if !found {
		t.Fatal("nothing is left over: this test shows nothing")
	}
	sweep(t)
	awaitNone(t, mark)
}

func TestEventsAreTakenFromALiveOutput(t *testing.T) {
	script := `echo '{"type":"start"}'; printf '{"type":"prog'; echo 'ress","stage":"send"}'; read x; echo 'error: h1: lost' >&2; exit 2`
	cmd := exec.Command("sh", "-c", script)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r := StartMsync(t, cmd, []string{"--json"})
	e := r.WaitEvent("progress", func(e Event) bool { return e.Type() == "progress" })
	if e["stage"] != "send" || r.Over() {
		t.Errorf("event %v, over %v", e, r.Over())
	}
	stdin.Close()
	if _, ok := r.TryEvent(func(e Event) bool { return e.Type() == "decided" }); ok {
		t.Error("an event that never came")
	}
	if res := r.Wait(); res.Exit != 2 || len(res.Errors()) != 1 {
		t.Errorf("result %s", res)
	}
}
