package tree

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// Numbers of capabilities(7).
const (
	capChown    = 0
	capFowner   = 3
	capSysAdmin = 21
	capMknod    = 27
	capSetfcap  = 31
)

// privileges is what the process may do beyond what every user may.
type privileges struct {
	chown    bool // give files away
	fowner   bool // change what belongs to others
	mknod    bool // make device nodes
	trusted  bool // attributes trusted.*, and security.* but for the next
	fileCaps bool // security.capability

	mu      sync.Mutex
	refused map[string]bool // kinds of attributes that turned out not to be permitted
	noUsers map[uint32]bool // ids that turned out not to be there to be given
	noGroup map[uint32]bool
	noOwner atomic.Bool // there are any
}

// read asks the kernel. Root without some capabilities is what
// containers and service managers make.
func (p *privileges) read() {
	root := os.Geteuid() == 0
	status, err := os.ReadFile("/proc/thread-self/status")
	caps, ok := effectiveCaps(string(status))
	if err != nil || !ok {
		p.chown, p.fowner, p.mknod, p.trusted, p.fileCaps = root, root, root, root, root
		return
	}
	has := func(n uint) bool { return root && caps>>n&1 != 0 }
	p.chown, p.fowner, p.mknod = has(capChown), has(capFowner), has(capMknod)
	p.trusted, p.fileCaps = has(capSysAdmin), has(capSetfcap)
}

// effectiveCaps finds the effective set in the text of /proc/PID/status.
func effectiveCaps(status string) (uint64, bool) {
	for line := range strings.Lines(status) {
		if hex, ok := strings.CutPrefix(line, "CapEff:"); ok {
			caps, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
			return caps, err == nil
		}
	}
	return 0, false
}

// privilegedKind returns the kind of an attribute that only some may set, ""
// for all others.
func privilegedKind(name string) string {
	switch {
	case name == "security.capability":
		return name
	case strings.HasPrefix(name, "security."):
		return "security."
	case strings.HasPrefix(name, "trusted."):
		return "trusted."
	}
	return ""
}

// may reports whether attributes of a privileged kind can be set.
func (p *privileges) may(kind string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if kind == "security.capability" {
		return p.fileCaps && !p.refused[kind]
	}
	return p.trusted && !p.refused[kind]
}

// refuse notes that the kernel did not permit a kind in spite of all
// capabilities, as in a user namespace: it is not tried again.
func (p *privileges) refuse(kind string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refused == nil {
		p.refused = make(map[string]bool)
	}
	p.refused[kind] = true
}

// user reports whether root can give files to user id.
func (p *privileges) user(id uint32) bool { return id != noID && !p.refuses(p.noUsers, id) }

// group reports whether root can give files to group id.
func (p *privileges) group(id uint32) bool { return id != noID && !p.refuses(p.noGroup, id) }

// refusesOwners reports whether some user or group can't be given.
func (p *privileges) refusesOwners() bool { return p.noOwner.Load() }

func (p *privileges) refuses(ids map[uint32]bool, id uint32) bool {
	if !p.noOwner.Load() {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return ids[id]
}

// refuseUser notes that nothing can be given to user id here.
func (p *privileges) refuseUser(id uint32) { p.refuseID(&p.noUsers, id) }

// refuseGroup is refuseUser for groups.
func (p *privileges) refuseGroup(id uint32) { p.refuseID(&p.noGroup, id) }

func (p *privileges) refuseID(ids *map[uint32]bool, id uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if *ids == nil {
		*ids = make(map[uint32]bool)
	}
	(*ids)[id] = true
	p.noOwner.Store(true)
}
