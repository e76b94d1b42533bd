// Package tree owns the file tree of a module: the sorted walk that makes a
// manifest, reading files at the origin, and at a member comparing, staging,
// committing, and finishing after a crash what was decided before it.
//
// Every access goes through fsroot: nothing outside the module's directory is
// reached, whatever links and mounts appear in it at whatever moment. The
// package knows nothing of the network.
package tree

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"makuo/internal/fsroot"
	"makuo/protocol"
)

// Errors of a path at the origin.
var (
	// ErrVanished: the file is not there any more.
	ErrVanished = errors.New("vanished after the scan")
	// ErrChanged: the file is not, or no longer, what the manifest says.
	ErrChanged = errors.New("changed while it was read")
)

// ModuleConfig says what a module is.
type ModuleConfig struct {
	Name    string   // protocol.ValidName
	Base    string   // the directory; made absolute, links in it are followed
	Stage   string   // staging directory; default: protocol.StageName in Base
	Protect []string // patterns of what a push may never overwrite or delete here
	Devices bool     // device nodes may be made here

	// OwnerMatch sends only what belongs to this user: of everything but
	// directories, what has another owner is left alone on the members.
	OwnerMatch bool
	UID        *uint32 // the user of OwnerMatch; nil: the effective user of the process
}

// Module is one open module. Its methods may be called by any goroutine.
type Module struct {
	Root     *fsroot.Root
	cfg      ModuleConfig // Base and Stage absolute, UID set
	stageDir string       // absolute
	stageRel string       // path below Base, or "" if the stage is elsewhere
	accounts *accounts
	protect  *Filter
	area     stageArea // see stage.go

	unfinished unfinished // see earlier.go
}

// OpenModule opens the module's directory. Nothing is made or changed.
func OpenModule(cfg ModuleConfig) (*Module, error) {
	if !protocol.ValidName(cfg.Name) {
		return nil, fmt.Errorf("module %q: the name is not valid", cfg.Name)
	}
	base, err := filepath.Abs(cfg.Base)
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", cfg.Name, err)
	}
	m := &Module{cfg: cfg, accounts: newAccounts("/etc/passwd", "/etc/group")}
	if m.cfg.Base, err = filepath.EvalSymlinks(base); err != nil {
		return nil, fmt.Errorf("module %s: %w", cfg.Name, err)
	}
	if err := m.setStage(cfg.Stage); err != nil {
		return nil, fmt.Errorf("module %s: %w", cfg.Name, err)
	}
	var rules []protocol.Rule
	for _, p := range cfg.Protect {
		rules = append(rules, protocol.Rule{Pattern: p})
	}
	if m.protect, err = NewFilter(rules); err != nil {
		return nil, fmt.Errorf("module %s: protect: %w", cfg.Name, err)
	}
	if cfg.UID == nil {
		uid := uint32(os.Geteuid())
		m.cfg.UID = &uid
	}
	if m.Root, err = fsroot.Open(m.cfg.Base); err != nil {
		return nil, fmt.Errorf("module %s: %w", cfg.Name, err)
	}
	return m, nil
}

func (m *Module) setStage(stage string) error {
	if stage == "" {
		stage = filepath.Join(m.cfg.Base, protocol.StageName)
	}
	abs, err := filepath.Abs(stage)
	if err != nil {
		return err
	}
	// The stage itself need not be there yet; its parent must.
	parent, err := filepath.EvalSymlinks(filepath.Dir(abs))
	if err != nil {
		return fmt.Errorf("staging directory: %w", err)
	}
	m.stageDir = filepath.Join(parent, filepath.Base(abs))
	m.cfg.Stage = m.stageDir
	if rel, err := filepath.Rel(m.cfg.Base, m.stageDir); err == nil && filepath.IsLocal(rel) {
		m.stageRel = rel
	}
	if m.stageRel == "." || protocol.Within(strings.TrimPrefix(m.cfg.Base, "/"), strings.TrimPrefix(m.stageDir, "/")) {
		return fmt.Errorf("staging directory %s: holds the module itself; choose one beside it", m.stageDir)
	}
	return nil
}

// Name returns the module's name.
func (m *Module) Name() string { return m.cfg.Name }

// Base returns the module's directory, absolute and without links.
func (m *Module) Base() string { return m.cfg.Base }

// Close closes the module's directory.
func (m *Module) Close() error { return m.Root.Close() }
