package daemon

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap/zapcore"
)

// usable returns a configuration that passes Validate, with its base and
// state in directories of the test's.
func usable(t *testing.T) Config {
	c := Defaults()
	c.Name = "web1"
	c.Base, c.State = t.TempDir(), filepath.Join(t.TempDir(), "state")
	c.Socket.Path = filepath.Join(t.TempDir(), "makuod.sock")
	return c
}

func TestDefaultsAreThoseOfTheManual(t *testing.T) {
	c := Defaults()
	if c.Network.Group != netip.MustParseAddr("224.0.0.108") || c.Network.Port != 5000 || c.Network.TTL != 1 || c.Network.MTU != 1500 {
		t.Errorf("network %+v", c.Network)
	}
	if c.Network.Payload() != 1472 {
		t.Errorf("payload %d, want 1472", c.Network.Payload())
	}
	if c.Base != "." || c.LogLevel != zapcore.InfoLevel || c.Cluster != "default" {
		t.Errorf("%+v", c)
	}
}

func TestValidateBringsPathsIntoTheirFinalForm(t *testing.T) {
	c := usable(t)
	real := c.Base
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	t.Chdir(filepath.Dir(link))
	c.Base, c.State, c.Socket.Path = "link/.", "st", "s.sock"
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	if c.Base != real {
		t.Errorf("base %s, want %s", c.Base, real)
	}
	if err := c.baseSwitched(); err != nil {
		t.Error(err)
	}
	other := t.TempDir()
	if err := errors.Join(os.Remove(link), os.Symlink(other, link)); err != nil {
		t.Fatal(err)
	}
	if err := c.baseSwitched(); err == nil || !strings.Contains(err.Error(), "leads to "+other+" now") {
		t.Errorf("a base behind a switched link: %v", err)
	}
	wd, _ := os.Getwd()
	if c.State != filepath.Join(wd, "st") || c.Socket.Path != filepath.Join(wd, "s.sock") {
		t.Errorf("state %s, socket %s", c.State, c.Socket.Path)
	}
}

func TestValidateRefusesInSentences(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		spoil func(*Config)
		want  []string // parts of the sentence: what, and what to do
	}{
		"no name":         {func(c *Config) { c.Name = "" }, []string{`member name ""`, "--name"}},
		"name with colon": {func(c *Config) { c.Name = "a:b" }, []string{`"a:b"`, "--name"}},
		"no cluster":      {func(c *Config) { c.Cluster = "" }, []string{"cluster", "--cluster"}},
		"long cluster":    {func(c *Config) { c.Cluster = strings.Repeat("x", 65) }, []string{"64 bytes", "--cluster"}},
		"no base":         {func(c *Config) { c.Base = "/nonexistent/dir" }, []string{"/nonexistent/dir", "--base"}},
		"base is a file":  {func(c *Config) { c.Base = file }, []string{"not a directory", "--base"}},
		"state is base":   {func(c *Config) { c.State = c.Base }, []string{"itself", "--state"}},
		"no stage":        {func(c *Config) { c.Stage = "/nonexistent/dir" }, []string{"stage", "--stage"}},
		"unicast group":   {func(c *Config) { c.Network.Group = netip.MustParseAddr("10.0.0.1") }, []string{"10.0.0.1", "--group"}},
		"IPv6 group":      {func(c *Config) { c.Network.Group = netip.MustParseAddr("ff02::1") }, []string{"IPv4", "--group"}},
		"no group":        {func(c *Config) { c.Network.Group = netip.Addr{} }, []string{"IPv4", "--group"}},
		"port 0":          {func(c *Config) { c.Network.Port = 0 }, []string{"port 0", "--port"}},
		"port too high":   {func(c *Config) { c.Network.Port = 65536 }, []string{"65536", "--port"}},
		"TTL 0":           {func(c *Config) { c.Network.TTL = 0 }, []string{"TTL 0", "1 to 255"}},
		"small MTU":       {func(c *Config) { c.Network.MTU = 575 }, []string{"575", "--mtu"}},
		"large MTU":       {func(c *Config) { c.Network.MTU = 9001 }, []string{"9001", "--mtu"}},
		"negative rate":   {func(c *Config) { c.Network.Rate = -1 }, []string{"negative"}},
		"IPv6 interface":  {func(c *Config) { c.Network.Interface = "::1" }, []string{"::1", "IPv4"}},
		"long interface":  {func(c *Config) { c.Network.Interface = "averylonginterface" }, []string{"15 characters"}},
		"no socket":       {func(c *Config) { c.Socket.Path = "" }, []string{"--socket"}},
		"long socket":     {func(c *Config) { c.Socket.Path = "/" + strings.Repeat("s", 107) }, []string{"107 bytes", "--socket"}},
		"empty protect":   {func(c *Config) { c.Protect = []string{""} }, []string{"protect"}},
		"idle":            {func(c *Config) { c.NoSend, c.NoReceive = true, true }, []string{"--no-send", "--no-receive"}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := usable(t)
			c.spoil(&cfg)
			err := cfg.Validate()
			if err == nil {
				t.Fatal("accepted")
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one sentence for one mistake: %q", err)
			}
		})
	}
}

func TestStateIsNotTheBase(t *testing.T) {
	c := usable(t)
	c.State = c.Base
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "is the base directory itself") {
		t.Errorf("error %v", err)
	}
}

func TestDaemonsOfOneHostDoNotShareState(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", "/st")
	seen := map[string]string{}
	for _, socket := range []string{"/run/makuod.sock", "/run/b.sock", "/run/x/makuod.sock"} {
		dir, err := defaultState(socket)
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := seen[dir]; ok {
			t.Errorf("%s and %s share %s", socket, other, dir)
		}
		seen[dir] = socket
		again, _ := defaultState(socket)
		if again != dir {
			t.Errorf("%s: %s, then %s", socket, dir, again)
		}
		parent := "/st/makuo"
		if os.Geteuid() == 0 {
			parent = "/var/lib/makuo"
		}
		if filepath.Dir(dir) != parent {
			t.Errorf("%s is not in %s", dir, parent)
		}
	}
}

func TestWarningsNameWhatLetsPacketsOut(t *testing.T) {
	c := usable(t)
	local := len(c.Warnings())
	c.Network.TTL = 2
	if w := c.Warnings(); len(w) != local+1 || !strings.Contains(w[local], "TTL 2") {
		t.Errorf("%q", w)
	}
	c.Network.TTL, c.Network.Group = 1, netip.MustParseAddr("239.1.2.3")
	if w := c.Warnings(); len(w) != local+1 || !strings.Contains(w[local], "239.1.2.3") {
		t.Errorf("%q", w)
	}
}

func TestParseSize(t *testing.T) {
	for in, want := range map[string]int{"0": 0, "1": 1, "4k": 4096, "4K": 4096, "3M": 3 << 20, "1g": 1 << 30, "2147483647": 1<<31 - 1} {
		if got, err := ParseSize(in); err != nil || got != want {
			t.Errorf("%s: %d, %v, want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "K", "-1", "1.5M", "1KB", "4Q", " 1", "2G", "2147483648", "4194304K", "99999999999999999999"} {
		if got, err := ParseSize(in); err == nil {
			t.Errorf("%q was read as %d", in, got)
		}
	}
}

func TestParseRate(t *testing.T) {
	for in, want := range map[string]int64{"0": 0, "0.5": 500_000, "100": 100_000_000, "1e3": 1_000_000_000} {
		if got, err := ParseRate(in); err != nil || got != want {
			t.Errorf("%s: %d, %v, want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "x", "-1", "0.01", "NaN", "Inf", "1000001", "10M"} {
		if got, err := ParseRate(in); err == nil {
			t.Errorf("%q was read as %d", in, got)
		}
	}
}

func TestParseLevel(t *testing.T) {
	for in, want := range map[string]zapcore.Level{
		"debug": zapcore.DebugLevel, "INFO": zapcore.InfoLevel, "warn": zapcore.WarnLevel, "error": zapcore.ErrorLevel,
		"0": zapcore.ErrorLevel, "1": zapcore.InfoLevel, "3": zapcore.InfoLevel, "4": zapcore.DebugLevel, "9": zapcore.DebugLevel,
	} {
		if got, err := ParseLevel(in); err != nil || got != want {
			t.Errorf("%s: %v, %v, want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "10", "-1", "verbose", "fatal"} {
		if got, err := ParseLevel(in); err == nil {
			t.Errorf("%q was read as %v", in, got)
		}
	}
}
