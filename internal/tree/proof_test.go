package tree

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"makuo/protocol"
)

// ownStage makes an empty staging directory that the daemon takes for its own.
func ownStage(t testing.TB, base string) {
	t.Helper()
	if err := os.Mkdir(filepath.Join(base, protocol.StageName), 0o700); err != nil {
		t.Fatal(err)
	}
	m, err := OpenModule(ModuleConfig{Name: "default", Proof: base + ".stage", Base: base})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.acquireStage(); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil { // as a crash would: it stays
		t.Fatal(err)
	}
}

// stagedElsewhere makes the staging directory of a push that was staged and
// marked in another tree, as an attacker with a makuod of his own can.
func stagedElsewhere(t *testing.T) string {
	t.Helper()
	p, src, dst := pair(t)
	plant(t, src, 1000, "www/shell evil")
	tg, _ := p.stage(t)
	if err := os.WriteFile(filepath.Join(dst, protocol.StageName, tg.id.String(), markName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dst, protocol.StageName)
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
}

// listing tells two trees apart: names, modes, times and contents.
func listing(t *testing.T, dir string) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", `find "$0" -printf '%P %m %U %T@ %C@ %s\n' | sort`, dir).CombinedOutput()
	if err != nil {
		t.Fatal(err, string(out))
	}
	return string(out)
}

// TestPlantedStage: a staging directory that this daemon did not make is
// refused by name; nothing in it is carried out, removed or changed.
func TestPlantedStage(t *testing.T) {
	planted := stagedElsewhere(t)
	for what, plantIt := range map[string]func(t *testing.T, stage string){
		"whole, with the right mode": func(t *testing.T, stage string) { copyTree(t, planted, stage) },
		"open to others":             func(t *testing.T, stage string) { copyTree(t, planted, stage); must(t, os.Chmod(stage, 0o777)) },
		"empty and open to others":   func(t *testing.T, stage string) { must(t, os.Mkdir(stage, 0o777)); must(t, os.Chmod(stage, 0o777)) },
		"a link to a directory":      func(t *testing.T, stage string) { must(t, os.Symlink(planted, stage)) },
		"a file":                     func(t *testing.T, stage string) { must(t, os.WriteFile(stage, []byte("x"), 0o600)) },
		"of another user":            func(t *testing.T, stage string) { copyTree(t, planted, stage); chown(t, stage, 1234) },
		"of another user, and empty": func(t *testing.T, stage string) { must(t, os.Mkdir(stage, 0o700)); chown(t, stage, 1234) },
		"over one that was our own":  func(t *testing.T, stage string) { ownStage(t, filepath.Dir(stage)); replaceDir(t, planted, stage) },
		"only what an ended push left": func(t *testing.T, stage string) {
			copyTree(t, planted, stage)
			es, _ := os.ReadDir(stage)
			if err := os.Rename(filepath.Join(stage, es[0].Name()), filepath.Join(stage, keptPrefix+es[0].Name())); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			dst := tempTree(t)
			plantIt(t, filepath.Join(dst, protocol.StageName))
			before := listing(t, dst)
			m := openTestModule(t, dst)
			if pending, err := m.Recover(); !errors.Is(err, errForeignStage) || len(pending) > 0 {
				t.Errorf("Recover: %v %v", pending, err)
			}
			if err := m.DropLeftovers(time.Now().Add(1000 * time.Hour)); !errors.Is(err, errForeignStage) {
				t.Errorf("DropLeftovers: %v", err)
			}
			if tg, err := m.Begin(protocol.PushID{Start: 9}, header(recursiveDelete, "www")); !errors.Is(err, errForeignStage) {
				t.Errorf("Begin: %v %v", tg, err)
			}
			if after := listing(t, dst); after != before {
				t.Errorf("something was touched:\n%s\nbefore:\n%s", after, before)
			}
			if exists(dst, "www/shell") {
				t.Error("a planted plan was carried out")
			}
		})
	}
}

// TestSwappedStage: what is put in the place of the stage while a push is
// staged is not looked at: the push goes on in the directory it began in.
func TestSwappedStage(t *testing.T) {
	p, src, dst := pair(t)
	plant(t, src, 1000, "www/a right", "www/d/b right")
	plant(t, dst, 900, "www/a old")
	tg, _ := p.stage(t)
	stage := filepath.Join(dst, protocol.StageName)
	copyTree(t, stage, stage+".planted")
	must(t, os.WriteFile(filepath.Join(stage+".planted", tg.id.String(), "e2"), []byte("evil"), 0o600))
	replaceDir(t, stage+".planted", stage)
	if _, _, err := tg.Commit(); err != nil {
		t.Fatal(err)
	}
	if got := readText(t, dst, "www/a"); got != "right" {
		t.Errorf("www/a is %q", got)
	}
	if got := readText(t, dst, "www/d/b"); got != "right" {
		t.Errorf("www/d/b is %q", got)
	}
	tg.Close()
	if got := readText(t, dst, protocol.StageName+"/"+tg.id.String()+"/e2"); got != "evil" {
		t.Error("what was planted was touched")
	}
}

// replaceDir puts a copy of from in the place of to, which is moved aside.
func replaceDir(t *testing.T, from, to string) {
	t.Helper()
	must(t, os.Rename(to, to+".aside"))
	copyTree(t, from, to)
}

func chown(t *testing.T, path string, uid int) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	must(t, os.Lchown(path, uid, uid))
}

func readText(t *testing.T, dir, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, path))
	must(t, err)
	return string(b)
}
