//go:build linux

package lab

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// plug connects a host to the switch: eth0 in the host, its port in the switch.
func (l *Lab) plug(h *Host) {
	l.t.Helper()
	l.must(h.keeper, "ip", "link", "add", "eth0", "type", "veth",
		"peer", "name", h.port, "netns", strconv.Itoa(l.bridge.pid()))
	l.must(l.bridge, "ip", "link", "set", h.port, "master", "br0")
	l.must(l.bridge, "ip", "link", "set", h.port, "up")
	l.must(h.keeper, "ip", "link", "set", "eth0", "up")
	l.must(h.keeper, "ip", "addr", "add", h.Addr+"/24", "brd", "+", "dev", "eth0")
	l.must(h.keeper, "ip", "route", "add", "224.0.0.0/4", "dev", "eth0")
	l.must(h.keeper, "ip", "route", "add", "default", "dev", "eth0")
	if l.opt.CutTrains {
		l.must(l.bridge, "ethtool", "-K", h.port, "tx-udp-segmentation", "off")
	}
}

// shape sets the speed of a host's link in both directions. The host's queue is
// long, so that its own writes are held back as a real card does; the port's is
// short, as a switch that drops when its buffer is full.
func (l *Lab) shape(h *Host) {
	l.t.Helper()
	if l.opt.RateMbit > 0 {
		l.must(h.keeper, "tc", "qdisc", "replace", "dev", "eth0", "root", "tbf",
			"rate", fmt.Sprintf("%dmbit", l.opt.RateMbit), "burst", "256k", "limit", "64m")
	}
	rate := l.opt.RateMbit
	if r := l.opt.PortRateMbit[h.Index]; r > 0 {
		rate = r
	}
	if rate > 0 {
		l.must(l.bridge, "tc", "qdisc", "replace", "dev", h.port, "root", "tbf",
			"rate", fmt.Sprintf("%dmbit", rate), "burst", "256k", "limit", l.opt.PortBuffer)
	}
}

// SetLoss makes the host lose that share of the packets that reach its eth0,
// in percent with one decimal; 0 ends the loss.
func (h *Host) SetLoss(percent float64) {
	h.lab.t.Helper()
	script := "table inet loss\ndelete table inet loss\n"
	if perMille := int(percent*10 + 0.5); perMille > 0 {
		script += fmt.Sprintf(`table inet loss {
	chain input {
		type filter hook input priority 0;
		iifname "eth0" numgen random mod 1000 < %d counter drop
	}
}
`, perMille)
	}
	cmd := h.keeper.command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		h.lab.t.Fatalf("lab: setting loss on %s: %v\n%s", h.Name, err, out)
	}
}

// Lost is the number of packets the host lost since SetLoss.
func (h *Host) Lost() uint64 {
	h.lab.t.Helper()
	out, err := h.keeper.command("nft", "list", "tables").Output()
	if err == nil && !strings.Contains(string(out), "inet loss") {
		return 0
	}
	if err == nil {
		out, err = h.keeper.command("nft", "list", "table", "inet", "loss").Output()
	}
	if err != nil {
		h.lab.t.Fatalf("lab: reading the loss of %s: %v", h.Name, err)
	}
	var n uint64
	_, after, _ := strings.Cut(string(out), "counter packets ")
	fmt.Sscan(after, &n)
	return n
}

// Cut pulls the host's cable out of the switch. The host keeps addresses,
// routes and groups.
func (h *Host) Cut() {
	h.lab.t.Helper()
	h.lab.must(h.lab.bridge, "ip", "link", "set", h.port, "down")
}

// Mend puts the cable back.
func (h *Host) Mend() {
	h.lab.t.Helper()
	h.lab.must(h.lab.bridge, "ip", "link", "set", h.port, "up")
}

// Traffic is what crossed a host's eth0 since it was made, headers included.
type Traffic struct {
	SentBytes, SentPackets         uint64
	ReceivedBytes, ReceivedPackets uint64
}

// Since is the traffic after an earlier reading.
func (a Traffic) Since(b Traffic) Traffic {
	return Traffic{
		SentBytes: a.SentBytes - b.SentBytes, SentPackets: a.SentPackets - b.SentPackets,
		ReceivedBytes: a.ReceivedBytes - b.ReceivedBytes, ReceivedPackets: a.ReceivedPackets - b.ReceivedPackets,
	}
}

// Traffic reads the counters of the host's eth0.
func (h *Host) Traffic() Traffic {
	h.lab.t.Helper()
	var links []struct {
		Stats struct {
			RX struct{ Bytes, Packets uint64 }
			TX struct{ Bytes, Packets uint64 }
		} `json:"stats64"`
	}
	h.lab.readJSON(h.keeper, &links, "ip", "-s", "-j", "link", "show", "dev", "eth0")
	s := links[0].Stats
	return Traffic{s.TX.Bytes, s.TX.Packets, s.RX.Bytes, s.RX.Packets}
}

// PortDrops is the number of packets the switch dropped towards the host
// because its port's buffer was full. It is 0 on links without a rate.
func (h *Host) PortDrops() uint64 {
	h.lab.t.Helper()
	var qdiscs []struct {
		Root  bool
		Drops uint64
	}
	h.lab.readJSON(h.lab.bridge, &qdiscs, "tc", "-s", "-j", "qdisc", "show", "dev", h.port)
	for _, q := range qdiscs {
		if q.Root {
			return q.Drops
		}
	}
	return 0
}

func (l *Lab) readJSON(k *keeper, v any, args ...string) {
	l.t.Helper()
	cmd := k.command(args...)
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, v)
	}
	if err != nil {
		l.t.Fatalf("lab: %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
