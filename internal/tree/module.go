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
	"sync/atomic"

	"github.com/cespare/xxhash/v2"

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
	Stage   string   // an existing directory in which the staging directory is made; default: Base itself
	Proof   string   // file in the daemon's state directory that says which staging directory it made; "": none of an earlier run counts
	Protect []string // patterns of what a push may never overwrite or delete here
	Own     []string // paths of the daemon's own, such as its state and socket: what is in Base of them is never pushed nor touched
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
	given    string       // the base as it was given, absolute; links in it may be switched
	stageDir string       // the staging directory, absolute
	areaRel  string       // its path below Base, or "" if it is elsewhere
	stageRel string       // that, or the path of ModuleConfig.Stage: no push reads or touches it
	accounts *accounts
	protect  *Filter
	own      []string  // paths of ModuleConfig.Own below Base
	area     stageArea // see stage.go

	order      Order      // see newer.go
	unfinished unfinished // see earlier.go
	may        privileges // see attr_caps.go
	plain      plainDirs  // see plain.go
	times      atomic.Pointer[timeRange]

	whileListed func(*fsroot.Dir) // for tests: is called when a directory was read, before it is looked at again
}

// OpenModule opens the module's directory. Nothing is made or changed. A stage
// from which files can't be renamed into the module is an error.
func OpenModule(cfg ModuleConfig) (*Module, error) {
	if !protocol.ValidName(cfg.Name) {
		return nil, fmt.Errorf("module %q: the name is not valid", cfg.Name)
	}
	base, err := filepath.Abs(cfg.Base)
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", cfg.Name, err)
	}
	m := &Module{cfg: cfg, given: base, accounts: newAccounts("/etc/passwd", "/etc/group")}
	if m.cfg.Base, err = filepath.EvalSymlinks(base); err != nil {
		return nil, fmt.Errorf("module %s: %w", cfg.Name, err)
	}
	m.area.proof.path = cfg.Proof
	m.may.read()
	if err := m.setStage(cfg.Stage); err != nil {
		return nil, fmt.Errorf("module %s: %w", cfg.Name, err)
	}
	if err := m.setOwn(cfg.Own); err != nil {
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
	if err := m.checkStage(); err != nil {
		return nil, join(fmt.Errorf("module %s: %w", cfg.Name, err), m.Root.Close())
	}
	return m, nil
}

// setStage decides where the staging directory is: in the base, or in a
// directory that was given. That one is the user's, and others' modules may
// share it: it stays, and what is made in it has a name of this module's own.
func (m *Module) setStage(given string) error {
	if given == "" {
		m.stageDir = filepath.Join(m.cfg.Base, protocol.StageName)
		m.stageRel, m.areaRel = protocol.StageName, protocol.StageName
		m.cfg.Stage = m.stageDir
		return nil
	}
	abs, err := filepath.Abs(given)
	if err != nil {
		return fmt.Errorf("staging directory: %w", err)
	}
	if m.cfg.Stage, err = filepath.EvalSymlinks(abs); err != nil {
		return fmt.Errorf("staging directory: %w; make it, or choose another one", err)
	}
	name := fmt.Sprintf("%s-%016x", protocol.StageName, xxhash.Sum64String(m.cfg.Name+"\x00"+m.cfg.Base))
	m.stageDir = filepath.Join(m.cfg.Stage, name)
	if rel, err := filepath.Rel(m.cfg.Base, m.cfg.Stage); err == nil && filepath.IsLocal(rel) {
		m.stageRel, m.areaRel = rel, rel+"/"+name
	}
	if m.stageRel == "." || protocol.Within(strings.TrimPrefix(m.cfg.Base, "/"), strings.TrimPrefix(m.cfg.Stage, "/")) {
		return fmt.Errorf("staging directory %s: holds the module itself; choose one beside it", m.cfg.Stage)
	}
	return nil
}

// checkStage looks whether files can be renamed from a stage that was given.
func (m *Module) checkStage() error {
	if m.stageRel == protocol.StageName && m.areaRel == protocol.StageName {
		return nil
	}
	r, err := fsroot.Open(m.cfg.Stage)
	if err != nil {
		return fmt.Errorf("staging directory: %w", err)
	}
	defer r.Close()
	if r.Dev() != m.Root.Dev() {
		return fmt.Errorf("staging directory %s: is on another file system than %s, and files can't be renamed from there; choose one on the same", m.cfg.Stage, m.cfg.Base)
	}
	if m.stageRel == "" {
		return nil
	}
	d, err := m.Root.OpenDir(m.stageRel) // finds mounts of the same device
	if err != nil {
		return fmt.Errorf("staging directory %s: %w", m.cfg.Stage, cause(err))
	}
	return d.Close()
}

// CheckBase reports whether the base path still leads to the directory that was
// opened. One that was moved, replaced or mounted over, or to which a link in
// the path does not lead any more, must not be pushed from or to: nobody would
// see it.
func (m *Module) CheckBase() error {
	for _, path := range [...]string{m.given, m.cfg.Base} {
		err := m.Root.CheckAt(path)
		if errors.Is(err, fsroot.ErrMoved) {
			err = baseError(path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// baseError is about a base path that leads elsewhere than at the start.
type baseError string

func (e baseError) Error() string {
	return fmt.Sprintf("the base directory %s is another one now than when makuod started (moved, replaced, mounted over, or a link to it was switched): restart makuod", string(e))
}

func (baseError) Unwrap() error { return fsroot.ErrMoved }

// Name returns the module's name.
func (m *Module) Name() string { return m.cfg.Name }

// Base returns the module's directory, absolute and without links.
func (m *Module) Base() string { return m.cfg.Base }

// Close closes the module's directory.
func (m *Module) Close() error { return m.Root.Close() }
