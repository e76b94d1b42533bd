package tree

import (
	"path/filepath"

	"makuo/protocol"
)

// setOwn finds which of the paths lie in the module. Links in the directories
// that lead to them are followed, as far as those are there.
func (m *Module) setOwn(paths []string) error {
	for _, p := range paths {
		abs, err := filepath.Abs(p)
		if err != nil {
			return err
		}
		dir, name := filepath.Split(abs)
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			abs = filepath.Join(real, name)
		}
		if rel, err := filepath.Rel(m.cfg.Base, abs); err == nil && rel != "." && filepath.IsLocal(rel) {
			m.own = append(m.own, rel)
		}
	}
	return nil
}

// isOwn reports whether path is at or below one of ModuleConfig.Own. No push
// carries such a path, and none changes or deletes what is there.
func (m *Module) isOwn(path string) bool {
	for _, o := range m.own {
		if protocol.Within(path, o) {
			return true
		}
	}
	return false
}

// kept reports whether this member keeps all pushes off path.
func (m *Module) kept(path string, dir bool) bool {
	return m.isOwn(path) || m.protect.Covers(path, dir)
}
