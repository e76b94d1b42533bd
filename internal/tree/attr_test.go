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
			if len(o.problems) != 1 || !o.problems[0].Warning || !strings.Contains(o.problems[0].Text, "setuid") {
				t.Errorf("push %d: %v", try, o.problems)
			}
			for name, want := range map[string]uint32{"have": 0o755, "theirs": 0o755, "mine": 0o4755} {
				var st unix.Stat_t
				must(t, unix.Lstat(filepath.Join(base, name), &st))
				if st.Mode&0o7777 != want {
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
