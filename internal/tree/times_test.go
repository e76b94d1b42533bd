package tree

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"makuo/protocol"
)

func setTime(t *testing.T, path string, sec int64, nsec int64) {
	t.Helper()
	ts := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Sec: sec, Nsec: nsec}}
	must(t, unix.UtimesNanoAt(unix.AT_FDCWD, path, ts, unix.AT_SYMLINK_NOFOLLOW))
}

// TestTimesBeyondTheFileSystem: what a file system can't hold becomes the
// nearest, with one warning, and is the same for the next push.
func TestTimesBeyondTheFileSystem(t *testing.T) {
	for name, mkfs := range map[string][]string{
		"ext4":       {"mkfs.ext4", "-q", "-F", "-b", "4096"},
		"ext4 of 32": {"mkfs.ext4", "-q", "-F", "-I", "128"}, // whole seconds, until 2038
		"FAT":        {"mkfs.vfat"},                          // two seconds, from 1980, no files without a name
	} {
		t.Run(name, func(t *testing.T) {
			dst, src := loopFS(t, 64<<20, mkfs...), tmpFS(t)
			files := []string{"d/old o", "d/far f", "d/last l", "d/nano n", "d/sub/f x"}
			plant(t, src, 1000, files...)
			setTime(t, src+"/d/old", -9999999999, 5)
			setTime(t, src+"/d/far", 99999999999, 5)
			setTime(t, src+"/d/last", math.MaxInt32, 7)
			setTime(t, src+"/d/nano", 1700000001, 123456789)
			setTime(t, src+"/d/sub", 99999999999, 0)
			setTime(t, src+"/d", 99999999999, 0)
			for _, f := range []string{"d/old", "d/far", "d/last", "d/nano", "d/sub/f", "d/sub", "d"} {
				must(t, os.Chmod(filepath.Join(src, f), 0o755)) // all that FAT has
			}
			p := &pusher{src: openTestModule(t, src), dst: openTestModule(t, dst), options: protocol.OptRecursive | protocol.OptDelete, paths: []string{"d"}}
			for n := range 3 {
				if n == 2 { // what another daemon finds
					p.dst = openTestModule(t, dst, func(c *ModuleConfig) { c.Proof += "2" })
				}
				o := p.push(t)
				told := 0
				for _, pr := range o.problems {
					if strings.Contains(pr.Text, "modification time") {
						told++
					}
				}
				if errs := o.errors(); len(errs) > 0 || told != 1 {
					t.Errorf("push %d: %d warnings about times, errors %q of %v", n, told, errs, o.problems)
				}
				if n > 0 && len(o.change) > 0 {
					t.Errorf("push %d changes %q", n, o.change)
				}
			}
			setTime(t, src+"/d/nano", 1700000007, 0)
			if o := p.push(t); !slices.Equal(o.change, []string{"d/nano"}) {
				t.Errorf("another time: changes %q", o.change)
			}
			if _, err := os.Lstat(dst + "/" + protocol.StageName); err == nil {
				t.Error("a staging directory is left")
			}
		})
	}
}

// TestTimesTriedInTheStage: where no file can be without a name.
func TestTimesTriedInTheStage(t *testing.T) {
	dst := loopFS(t, 64<<20, "mkfs.ext4", "-q", "-F", "-I", "128")
	setTime(t, dst, 1000, 0)
	m := openTestModule(t, dst)
	if r := m.probeStage(); r == nil || *r != (timeRange{math.MinInt32, math.MaxInt32, 1e9}) {
		t.Errorf("%+v", r)
	}
	st, err := os.Stat(dst)
	must(t, err)
	if _, err := os.Lstat(dst + "/" + protocol.StageName); err == nil || st.ModTime().Unix() != 1000 {
		t.Errorf("what was made is left, or moved the time: %v", st.ModTime())
	}
}

func TestTimeRange(t *testing.T) {
	r := timeRange{first: -100, last: 200, grain: 100}
	for _, c := range [][4]int64{{-101, 5, -100, 0}, {-99, 150, -99, 100}, {0, 99, 0, 0}, {-100, 5, -100, 0}, {200, 5, 200, 0}, {201, 5, 200, 0}} {
		if sec, nsec := r.held(c[0], uint32(c[1])); sec != c[2] || int64(nsec) != c[3] {
			t.Errorf("%v: %d.%d", c, sec, nsec)
		}
	}
	r.grain = 2e9
	if sec, nsec := r.held(-3, 5); sec != -4 || nsec != 0 {
		t.Errorf("two seconds: %d.%d", sec, nsec)
	}
}
