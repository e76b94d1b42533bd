package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"makuo/internal/fsroot"
	"makuo/protocol"
)

// PathError is the error of a named path that can't be pushed at all.
type PathError struct {
	Path string // absolute: where it was looked for
	Err  error  // fs.ErrNotExist, an error of a directory above it ...
	Hint string // what to do, or ""
}

// Error returns what is wrong with the path, and what to do.
func (e *PathError) Error() string {
	text := fmt.Sprintf("%s cannot be reached: %v", e.Path, e.Err)
	if errors.Is(e.Err, fs.ErrNotExist) {
		text = e.Path + " does not exist"
	}
	if e.Hint != "" {
		text += ": " + e.Hint
	}
	return text
}

// Unwrap returns Err.
func (e *PathError) Unwrap() error { return e.Err }

// CheckPaths looks for the pushed paths of h before anything is sent: a
// misspelt path or a file system that is not mounted must not become a deletion
// everywhere. The first that is not there, or below something that is no
// directory or can't be searched, is a *PathError; with OptDeleteMissing only
// what can't be told. It reads the disk.
func (m *Module) CheckPaths(h *protocol.PushHeader) error {
	missing := h.Options&protocol.OptDeleteMissing != 0
	for _, p := range h.Paths {
		err := m.checkPath(p)
		absent := errors.Is(err, fs.ErrNotExist) || errors.Is(err, fsroot.ErrNotDir)
		if err == nil || absent && missing {
			continue
		}
		e := &PathError{Path: filepath.Join(m.cfg.Base, p), Err: err}
		if absent {
			e.Hint = "nothing was sent; --delete-missing removes on the members what is missing here"
		}
		return e
	}
	return nil
}

// checkPath says why path can't be reached.
func (m *Module) checkPath(path string) error {
	if path == "." {
		return m.Root.Check()
	}
	d, err := m.Root.OpenDir(dirOf(path))
	if err != nil {
		return explain(err)
	}
	defer d.Close()
	_, name := splitPath(path)
	if _, err = d.Lstat(name); err != nil {
		return cause(err)
	}
	return nil
}
