package fsroot

import (
	"os"
	"path/filepath"
	"testing"
)

func TestParseUmask(t *testing.T) {
	for status, want := range map[string]uint32{
		"Name:\tx\nUmask:\t0022\nState:\tR\n": 0o022,
		"Umask:\t0000\n":                      0,
		"Umask:\t0777":                        0o777,
		"Name:\tx\n":                          0o777,
		"Umask:\tnone\n":                      0o777,
	} {
		if got := parseUmask(status); got != want {
			t.Errorf("umask of %q is %#o, want %#o", status, got, want)
		}
	}
}

// TestBareDescriptor makes, fills and dresses a file, and finds the mode that
// Umask foretells.
func TestBareDescriptor(t *testing.T) {
	dir := t.TempDir()
	r, err := Open(dir)
	must(t, err)
	defer r.Close()
	d, err := r.OpenDir(".")
	must(t, err)
	defer d.Close()
	fd, err := d.CreateFD("a", 0o666)
	must(t, err)
	var st Stat
	must(t, StatFD(fd, &st))
	if st.Perm() != 0o666&^Umask() {
		t.Errorf("made with mode %#o where the umask is %#o", st.Perm(), Umask())
	}
	must(t, WriteFD(fd, []byte("content")))
	must(t, ChownFD(fd, int(st.UID), int(st.GID)))
	must(t, ChmodFD(fd, 0o640))
	must(t, UtimesFD(fd, 77, 8))
	must(t, StatFD(fd, &st))
	if st.Perm() != 0o640 || st.Sec != 77 || st.Nsec != 8 || st.Size != 7 {
		t.Errorf("is %+v", st)
	}
	must(t, CloseFD(fd))
	if b, err := os.ReadFile(filepath.Join(dir, "a")); err != nil || string(b) != "content" {
		t.Errorf("holds %q, %v", b, err)
	}
	if _, err := d.CreateFD("a/b", 0o600); err == nil {
		t.Error("a path was taken for a name")
	}
	if _, err := d.CreateFD("a", 0o600); !os.IsExist(err) {
		t.Errorf("a name that is taken: %v", err)
	}
}
