package transport

import (
	"fmt"
	"net"
	"sync"
	"syscall"

	"golang.org/x/net/ipv4"
)

// interfaceState is what is known of the interface that the group is joined on.
type interfaceState struct {
	mu    sync.Mutex // guards all below
	index int
	gone  bool // it was absent or down when last looked at
}

// checkInterface takes the result of looking for the interface, nil if it is
// absent or down, and joins the group again when it has been away: the kernel
// forgets the membership of an interface that is removed, and one made anew
// has another index.
func (u *UDP) checkInterface(ifi *net.Interface) error {
	w := &u.watched
	w.mu.Lock()
	defer w.mu.Unlock()
	if ifi == nil || ifi.Flags&net.FlagUp == 0 {
		w.gone = true
		return nil
	}
	if !w.gone && ifi.Index == w.index {
		return nil
	}
	w.gone = true // until all is done; tried again at the next look
	joined := withGroup(u.multicast, func(c *ipv4.PacketConn) error {
		_ = c.LeaveGroup(ifi, u.groupAddr) // fails if the membership has gone
		return c.JoinGroup(ifi, u.groupAddr)
	})
	if joined != nil && !isAny(joined, syscall.EADDRINUSE) {
		return fmt.Errorf("join the group %s on interface %s: %w", u.group.Addr(), ifi.Name, joined)
	}
	if err := u.out.SetMulticastInterface(ifi); err != nil {
		return fmt.Errorf("send multicast through interface %s: %w", ifi.Name, err)
	}
	w.gone, w.index = false, ifi.Index
	u.count(&Stats{Rejoins: 1})
	return nil
}
