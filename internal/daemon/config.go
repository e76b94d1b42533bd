package daemon

import (
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"go.uber.org/zap/zapcore"

	"makuo/internal/control"
	"makuo/protocol"
)

// What a daemon uses where nothing else is asked for.
const (
	DefaultGroup   = "224.0.0.108"
	DefaultPort    = 5000
	DefaultCluster = "default"
	DefaultTTL     = 1
	DefaultMTU     = 1500
)

// The bounds of --mtu, in bytes of an IP packet. The least is what every
// IPv4 host takes in one piece; the most is what the protocol can carry.
const (
	MinMTU = 576
	MaxMTU = protocol.MaxPacket + ipUDPHeader
)

// ipUDPHeader is what IPv4 (20) and UDP (8) add to a packet's payload.
const ipUDPHeader = 28

// maxSocketPath is the longest path a Unix socket can have: sun_path holds
// 108 bytes, the last of which is a NUL.
const maxSocketPath = 107

// Config says how one daemon runs. Take it from Defaults, change what is
// to be different and call Validate before using it.
type Config struct {
	// Name is the member's name in the cluster: see protocol.ValidName.
	Name string
	// Cluster separates clusters that share a multicast group and port.
	// 1 to protocol.MaxName bytes.
	Cluster string
	// Base is the directory that is served as the module "default".
	// Validate makes it absolute and free of symbolic links.
	Base string
	// baseNamed is Base as it was given, absolute, with its symbolic links.
	baseNamed string
	// Stage is the directory that holds a push before it is made live; on
	// the file system of Base. Empty: a hidden directory in Base.
	Stage string
	// State is the directory for what must outlive the daemon: decisions,
	// known members. Empty: Validate chooses one by Socket, so that the
	// daemons of one host do not share it.
	State string
	// Protect lists patterns of paths that no push overwrites or deletes
	// here; a leading '/' anchors a pattern at Base.
	Protect []string
	// NoReceive refuses every push of another member.
	NoReceive bool
	// NoSend refuses to be the origin of a push.
	NoSend bool
	// OwnerMatch pushes only entries that belong to the daemon's user.
	OwnerMatch bool
	// LogLevel is the level at the start; signals change it later.
	LogLevel zapcore.Level

	Network  Network
	Socket   Socket
	Identity Identity
}

// Network says how a daemon reaches the other members.
type Network struct {
	// Interface is the name or an IPv4 address of the interface for
	// multicast. Empty: the kernel's choice for the group.
	Interface string
	// Group is the IPv4 multicast group.
	Group netip.Addr
	// Port is the UDP port of the group, 1 to 65535.
	Port int
	// Rate caps what is sent, in bits a second of IP packets. 0: no cap.
	Rate int64
	// ReceiveBuffer and SendBuffer are asked for of the kernel, in bytes.
	// 0: the transport's own choice.
	ReceiveBuffer, SendBuffer int
	// TTL of multicast packets: the number of networks they may enter, 1 to
	// 255.
	TTL int
	// MTU is the largest IP packet that is sent, MinMTU to MaxMTU bytes. A
	// value above the interface's own is lowered to that by the transport.
	MTU int
}

// Payload returns the largest UDP payload that fits the MTU, in bytes.
func (n Network) Payload() int { return n.MTU - ipUDPHeader }

// LinkLocal reports whether packets cannot leave the local network: the
// group is one that routers never forward (RFC 5771, section 4) and the TTL
// is 1.
func (n Network) LinkLocal() bool {
	return n.Group.IsLinkLocalMulticast() && n.TTL == 1
}

// Socket says where the daemon's local API is and who may use it.
type Socket struct {
	// Path of the Unix socket. Validate makes it absolute.
	Path string
	// Group, by name or number, that may use the socket besides the
	// daemon's user. Empty: the daemon's own group.
	Group string
}

// Defaults returns the configuration of a daemon that was told nothing.
func Defaults() Config {
	host, _ := os.Hostname() // Validate says what to do when there is none
	return Config{
		Name:     host,
		Cluster:  DefaultCluster,
		Base:     ".",
		LogLevel: zapcore.InfoLevel,
		Network: Network{
			Group: netip.MustParseAddr(DefaultGroup),
			Port:  DefaultPort,
			TTL:   DefaultTTL,
			MTU:   DefaultMTU,
		},
		Socket: Socket{Path: control.DefaultSocket()},
	}
}

// Validate checks c and brings its paths into their final form: absolute,
// Base without symbolic links, State chosen where it is empty. It returns
// all that is wrong, as one sentence for each thing.
func (c *Config) Validate() error {
	return errors.Join(
		c.validateNames(),
		c.Network.validate(),
		c.validateSocket(),
		c.validatePaths(),
		c.validateProtect(),
	)
}

func (c *Config) validateNames() error {
	var errs []error
	if !protocol.ValidName(c.Name) {
		errs = append(errs, fmt.Errorf("member name %q: must be 1 to %d printable ASCII characters without space, '/', ':' and '@'; give one with --name", c.Name, protocol.MaxName))
	}
	if n := len(c.Cluster); n == 0 || n > protocol.MaxName {
		errs = append(errs, fmt.Errorf("cluster name %q: must be 1 to %d bytes long; give one with --cluster", c.Cluster, protocol.MaxName))
	}
	if c.NoSend && c.NoReceive {
		errs = append(errs, errors.New("--no-send and --no-receive together leave nothing to do; leave one of them out"))
	}
	return errors.Join(errs...)
}

func (n *Network) validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	switch {
	case !n.Group.Is4():
		bad("multicast group %v: must be an IPv4 address; use one from 224.0.0.0 to 239.255.255.255, for example --group %s", n.Group, DefaultGroup)
	case !n.Group.IsMulticast():
		bad("multicast group %v: is not a multicast address; use one from 224.0.0.0 to 239.255.255.255, for example --group %s", n.Group, DefaultGroup)
	}
	if n.Port < 1 || n.Port > 65535 {
		bad("port %d: must be 1 to 65535; the usual one is --port %d", n.Port, DefaultPort)
	}
	if a, err := netip.ParseAddr(n.Interface); err == nil && (!a.Is4() || a.IsMulticast()) {
		bad("interface %q: must be a name or an IPv4 address of this host; `ip -4 addr` lists them", n.Interface)
	} else if err != nil && (len(n.Interface) > 15 || strings.ContainsAny(n.Interface, "/ \t")) {
		bad("interface %q: must be a name of at most 15 characters or an IPv4 address of this host; `ip -4 addr` lists them", n.Interface)
	}
	if n.TTL < 1 || n.TTL > 255 {
		bad("TTL %d: must be 1 to 255; 1 keeps packets on the local network", n.TTL)
	}
	if n.MTU < MinMTU || n.MTU > MaxMTU {
		bad("MTU %d: must be %d to %d bytes; leave --mtu out for %d", n.MTU, MinMTU, MaxMTU, DefaultMTU)
	}
	if n.Rate < 0 || n.ReceiveBuffer < 0 || n.SendBuffer < 0 {
		bad("rate and buffer sizes must not be negative; leave the option out for the default")
	}
	return errors.Join(errs...)
}

func (c *Config) validateSocket() error {
	path, err := filepath.Abs(c.Socket.Path)
	if c.Socket.Path == "" || err != nil {
		return errors.New("no path for the socket; give one with --socket PATH")
	}
	if len(path) > maxSocketPath {
		return fmt.Errorf("socket %s: a Unix socket's path has at most %d bytes, this one has %d; choose a shorter one with --socket", path, maxSocketPath, len(path))
	}
	c.Socket.Path = path
	return nil
}

func (c *Config) validatePaths() error {
	base, err := realDir(c.Base)
	if err != nil {
		return fmt.Errorf("base directory %s: %w; create it or name another with --base", c.Base, err)
	}
	if base == "/" && filepath.Clean(c.Base) != "/" {
		return fmt.Errorf("base directory %s is /, the whole of this host, which is served only when it is named: --base DIR for a part of it, or --base / if that is what you want", c.Base)
	}
	if len(base) > protocol.MaxDetail {
		return fmt.Errorf("base directory %s: its path has %d bytes, at most %d can be shown to other members; choose a shorter one with --base", base, len(base), protocol.MaxDetail)
	}
	if c.baseNamed == "" {
		if c.baseNamed, err = filepath.Abs(c.Base); err != nil {
			return fmt.Errorf("base directory %s: %w", c.Base, err)
		}
	}
	c.Base = base
	if c.Stage != "" {
		if c.Stage, err = realDir(c.Stage); err != nil {
			return fmt.Errorf("stage directory: %w; create it on the base directory's file system, or leave --stage out", err)
		}
	}
	if c.State == "" {
		c.State, err = defaultState(c.Socket.Path)
	} else {
		c.State, err = filepath.Abs(c.State)
	}
	if err != nil {
		return fmt.Errorf("state directory: %w; name one with --state DIR", err)
	}
	if c.State == base {
		return fmt.Errorf("state directory %s is the base directory itself; choose another with --state", c.State)
	}
	return nil
}

// own returns the paths that are the daemon's alone: where they lie inside
// Base (a base of "/", say), no push carries or touches them.
func (c *Config) own() []string {
	return []string{c.State, c.Socket.Path, c.Socket.Path + control.LockSuffix}
}

func (c *Config) validateProtect() error {
	for _, p := range c.Protect {
		if p == "" || len(p) > protocol.MaxPattern || strings.IndexByte(p, 0) >= 0 {
			return fmt.Errorf("protect pattern %.40q: must be 1 to %d bytes without NUL; patterns are written as for `msync --exclude`", p, protocol.MaxPattern)
		}
	}
	return nil
}

// Warnings returns what is allowed but worth a word in the log.
func (c *Config) Warnings() []string {
	var w []string
	w = append(w, "no key: whoever can send packets to this network can push to this member; run it only where that is acceptable")
	if !c.Network.LinkLocal() {
		w = append(w, fmt.Sprintf("group %v with TTL %d: packets can leave the local network, and nothing seals them", c.Network.Group, c.Network.TTL))
	}
	return w
}

// baseSwitched tells of a base directory that was given by a symbolic link
// which leads somewhere else now.
func (c *Config) baseSwitched() error {
	now, err := filepath.EvalSymlinks(c.baseNamed)
	if err != nil || now == c.Base || c.baseNamed == "" {
		return nil // a base that is gone is found when it is read
	}
	return fmt.Errorf("the base directory %s led to %s when makuod started, and leads to %s now: nothing was sent; restart makuod to push what is there now", c.baseNamed, c.Base, now)
}

// realDir returns the absolute path of an existing directory, without
// symbolic links.
func realDir(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(abs)
	if err != nil {
		return "", err
	}
	fi, err := os.Stat(real)
	if err != nil {
		return "", err
	}
	if !fi.IsDir() {
		return "", fmt.Errorf("%s is not a directory", real)
	}
	return real, nil
}

// defaultState returns the state directory of the daemon that has the given
// socket: /var/lib/makuo/ID for root, $XDG_STATE_HOME/makuo/ID otherwise.
func defaultState(socket string) (string, error) {
	id := stateID(socket)
	if os.Geteuid() == 0 {
		return filepath.Join("/var/lib/makuo", id), nil
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "makuo", id), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", errors.New("neither XDG_STATE_HOME nor HOME names a place for it")
	}
	return filepath.Join(home, ".local/state/makuo", id), nil
}

// stateID names the state directory of the daemon with the given socket: the
// socket's own name for people, a hash of its path to tell two of the same
// name apart.
func stateID(socket string) string {
	h := fnv.New32a()
	h.Write([]byte(socket))
	name := strings.TrimSuffix(filepath.Base(socket), ".sock")
	return fmt.Sprintf("%s-%08x", name, h.Sum32())
}
