package tree

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"makuo/protocol"
)

func TestOpenModule(t *testing.T) {
	top, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	base := top + "/srv/www"
	must(t, os.MkdirAll(base+"/tmp/stage", 0o755))
	must(t, os.MkdirAll(top+"/srv/stage", 0o755))
	must(t, os.MkdirAll(top+"/srv/www2", 0o755))
	must(t, os.Symlink("srv/www", top+"/link"))
	must(t, os.WriteFile(top+"/file", nil, 0o644))
	for _, c := range []struct {
		base, stage       string
		wantDir, wantRel  string
		wantErr, protects string
	}{
		{base, "", base + "/" + protocol.StageName, protocol.StageName, "", "*.key"},
		{top + "/link", "", base + "/" + protocol.StageName, protocol.StageName, "", ""},
		{base, base + "/tmp/stage", base + "/tmp/stage", "tmp/stage", "", ""},
		{base, top + "/link/tmp/stage", base + "/tmp/stage", "tmp/stage", "", ""},
		{base, top + "/srv/stage", top + "/srv/stage", "", "", ""},
		{base, top + "/srv/www2", top + "/srv/www2", "", "", ""},
		{base, base, "", "", "holds the module", ""},
		{base, top + "/srv", "", "", "holds the module", ""},
		{base, top + "/none/stage", "", "", "staging directory", ""},
		{base, top + "/file", "", "", "staging directory", ""},
		{base, "/proc", "", "", "another file system", ""},
		{top + "/none", "", "", "", "no such file", ""},
		{top + "/file", "", "", "", "not a directory", ""},
		{base, "", "", "", "protect", "[x"},
	} {
		cfg := ModuleConfig{Name: "www", Base: c.base, Stage: c.stage}
		if c.protects != "" {
			cfg.Protect = []string{c.protects}
		}
		m, err := OpenModule(cfg)
		if c.wantErr != "" {
			if err == nil || !strings.Contains(err.Error(), c.wantErr) || !strings.HasPrefix(err.Error(), "module www: ") {
				t.Errorf("%+v: %v", c, err)
			}
			continue
		}
		must(t, err)
		if m.cfg.Stage != c.wantDir || (c.stage != "") != (filepath.Dir(m.stageDir) == c.wantDir) || m.stageRel != c.wantRel || m.Base() != base || m.Name() != "www" {
			t.Errorf("%+v: stage %s, %q, base %s", c, m.stageDir, m.stageRel, m.Base())
		}
		if m.protect.Covers("a.key", false) != (c.protects != "") {
			t.Errorf("%+v: protect", c)
		}
		must(t, m.Close())
	}
	if _, err := OpenModule(ModuleConfig{Name: "a/b\x00", Base: base}); err == nil {
		t.Error("a bad name was taken")
	}
	if es, err := os.ReadDir(base); err != nil || len(es) != 1 {
		t.Errorf("opening made something: %v %v", es, err)
	}
}
