//go:build linux

package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Options say what a lab looks like. The zero value of every field but Hosts
// is useful.
type Options struct {
	Hosts int // number of hosts, 1 to 200

	// Names are the host names, h0, h1, ... by default. Two may be equal.
	Names []string

	RateMbit     int         // speed of each link in Mbit/s; 0: as fast as the machine is
	PortRateMbit map[int]int // slower ports towards single hosts, Mbit/s
	PortBuffer   string      // buffer of a switch port, in tc's words; default 512k
	LossPercent  float64     // share of packets each host loses on arrival, 0 to 100
	CutTrains    bool        // segmented sends cross the switch as single packets

	BaseSize  string         // size of each base, in tmpfs's words; default 2g
	BaseSizes map[int]string // other sizes for single hosts
}

// Lab is a switch with hosts. It is gone when the test ends.
type Lab struct {
	t      testing.TB
	opt    Options
	hosts  []*Host
	bridge *keeper
	mark   string // in the environment of each of its processes
}

// tools are what a lab needs in PATH.
var tools = []string{"ip", "tc", "nft", "ethtool", "nsenter", "unshare", "env", "mount"}

// Need skips the test when this process cannot make a lab, saying what is left
// out and why.
func Need(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("left out: whole daemons in network namespaces; making namespaces, links and firewalls needs root")
	}
	for _, name := range tools {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("left out: whole daemons in network namespaces; %s is not installed", name)
		}
	}
}

// New makes a lab, or skips the test when that is not possible here. The lab is
// taken down when the test ends: daemons are stopped with SIGTERM and must end
// cleanly, none may have used more than MemoryLimit or have panicked, and the
// logs of all are shown if the test failed.
func New(t testing.TB, opt Options) *Lab {
	t.Helper()
	Need(t)
	sweepOnce.Do(func() { sweep(t) })
	l := &Lab{t: t, opt: opt, mark: newMark()}
	if l.opt.PortBuffer == "" {
		l.opt.PortBuffer = "512k"
	}
	if l.opt.BaseSize == "" {
		l.opt.BaseSize = "2g"
	}
	logs := t.TempDir() // before close is registered: it is removed after
	t.Cleanup(l.close)
	l.bridge = l.newSwitch()
	for i := range opt.Hosts {
		l.hosts = append(l.hosts, l.newHost(i, logs))
	}
	return l
}

func (l *Lab) newSwitch() *keeper {
	k := startKeeper(l.t, l.mark, "--net", "")
	l.must(k, "ip", "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
	l.must(k, "ip", "link", "set", "br0", "up")
	return k
}

// hostSetup runs first in a host's namespaces: $1 is the host's name, $2 the
// size of its base.
const hostSetup = `set -e
echo "$1" >/proc/sys/kernel/hostname
mount -t tmpfs -o size=64m,mode=755 lab /run
mount -t tmpfs -o size=64m,mode=755 lab /var/lib
mkdir /run/base /run/state /run/tmp
mount -t tmpfs -o size="$2",nr_inodes=0,mode=755 base /run/base
ip link set lo up
`

func (l *Lab) newHost(i int, logs string) *Host {
	name := fmt.Sprintf("h%d", i)
	if i < len(l.opt.Names) {
		name = l.opt.Names[i]
	}
	size := l.opt.BaseSize
	if s := l.opt.BaseSizes[i]; s != "" {
		size = s
	}
	h := &Host{
		lab: l, Index: i, Name: name,
		Addr:   fmt.Sprintf("10.77.0.%d", 11+i),
		keeper: startKeeper(l.t, l.mark, "--net --uts --mount --propagation private", hostSetup, name, size),
		port:   fmt.Sprintf("p%d", i),
		logDir: filepath.Join(logs, fmt.Sprintf("host%d", i)),
	}
	if err := os.Mkdir(h.logDir, 0o755); err != nil {
		l.t.Fatal(err)
	}
	l.plug(h)
	l.shape(h)
	h.SetLoss(l.opt.LossPercent)
	return h
}

// Hosts are all hosts in order.
func (l *Lab) Hosts() []*Host { return l.hosts }

// Host is host number i, from 0.
func (l *Lab) Host(i int) *Host { return l.hosts[i] }

// Start starts the daemon of every host with the given extra options and waits
// until all know each other.
func (l *Lab) Start(args ...string) {
	l.t.Helper()
	for _, h := range l.hosts {
		h.Start(args...)
	}
	l.Settle()
}

// must runs a command beside a keeper and ends the test if it fails.
func (l *Lab) must(k *keeper, args ...string) {
	l.t.Helper()
	if out, err := k.command(args...).CombinedOutput(); err != nil {
		l.t.Fatalf("lab: %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// close takes the lab down: daemons first, then what they stood on.
func (l *Lab) close() {
	for _, h := range l.hosts {
		h.terminate()
	}
	for _, h := range l.hosts {
		h.reap()
	}
	if l.t.Failed() {
		for _, h := range l.hosts {
			h.showLogs()
		}
	}
	for _, h := range l.hosts {
		h.keeper.stop()
	}
	if l.bridge != nil {
		l.bridge.stop()
	}
	marked(func(pid int, mark string) { // what a test left in the background
		if mark == l.mark {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	})
}
