package transport

import (
	"net"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// addresses returns the IPv4 addresses of all interfaces, by index. It costs
// one question to the kernel, however many interfaces there are.
func addresses([]net.Interface) (map[int][]netip.Addr, error) {
	raw, err := syscall.NetlinkRIB(unix.RTM_GETADDR, unix.AF_INET)
	if err != nil {
		return nil, os.NewSyscallError("netlink", err)
	}
	messages, err := syscall.ParseNetlinkMessage(raw)
	if err != nil {
		return nil, os.NewSyscallError("netlink", err)
	}
	found := make(map[int][]netip.Addr)
	for i := range messages {
		m := &messages[i]
		if m.Header.Type != unix.RTM_NEWADDR || len(m.Data) < unix.SizeofIfAddrmsg {
			continue
		}
		attrs, err := syscall.ParseNetlinkRouteAttr(m)
		if err != nil {
			return nil, os.NewSyscallError("netlink", err)
		}
		// The address of a point-to-point link is the other end's.
		var local, other netip.Addr
		for _, a := range attrs {
			switch a.Attr.Type {
			case unix.IFA_LOCAL:
				local, _ = netip.AddrFromSlice(a.Value)
			case unix.IFA_ADDRESS:
				other, _ = netip.AddrFromSlice(a.Value)
			}
		}
		if !local.IsValid() {
			local = other
		}
		if local.Is4() {
			index := int((*unix.IfAddrmsg)(unsafe.Pointer(&m.Data[0])).Index)
			found[index] = append(found[index], local)
		}
	}
	return found, nil
}

func kindOf(ifi *net.Interface) linkKind {
	has := func(what string) bool {
		_, err := os.Stat("/sys/class/net/" + ifi.Name + "/" + what)
		return err == nil
	}
	switch {
	case ifi.Flags&net.FlagPointToPoint != 0 || has("bridge"):
		return inward
	case has("device"):
		return hardware
	}
	return software
}
