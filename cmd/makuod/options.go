package main

import (
	"strings"

	"makuo/internal/daemon"
)

// option is one thing that can be said to makuod, on the command line or in
// the environment.
type option struct {
	long   string
	letter string // "" if there is none
	value  string // what stands for the value in the help text; "" for a switch
	help   string
	old    string // makuosan's environment variable, "" if it had none
	// set puts the value into the configuration. A switch gets "yes" from
	// the command line.
	set func(c *daemon.Config, value string) error
	// many options may be given more than once; in the environment, their
	// values are separated by white space.
	many bool
}

// env returns the environment variable of makuo's own, as MAKUOD_BASE.
func (o *option) env() string {
	return "MAKUOD_" + strings.ToUpper(strings.ReplaceAll(o.long, "-", "_"))
}

// set is a setter for an option whose values need no checking of their own.
func set(field func(c *daemon.Config) *string) func(*daemon.Config, string) error {
	return func(c *daemon.Config, v string) error { *field(c) = v; return nil }
}

// parsed is a setter for an option whose values are read by parse.
func parsed[T any](parse func(string) (T, error), field func(c *daemon.Config) *T) func(*daemon.Config, string) error {
	return func(c *daemon.Config, s string) error {
		v, err := parse(s)
		if err == nil {
			*field(c) = v
		}
		return err
	}
}

func number(least, most int) func(string) (int, error) {
	return func(s string) (int, error) { return daemon.ParseNumber(s, least, most) }
}

// options are all options that do something, in the order of the help text.
var options = []option{
	{long: "base", letter: "b", value: "DIR", old: "MAKUOSAN_BASE",
		help: "serve this directory (default: the current one)",
		set:  set(func(c *daemon.Config) *string { return &c.Base })},
	{long: "name", value: "NAME",
		help: "be this member (default: the host name)",
		set:  set(func(c *daemon.Config) *string { return &c.Name })},
	{long: "cluster", value: "NAME",
		help: "belong to this cluster; others on the same group and port are not seen",
		set:  set(func(c *daemon.Config) *string { return &c.Cluster })},
	{long: "interface", letter: "i", value: "NAME|ADDRESS",
		help: "use this interface for multicast (default: the one with the route)",
		set:  set(func(c *daemon.Config) *string { return &c.Network.Interface })},
	{long: "group", letter: "m", value: "ADDRESS",
		help: "use this multicast group (default " + daemon.DefaultGroup + ")",
		set:  setGroup},
	{long: "port", letter: "p", value: "N", old: "MAKUOSAN_PORT",
		help: "use this UDP port for multicast (default 5000)",
		set:  parsed(number(1, 65535), func(c *daemon.Config) *int { return &c.Network.Port })},
	{long: "ttl", value: "N",
		help: "let packets enter this many networks (default 1: the local one)",
		set:  parsed(number(1, 255), func(c *daemon.Config) *int { return &c.Network.TTL })},
	{long: "mtu", value: "N",
		help: "send packets of at most this many bytes (default 1500)",
		set:  parsed(number(daemon.MinMTU, daemon.MaxMTU), func(c *daemon.Config) *int { return &c.Network.MTU })},
	{long: "rate", letter: "T", value: "MBIT",
		help: "send at most this many Mbit/s (default: what the network takes)",
		set:  parsed(daemon.ParseRate, func(c *daemon.Config) *int64 { return &c.Network.Rate })},
	{long: "receive-buffer", letter: "R", value: "BYTES", old: "MAKUOSAN_RCVBUF",
		help: "ask the kernel for this receive buffer, as 4M",
		set:  parsed(daemon.ParseSize, func(c *daemon.Config) *int { return &c.Network.ReceiveBuffer })},
	{long: "send-buffer", letter: "S", value: "BYTES", old: "MAKUOSAN_SNDBUF",
		help: "ask the kernel for this send buffer, as 1M",
		set:  parsed(daemon.ParseSize, func(c *daemon.Config) *int { return &c.Network.SendBuffer })},
	{long: "socket", letter: "U", value: "PATH", old: "MAKUOSAN_SOCK",
		help: "let msync reach the daemon at this Unix socket",
		set:  set(func(c *daemon.Config) *string { return &c.Socket.Path })},
	{long: "socket-group", value: "GROUP",
		help: "let this group use the socket",
		set:  set(func(c *daemon.Config) *string { return &c.Socket.Group })},
	{long: "user", letter: "u", value: "USER", old: "MAKUOSAN_USER",
		help: "run as this user, with its groups, once all is open",
		set:  set(func(c *daemon.Config) *string { return &c.Identity.User })},
	{long: "group-id", letter: "g", value: "GROUP", old: "MAKUOSAN_GROUP",
		help: "run as this group",
		set:  set(func(c *daemon.Config) *string { return &c.Identity.Group })},
	{long: "groups", letter: "G", value: "GROUP,...", old: "MAKUOSAN_GROUPS",
		help: "run with these supplementary groups",
		set:  set(func(c *daemon.Config) *string { return &c.Identity.Groups })},
	{long: "stage", value: "DIR",
		help: "keep a push here until it is made live (default: hidden in the base)",
		set:  set(func(c *daemon.Config) *string { return &c.Stage })},
	{long: "state", value: "DIR",
		help: "keep here what must outlive the daemon",
		set:  set(func(c *daemon.Config) *string { return &c.State })},
	{long: "protect", value: "PATTERN", many: true,
		help: "never overwrite or delete what matches; may be repeated",
		set: func(c *daemon.Config, v string) error {
			c.Protect = append(c.Protect, v)
			return nil
		}},
	{long: "no-receive", letter: "r",
		help: "take no pushes of other members",
		set:  parsed(daemon.ParseBool, func(c *daemon.Config) *bool { return &c.NoReceive })},
	{long: "no-send", letter: "s",
		help: "start no pushes",
		set:  parsed(daemon.ParseBool, func(c *daemon.Config) *bool { return &c.NoSend })},
	{long: "owner-match", letter: "O",
		help: "push only what belongs to the daemon's user",
		set:  parsed(daemon.ParseBool, func(c *daemon.Config) *bool { return &c.OwnerMatch })},
	{long: "loglevel", letter: "d", value: "LEVEL",
		help: "log debug, info (default), warn or error; or 0 (errors) to 9 (all)",
		set:  setLevel},
}

func setGroup(c *daemon.Config, s string) (err error) {
	a, err := daemon.ParseGroup(s)
	if err == nil {
		c.Network.Group = a
	}
	return err
}

func setLevel(c *daemon.Config, s string) error {
	l, err := daemon.ParseLevel(s)
	if err == nil {
		c.LogLevel = l
	}
	return err
}

// retired is an option of makuosan's that makuod does not have.
type retired struct {
	long, letter string
	value        bool // whether it takes one
	instead      string
}

var retiredOptions = []retired{
	{"", "k", true, "packets are not encrypted by this version; leave it out, and let only hosts you trust into the network"},
	{"", "K", true, "there is no password on the socket; its permissions decide who may use the daemon: --socket-group GROUP"},
	{"", "l", true, "the daemon is reached through a Unix socket, not over TCP: --socket PATH"},
	{"", "f", true, "all files of a push travel in one stream, none waits for another; leave it out, and use --rate MBIT to send slower"},
	{"", "o", false, "the daemon is always reached through its socket; say who may use it with --socket-group GROUP, or refuse to send with --no-send"},
	{"chroot", "c", false, "the daemon never leaves the base directory, whatever links it meets there; leave it out"},
	{"core", "C", false, "core dumps are the shell's or the service manager's to allow: `ulimit -c unlimited` or LimitCORE=infinity, with GOTRACEBACK=crash in the environment"},
}
