//go:build linux

package lab

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Race says whether the daemons are built with the race detector: set MAKUO_RACE=1.
var Race = os.Getenv("MAKUO_RACE") != ""

// Full says whether scenarios run at full size: set MAKUO_FULL=1.
var Full = os.Getenv("MAKUO_FULL") != ""

// binaries are built once a test process.
var binaries struct {
	once sync.Once
	dir  string
	err  string
}

// Binary is the path of makuod or msync, built from this module. The test
// ends when they cannot be built.
func Binary(t testing.TB, name string) string {
	t.Helper()
	binaries.once.Do(buildBinaries)
	if binaries.err != "" {
		t.Fatalf("lab: building the commands: %s", binaries.err)
	}
	return filepath.Join(binaries.dir, name)
}

const binPrefix = "makuo-lab-"

// sweepBinaries removes what test processes built that were killed.
func sweepBinaries() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), binPrefix+"*"))
	for _, dir := range dirs {
		f := strings.Split(strings.TrimPrefix(filepath.Base(dir), binPrefix), "-")
		if len(f) == 3 && !ownerAlive(f[0]+":"+f[1]) {
			os.RemoveAll(dir)
		}
	}
}

func buildBinaries() {
	sweepBinaries()
	dir, err := os.MkdirTemp("", binPrefix+strings.Replace(owner(), ":", "-", 1)+"-")
	if err != nil {
		binaries.err = err.Error()
		return
	}
	binaries.dir = dir
	if err := os.Chmod(dir, 0o755); err != nil { // daemons of other users start here too
		binaries.err = err.Error()
		return
	}
	args := []string{"build", "-o", dir + "/"}
	if Race {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "makuo/cmd/makuod", "makuo/cmd/msync")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		binaries.err = err.Error() + "\n" + strings.TrimSpace(string(out))
	}
}

// Main runs the tests of a package and removes what Binary built.
func Main(m *testing.M) int {
	code := m.Run()
	if binaries.dir != "" {
		os.RemoveAll(binaries.dir)
	}
	return code
}
