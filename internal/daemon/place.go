package daemon

import (
	"net/netip"
	"time"

	"go.uber.org/zap"

	"makuo/internal/transport"
)

// waitingForNetwork is what a daemon says, with what lacks behind it, while
// there is no interface that it can use.
const waitingForNetwork = "waiting for a network interface with an IPv4 address"

// waiting returns what the daemon waits for before it can reach the others; ""
// if it can.
func (n *node) waiting() string {
	if w := n.conn.Info().Waiting; w != "" {
		return waitingForNetwork + ": " + w
	}
	return ""
}

// moved takes note that the connection is elsewhere: this member tells the
// others at once. It is the same member: its session has not changed.
func (n *node) moved(now time.Time, p transport.Place) {
	n.tellPlace(p)
	if p.Waiting == "" {
		n.table.Moved(now, p.Local.Port())
	}
}

// tellPlace logs where the daemon is in the network.
func (n *node) tellPlace(p transport.Place) {
	info := n.conn.Info()
	if p.Waiting != "" {
		n.log.Warn(waitingForNetwork, zap.String("lacking", p.Waiting), zap.String("interface", n.cfg.Network.Interface))
		return
	}
	fields := []zap.Field{zap.String("interface", p.Interface), zap.Stringer("address", p.Local), zap.String("why", p.Why),
		zap.Strings("other_addresses", others(info.Addresses, p.Local.Addr()))}
	if was := n.place; was.Local.IsValid() {
		n.log.Info("in the network again", append(fields, zap.String("interface_before", was.Interface), zap.Stringer("address_before", was.Local))...)
	} else {
		n.log.Info("in the network", fields...)
	}
	n.place = p
	if info.Warning != "" {
		n.log.Warn(info.Warning)
	}
}

// others returns the addresses but one.
func others(all []netip.Addr, but netip.Addr) []string {
	list := []string{}
	for _, a := range all {
		if a != but {
			list = append(list, a.String())
		}
	}
	return list
}

// addrText is the address for people and programs, "" if there is none.
func addrText(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.Addr().String()
}
