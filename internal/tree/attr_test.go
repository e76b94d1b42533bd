package tree

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"makuo/protocol"
)

// TestSetuidNeedsTheOwner: who can't give files away does not lend his own
// rights either.
func TestSetuidNeedsTheOwner(t *testing.T) {
	base := shared(t)
	asNobody(t, base, func() {
		me, mine := uint32(os.Geteuid()), uint32(os.Getegid())
		plant(t, base, 1000, "have old")
		must(t, os.Chmod(filepath.Join(base, "have"), 0o755|os.ModeSetuid|os.ModeSetgid))
		m := openTestModule(t, base)
		for try := range 2 {
			tg, err := m.Begin(protocol.PushID{Start: int64(try + 1)}, &protocol.PushHeader{Module: "default", Name: "o", Paths: []string{"."}})
			must(t, err)
			b := &protocol.Batch{}
			for _, e := range []protocol.Entry{
				{Path: "have", User: protocol.Owner{ID: me + 1}, Group: protocol.Owner{ID: mine + 1}, Size: 3, Sec: 1000, Nsec: 123},
				{Path: "mine", User: protocol.Owner{ID: me}, Group: protocol.Owner{ID: mine + 1}, Sec: 5},
				{Path: "theirs", User: protocol.Owner{ID: me + 1}, Group: protocol.Owner{ID: mine + 1}, Sec: 5},
			} {
				e.Type, e.Mode = protocol.EntryRegular, 0o6755
				b.Entries = append(b.Entries, e)
			}
			_, change, err := tg.Compare(b)
			must(t, err)
			if want := []byte{7, 0}[try]; change[0] != want {
				t.Errorf("push %d changes %b", try, change)
			}
			must(t, tg.EndCompare())
			o := finishPush(t, tg)
			tg.Close()
			var said []string
			for _, p := range o.problems {
				what, _, _ := strings.Cut(p.Text, " here:")
				said = append(said, what)
				if !p.Warning {
					t.Errorf("push %d: %v", try, p)
				}
			}
			if len(said) != 3 || !strings.Contains(said[0], "setuid") || !strings.Contains(said[1], "given to user") || !strings.Contains(said[2], "given to group") {
				t.Errorf("push %d: %q", try, said)
			}
			for name, want := range map[string]uint32{"have": 0o755, "theirs": 0o755, "mine": 0o4755} {
				var st unix.Stat_t
				must(t, unix.Lstat(filepath.Join(base, name), &st))
				if uint32(st.Mode)&0o7777 != want {
					t.Errorf("%s has mode %o, want %o", name, st.Mode&0o7777, want)
				}
			}
		}
	})
}

// shared makes a directory that every user reaches.
func shared(t *testing.T) string {
	t.Helper()
	base, err := os.MkdirTemp("", "makuo-shared-*")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(base) })
	return base
}

func TestEffectiveCaps(t *testing.T) {
	for status, want := range map[string]uint64{
		"Name:\tx\nCapPrm:\t0000000000000001\nCapEff:\t000001ffffffffff\nCapBnd:\t0\n": 0x1ffffffffff,
		"CapEff:\t0000000000000000\n": 0,
	} {
		if got, ok := effectiveCaps(status); !ok || got != want {
			t.Errorf("%q: %x %v", status, got, ok)
		}
	}
	for _, status := range []string{"", "CapEff:\tx\n", "CapPrm:\t1\n"} {
		if _, ok := effectiveCaps(status); ok {
			t.Errorf("%q was taken", status)
		}
	}
}

// TestPrivilegedAttributes: what this process may not set is left out with one
// warning, and is no difference.
func TestPrivilegedAttributes(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: attributes that only root may set are not tested")
	}
	for _, c := range []struct {
		what string
		drop func(m *Module)
		want int // warnings of a first push
	}{
		{"all", func(m *Module) {}, 0},
		{"no CAP_SYS_ADMIN", func(m *Module) { m.may.trusted = false }, 1},
		{"refused", func(m *Module) { m.may.refuse("trusted.") }, 1},
	} {
		p, src, dst := pair(t)
		plant(t, src, 2000, "a 1", "b 2", "d/")
		for _, name := range []string{"a", "b", "d"} {
			if err := unix.Lsetxattr(filepath.Join(src, name), "trusted.x", []byte("v"), 0); err != nil {
				t.Skipf("trusted attributes can't be set here: %v", err)
			}
		}
		c.drop(p.dst)
		for try := range 2 {
			o := p.push(t)
			if len(o.errors()) > 0 || len(o.problems) != c.want || try > 0 && len(o.change) > 0 {
				t.Errorf("%s: push %d: %v, changed %q", c.what, try, o.problems, o.change)
			}
			if c.want > 0 && !strings.Contains(o.problems[0].Text, "trusted.*") {
				t.Errorf("%v", o.problems)
			}
		}
		_, err := unix.Lgetxattr(filepath.Join(dst, "a"), "trusted.x", make([]byte, 9))
		if (err == nil) != (c.want == 0) {
			t.Errorf("%s: the attribute: %v", c.what, err)
		}
	}
}

// TestAttributeRefused: the kernel's own no counts like a missing capability.
func TestAttributeRefused(t *testing.T) {
	p, _, _ := pair(t)
	tg, err := p.dst.Begin(protocol.PushID{Start: 1}, p.header(t))
	must(t, err)
	defer tg.Close()
	if err := tg.hold.permitted("user.x", unix.EPERM); err == nil {
		t.Error("user attributes need no privilege")
	}
	if err := tg.hold.permitted("trusted.x", unix.EIO); err == nil {
		t.Error("another error was dropped")
	}
	for range 2 {
		if err := tg.hold.permitted("trusted.x", unix.EPERM); err != nil {
			t.Error(err)
		}
	}
	if p.dst.may.may("trusted.") || tg.hold.has("trusted.") || tg.Counts().Warnings != 1 {
		t.Errorf("%+v", tg.Counts())
	}
}
