package daemon

import (
	"os"
	"path/filepath"
	"testing"
)

// TestForeignStateDir: what another user prepared is not believed.
func TestForeignStateDir(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := filepath.Join(t.TempDir(), "state")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, 1234, 1234); err != nil {
		t.Fatal(err)
	}
	if s, err := OpenStateDir(dir, Credentials{}); err == nil {
		s.Close()
		t.Error("the state directory of another user was taken")
	}
}
