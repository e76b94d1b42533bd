package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"makuo/protocol"
)

// resolver turns paths of the command line into paths relative to the base.
type resolver struct {
	base string // as the daemon names it
	real string // base without symbolic links, as far as they can be seen here
	from string // where relative paths start
}

// newResolver prepares for a base directory and a current directory; cwd is
// "" if that is not known. pwd is $PWD: the same directory as the shell sees
// it, which may lead through symbolic links.
func newResolver(base, cwd, pwd string) (*resolver, error) {
	if !filepath.IsAbs(base) {
		return nil, fmt.Errorf("makuod's base directory %q is not an absolute path", base)
	}
	r := &resolver{base: base, real: follow(base)}
	r.from = r.real
	if cwd == "" {
		return r, nil
	}
	cwd = follow(cwd)
	if _, inside := relative(r.real, cwd); inside {
		r.from = cwd
		return r, nil
	}
	// $PWD may be stale: it counts only if it is this directory.
	if filepath.IsAbs(pwd) && follow(pwd) == cwd {
		if _, inside := relative(filepath.Clean(r.base), filepath.Clean(pwd)); inside {
			return nil, fmt.Errorf("the current directory %s is reached through a symbolic link that leads out of the base directory %s: name absolute paths", pwd, base)
		}
	}
	return r, nil
}

// resolve returns arg as a clean path relative to the base, "." for the base
// itself. Symbolic links on the way are followed; the last name is not, so that
// a link can be pushed, unless a '/' follows it.
func (r *resolver) resolve(arg string) (string, error) {
	abs := arg
	if !strings.HasPrefix(arg, "/") {
		abs = r.from + "/" + arg
	}
	rel, inside := relative(r.real, nameOf(abs))
	if !inside {
		// The last name may be a link to something in the base, or to the base.
		if rel, inside = relative(r.real, follow(abs)); !inside {
			return "", fmt.Errorf("path %s is outside the base directory %s", arg, r.base)
		}
	}
	if !protocol.ValidPath(rel) {
		return "", fmt.Errorf("path %s cannot be pushed: it is longer than %d bytes, or holds a name that is reserved or longer than %d",
			arg, protocol.MaxPath, protocol.MaxComponent)
	}
	return rel, nil
}

// nameOf follows the symbolic links in the directories of an absolute path.
func nameOf(abs string) string {
	dir, last := abs[:strings.LastIndexByte(abs, '/')+1], abs[strings.LastIndexByte(abs, '/')+1:]
	if last == "" || last == "." || last == ".." {
		return follow(abs)
	}
	return filepath.Join(follow(dir), last)
}

// follow follows the symbolic links of an absolute path, as far as it exists
// and can be seen; what is left is taken by its letters.
func follow(abs string) string {
	rest := ""
	for p := abs; ; {
		if real, err := filepath.EvalSymlinks(p); err == nil {
			return filepath.Join(real, rest)
		}
		p = strings.TrimRight(p, "/")
		i := strings.LastIndexByte(p, '/')
		if i < 0 {
			return filepath.Clean(abs)
		}
		p, rest = p[:i+1], p[i+1:]+"/"+rest
	}
}

// relative returns path as seen from dir, both absolute and clean.
func relative(dir, path string) (string, bool) {
	if path == dir {
		return ".", true
	}
	rest, ok := strings.CutPrefix(path, strings.TrimSuffix(dir, "/")+"/")
	return rest, ok
}

// resolveAll resolves all arguments, without doubles; none is the whole base.
func (r *resolver) resolveAll(args []string) ([]string, error) {
	if len(args) == 0 {
		return []string{"."}, nil
	}
	var all []string
	seen := make(map[string]bool)
	for _, arg := range args {
		p, err := r.resolve(arg)
		if err != nil {
			return nil, err
		}
		if !seen[p] {
			seen[p] = true
			all = append(all, p)
		}
	}
	return all, nil
}
