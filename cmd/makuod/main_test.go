package main

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap/zapcore"

	"makuo/internal/control"
	"makuo/internal/daemon"
)

// configured runs configure with a base and a state that exist.
func configured(t *testing.T, env environment, args ...string) daemon.Config {
	t.Helper()
	if env == nil {
		env = environment{}
	}
	if env["MAKUOD_NAME"] == "" {
		env["MAKUOD_NAME"] = "web1"
	}
	env["MAKUOD_STATE"] = t.TempDir()
	t.Chdir(t.TempDir())
	c, err := configure(args, env)
	if err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	return c
}

func TestEveryOptionLongAndShort(t *testing.T) {
	dir := t.TempDir()
	value := map[string]string{ // an unusual value for each
		"base": dir, "name": "n9", "cluster": "c9", "interface": "eth9", "group": "239.9.9.9", "port": "59", "ttl": "9", "mtu": "9000",
		"rate": "9.5", "receive-buffer": "9M", "send-buffer": "9K", "socket": "/run/9.sock", "socket-group": "9", "user": "u9",
		"group-id": "g9", "groups": "1,9", "stage": dir, "state": dir, "protect": "/etc/*.{a,b}", "loglevel": "debug",
	}
	effect := map[string]func(c daemon.Config) bool{
		"base":           func(c daemon.Config) bool { return c.Base == dir },
		"name":           func(c daemon.Config) bool { return c.Name == "n9" },
		"cluster":        func(c daemon.Config) bool { return c.Cluster == "c9" },
		"interface":      func(c daemon.Config) bool { return c.Network.Interface == "eth9" },
		"group":          func(c daemon.Config) bool { return c.Network.Group == netip.MustParseAddr("239.9.9.9") },
		"port":           func(c daemon.Config) bool { return c.Network.Port == 59 },
		"ttl":            func(c daemon.Config) bool { return c.Network.TTL == 9 },
		"mtu":            func(c daemon.Config) bool { return c.Network.MTU == 9000 },
		"rate":           func(c daemon.Config) bool { return c.Network.Rate == 9_500_000 },
		"receive-buffer": func(c daemon.Config) bool { return c.Network.ReceiveBuffer == 9<<20 },
		"send-buffer":    func(c daemon.Config) bool { return c.Network.SendBuffer == 9<<10 },
		"socket":         func(c daemon.Config) bool { return c.Socket.Path == "/run/9.sock" },
		"socket-group":   func(c daemon.Config) bool { return c.Socket.Group == "9" },
		"user":           func(c daemon.Config) bool { return c.Identity.User == "u9" },
		"group-id":       func(c daemon.Config) bool { return c.Identity.Group == "g9" },
		"groups":         func(c daemon.Config) bool { return c.Identity.Groups == "1,9" },
		"stage":          func(c daemon.Config) bool { return c.Stage == dir },
		"state":          func(c daemon.Config) bool { return c.State == dir },
		"protect":        func(c daemon.Config) bool { return slices.Equal(c.Protect, []string{"/etc/*.{a,b}"}) },
		"no-receive":     func(c daemon.Config) bool { return c.NoReceive },
		"no-send":        func(c daemon.Config) bool { return c.NoSend },
		"owner-match":    func(c daemon.Config) bool { return c.OwnerMatch },
		"loglevel":       func(c daemon.Config) bool { return c.LogLevel == zapcore.DebugLevel },
	}
	for _, o := range options {
		ok := effect[o.long]
		if ok == nil {
			t.Errorf("--%s is not tested", o.long)
			continue
		}
		v := value[o.long]
		forms := [][]string{{"--" + o.long}}
		if v != "" {
			forms = [][]string{{"--" + o.long, v}, {"--" + o.long + "=" + v}}
		}
		if o.letter != "" {
			forms = append(forms, []string{"-" + o.letter})
			if v != "" {
				forms[len(forms)-1] = []string{"-" + o.letter, v}
				forms = append(forms, []string{"-" + o.letter + v})
			}
		}
		for _, args := range forms {
			if c := configured(t, nil, args...); !ok(c) {
				t.Errorf("%q has no effect: %+v", args, c)
			}
		}
		if v == "" {
			v = "yes"
		}
		env := environment{o.env(): v}
		if o.long != "state" { // configured sets that one itself
			if c := configured(t, env); !ok(c) {
				t.Errorf("%s=%s has no effect", o.env(), v)
			}
		}
		if o.old != "" {
			if c := configured(t, environment{o.old: v}); !ok(c) {
				t.Errorf("%s=%s has no effect", o.old, v)
			}
		}
	}
}

func TestWhichOfTwoWins(t *testing.T) {
	env := environment{"MAKUOD_PORT": "2", "MAKUOSAN_PORT": "3"}
	if c := configured(t, env, "-p", "1"); c.Network.Port != 1 {
		t.Errorf("command line: %d", c.Network.Port)
	}
	if c := configured(t, env); c.Network.Port != 2 {
		t.Errorf("MAKUOD_: %d", c.Network.Port)
	}
	if c := configured(t, environment{"MAKUOD_PORT": "", "MAKUOSAN_PORT": "3"}); c.Network.Port != 3 {
		t.Errorf("MAKUOSAN_: %d", c.Network.Port)
	}
	if c := configured(t, environment{"MAKUOSAN_PORT": ""}); c.Network.Port != daemon.DefaultPort {
		t.Errorf("empty: %d", c.Network.Port)
	}
	if c := configured(t, environment{"MAKUOD_NO_SEND": "yes"}, "--no-send=false"); c.NoSend {
		t.Error("a switch could not be turned off on the command line")
	}
}

// makuosan's variable of this name is about a Unix group, not about the
// multicast group.
func TestMakuosanGroupIsTheUnixGroup(t *testing.T) {
	c := configured(t, environment{"MAKUOSAN_GROUP": "www"})
	if c.Identity.Group != "www" || c.Network.Group != netip.MustParseAddr(daemon.DefaultGroup) {
		t.Errorf("%+v", c)
	}
}

func TestLettersTogether(t *testing.T) {
	c := configured(t, nil, "-nrOp", "77", "-d9")
	if !c.NoReceive || !c.OwnerMatch || c.Network.Port != 77 || c.LogLevel != zapcore.DebugLevel {
		t.Errorf("%+v", c)
	}
}

func TestProtectIsRepeatable(t *testing.T) {
	c := configured(t, nil, "--protect", "a,b", "--protect=*.key")
	if !slices.Equal(c.Protect, []string{"a,b", "*.key"}) {
		t.Errorf("%q", c.Protect)
	}
	c = configured(t, environment{"MAKUOD_PROTECT": "/etc  *.key"})
	if !slices.Equal(c.Protect, []string{"/etc", "*.key"}) {
		t.Errorf("%q", c.Protect)
	}
}

func TestWrongUse(t *testing.T) {
	for _, c := range []struct {
		args []string
		env  environment
		want []string
	}{
		{[]string{"-k", "f"}, nil, []string{"-k:", "not encrypted"}},
		{[]string{"-Kf"}, nil, []string{"-K:", "--socket-group"}},
		{[]string{"-l", "0.0.0.0"}, nil, []string{"-l:", "--socket"}},
		{[]string{"-f7"}, nil, []string{"-f:", "--rate"}},
		{[]string{"-no"}, nil, []string{"-o:", "--no-send"}},
		{[]string{"-c"}, nil, []string{"-c:", "base directory"}},
		{[]string{"--chroot"}, nil, []string{"--chroot:", "base directory"}},
		{[]string{"-C"}, nil, []string{"-C:", "LimitCORE"}},
		{[]string{"--core"}, nil, []string{"--core:", "LimitCORE"}},
		{[]string{"--nosuch"}, nil, []string{"--nosuch", "--help"}},
		{[]string{"-x"}, nil, []string{"-x", "--help"}},
		{[]string{"-p"}, nil, []string{"-p needs a value"}},
		{[]string{"--port"}, nil, []string{"--port needs a value"}},
		{[]string{"-p", "x", "--ttl", "0"}, nil, []string{`--port "x"`, `--ttl "0"`}},
		{[]string{"/srv"}, nil, []string{`"/srv"`, "--base"}},
		{nil, environment{"MAKUOSAN_PORT": "x"}, []string{`MAKUOSAN_PORT "x"`, "65535"}},
		{nil, environment{"MAKUOD_NO_SEND": "x"}, []string{`MAKUOD_NO_SEND "x"`, "yes or no"}},
		{[]string{"-b", "/nonexistent"}, nil, []string{"/nonexistent", "--base"}},
		{[]string{"-d", "loud"}, nil, []string{`--loglevel "loud"`, "debug"}},
		{nil, environment{"MAKUOD_BASE": ""}, []string{"MAKUOD_BASE is empty"}},
		{[]string{"-b", "/tmp"}, environment{"MAKUOSAN_BASE": ""}, []string{"MAKUOSAN_BASE is empty"}},
		{nil, environment{"MAKUOD_BAES": "/srv"}, []string{"MAKUOD_BAES", "did you mean MAKUOD_BASE?"}},
		{nil, environment{"MAKUOD_BASEDIR": "/srv", "MAKUOD_COLOUR": "red"}, []string{"MAKUOD_BASEDIR", "did you mean MAKUOD_BASE?", "MAKUOD_COLOUR", "--help"}},
		{nil, environment{"MAKUOD_INTERFACES": "eth0"}, []string{"did you mean MAKUOD_INTERFACE?"}},
		{nil, environment{"MAKUOD_KEY": "f"}, []string{"MAKUOD_KEY"}},
		{[]string{"--base", ""}, nil, []string{"--base needs a value"}},
		{[]string{"--state="}, nil, []string{"--state needs a value"}},
		{[]string{"--port", "7", "7"}, nil, []string{`"7": makuod takes no arguments`}},
		{[]string{"--ttl", "-1"}, nil, []string{`--ttl "-1"`}},
		{[]string{"--no-send=maybe"}, nil, []string{"maybe"}},
		{[]string{"--user", "no such user"}, nil, []string{"no such user", "--user"}},
		{[]string{"-G", "no such group"}, nil, []string{"no such group", "--groups"}},
		{[]string{"--socket-group", "no such group"}, nil, []string{"no such group", "--socket-group"}},
		{[]string{"--interfaces", "eth0"}, nil, []string{"did you mean --interface?"}},
		{[]string{"-"}, nil, []string{`"-"`}},
		{[]string{"-R", "1X", "-S", "1X", "-T", "x", "-m", "1.2.3.4"}, nil, []string{"--receive-buffer", "--send-buffer", "--rate", "--group"}},
	} {
		stderr := tempFile(t)
		var stdout bytes.Buffer
		if status := run(c.args, c.env, &stdout, stderr); status != exitUsage {
			t.Errorf("%q: status %d", c.args, status)
		}
		said, _ := os.ReadFile(stderr.Name())
		for _, part := range c.want {
			if !strings.Contains(string(said), part) {
				t.Errorf("%q %v: %q does not say %q", c.args, c.env, said, part)
			}
		}
		if stdout.Len() > 0 {
			t.Errorf("%q: on standard output: %q", c.args, stdout.String())
		}
	}
}

// The whole host is served only by who says so.
func TestTheRootIsNamed(t *testing.T) {
	env := environment{"MAKUOD_NAME": "web1", "MAKUOD_STATE": t.TempDir()}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink("/", link); err != nil {
		t.Fatal(err)
	}
	t.Chdir("/")
	for _, args := range [][]string{nil, {"-b", "."}, {"-b", link}, {"-b", "/../."}} {
		_, err := configure(args, env)
		if wrong := len(args) < 2 || args[1] != "/../."; wrong != (err != nil && strings.Contains(err.Error(), "--base /")) {
			t.Errorf("%q: %v", args, err)
		}
	}
	if c, err := configure([]string{"-b", "/"}, env); err != nil || c.Base != "/" {
		t.Errorf("-b /: %v, %v", c.Base, err)
	}
}

func TestHelpAndVersion(t *testing.T) {
	for _, arg := range []string{"-h", "--help", "-nh"} {
		var out bytes.Buffer
		if status := run([]string{arg}, environment(nil), &out, tempFile(t)); status != exitOK {
			t.Errorf("%s: status %d", arg, status)
		}
		for _, o := range options {
			if !strings.Contains(out.String(), "--"+o.long) {
				t.Errorf("%s does not name --%s", arg, o.long)
			}
		}
	}
	for _, arg := range []string{"-V", "--version"} {
		var out bytes.Buffer
		if status := run([]string{arg}, environment(nil), &out, tempFile(t)); status != exitOK || out.String() != "makuod "+control.Version+"\n" {
			t.Errorf("%s: status %d, %q", arg, status, out.String())
		}
	}
}

// A daemon that cannot start ends with its own status and says why.
func TestCannotStart(t *testing.T) {
	stderr := tempFile(t)
	env := environment{"MAKUOD_NAME": "web1", "MAKUOD_STATE": stderr.Name(), "MAKUOD_BASE": t.TempDir()}
	if status := run(nil, env, &bytes.Buffer{}, stderr); status != exitFailed {
		t.Errorf("status %d", status)
	}
	if said, _ := os.ReadFile(stderr.Name()); !bytes.Contains(said, []byte("state directory "+stderr.Name())) {
		t.Errorf("%q", said)
	}
}

func TestNothingIsRunForHelp(t *testing.T) {
	for _, args := range [][]string{{"-h", "-b", "/nonexistent"}, {"-b", "/nonexistent", "-h"}} {
		if _, err := configure(args, environment(nil)); !errors.Is(err, errHelp) {
			t.Errorf("%q: %v", args, err)
		}
	}
}

func tempFile(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
