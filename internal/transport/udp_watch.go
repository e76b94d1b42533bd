package transport

import (
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
)

// interfaceState is what is known of the interface that the group is joined on.
type interfaceState struct {
	name string // never changes

	mu    sync.Mutex // guards all below
	index int
	gone  bool // it was absent or down when last looked at
}

// watch joins the group again when the interface has been away: the kernel
// forgets the membership of an interface that is removed, and one made anew
// has another index. It ends when the connection is closed.
func (u *UDP) watch() {
	defer u.wg.Done()
	t := time.NewTicker(interfaceCheck)
	defer t.Stop()
	for {
		select {
		case <-u.done:
			return
		case <-t.C:
			ifi, err := net.InterfaceByName(u.watched.name)
			u.checkInterface(ifi, err)
		}
	}
}

// checkInterface takes the result of looking the interface up.
func (u *UDP) checkInterface(ifi *net.Interface, err error) {
	w := &u.watched
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil || ifi.Flags&net.FlagUp == 0 {
		w.gone = true
		return
	}
	if !w.gone && ifi.Index == w.index {
		return
	}
	joined := withGroup(u.multicast, func(c *ipv4.PacketConn) error {
		_ = c.LeaveGroup(ifi, u.groupAddr) // fails if the membership has gone
		return c.JoinGroup(ifi, u.groupAddr)
	})
	if joined != nil && !isAny(joined, syscall.EADDRINUSE) {
		w.gone = true // tried again at the next look
		return
	}
	if err := u.out.SetMulticastInterface(ifi); err != nil {
		w.gone = true
		return
	}
	w.gone, w.index = false, ifi.Index
	u.count(&Stats{Rejoins: 1})
}
