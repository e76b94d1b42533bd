package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"makuo/protocol"
)

// resolver turns paths of the command line into paths relative to the base.
type resolver struct {
	base          string // as the daemon names it
	real          string // base without symbolic links, as far as they can be seen here
	cwd           string // the current directory without symbolic links; "": none
	lost          error  // why relative paths have no meaning; nil: they have one
	deleteMissing bool   // what does not exist may be named
}

// newResolver prepares for a base directory and a current directory; cwd is
// "" if that is not known. pwd is $PWD: the same directory as the shell sees
// it, which may lead through symbolic links.
func newResolver(base, cwd, pwd string) (*resolver, error) {
	if !filepath.IsAbs(base) {
		return nil, fmt.Errorf("makuod's base directory %q is not an absolute path", base)
	}
	r := &resolver{base: base, real: follow(base)}
	if cwd == "" {
		r.lost = errors.New("the current directory does not exist any more, or may not be looked at: name absolute paths")
		return r, nil
	}
	r.cwd = follow(cwd)
	r.lost = r.shellDisagrees(pwd)
	return r, nil
}

// shellDisagrees tells of a current directory that is not where its user
// believes to be: symbolic links led there that lead somewhere else now, or
// that leave the base directory.
func (r *resolver) shellDisagrees(pwd string) error {
	if !filepath.IsAbs(pwd) {
		return nil
	}
	shown, leads := filepath.Clean(pwd), follow(pwd)
	_, shownInside := relative(filepath.Clean(r.base), shown)
	_, leadsInside := relative(r.real, leads)
	if leads != r.cwd {
		// $PWD is stale, as programs leave it that change directory for a child;
		// only a link in it can have been switched.
		if leads != shown && (leadsInside || r.inside()) {
			return fmt.Errorf("the current directory is %s, but $PWD says %s, and that leads to %s now: "+
				"a symbolic link was switched since; change to the directory again, or name absolute paths", r.cwd, pwd, leads)
		}
		return nil
	}
	if shownInside && !r.inside() {
		return fmt.Errorf("the current directory %s is reached through a symbolic link that leads out of the base directory %s: name absolute paths", pwd, r.base)
	}
	return nil
}

// inside reports whether the current directory is in the base directory.
func (r *resolver) inside() bool {
	_, inside := relative(r.real, r.cwd)
	return r.cwd != "" && inside
}

// resolve returns arg as a clean path relative to the base, "." for the base
// itself. A relative one starts in the current directory if that is in the
// base; from outside it may be meant from either, and what exists decides.
func (r *resolver) resolve(arg string) (string, error) {
	if strings.HasPrefix(arg, "/") {
		return r.exists(r.place(arg, arg))
	}
	if r.lost != nil {
		return "", r.lost
	}
	here := r.place(arg, r.cwd+"/"+arg)
	if r.inside() {
		return r.exists(here)
	}
	below := r.place(arg, r.real+"/"+arg)
	if here.err != nil { // leads out of the base: it can only be meant from there
		switch {
		case below.err != nil || !below.missing():
			return r.exists(below)
		case !here.missing():
			return "", fmt.Errorf("%s is outside the base directory, and %s does not exist on this host: nothing was sent; name absolute paths",
				brief(filepath.Clean(here.abs)), brief(r.full(below)))
		}
		return r.exists(below, here)
	}
	switch {
	case below.err != nil || here.rel == below.rel:
		return r.exists(here)
	case here.missing() && below.missing() && !r.deleteMissing:
		return r.exists(here, below)
	case here.missing() == below.missing():
		return "", fmt.Errorf("path %s can be %s or %s: name it by an absolute path", brief(arg), brief(r.full(here)), brief(r.full(below)))
	case here.missing():
		return r.exists(below)
	}
	return r.exists(here)
}

// place is what one reading of an argument leads to.
type place struct {
	abs string // as the kernel gets it: absolute, not cleaned
	rel string // relative to the base; "" with err
	err error  // it cannot be pushed
}

// missing reports whether nothing is there. What may not be looked at counts
// as there: the daemon may see more.
func (p *place) missing() bool {
	_, err := os.Lstat(p.abs)
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ENAMETOOLONG)
}

// place follows the symbolic links on the way; the last name is not followed,
// so that a link can be pushed, unless a '/' follows it.
func (r *resolver) place(arg, abs string) place {
	rel, inside := relative(r.real, nameOf(abs))
	if !inside {
		// The last name may be a link to something in the base, or to the base.
		if rel, inside = relative(r.real, follow(abs)); !inside {
			return place{abs: abs, err: fmt.Errorf("path %s is outside the base directory %s", brief(arg), r.base)}
		}
	}
	if !protocol.ValidPath(rel) {
		return place{abs: abs, err: fmt.Errorf("path %s cannot be pushed: it is longer than %d bytes, or holds a name that is reserved or longer than %d",
			brief(arg), protocol.MaxPath, protocol.MaxComponent)}
	}
	return place{abs: abs, rel: rel}
}

// exists returns the path of a place that exists here, or may be missing. The
// others are where it was looked for too.
func (r *resolver) exists(p place, others ...place) (string, error) {
	if p.err != nil || !p.missing() || r.deleteMissing {
		return p.rel, p.err
	}
	text := brief(r.full(p)) + " does not exist on this host"
	if bare := strings.TrimRight(p.abs, "/"); bare != p.abs {
		if _, err := os.Lstat(bare); err == nil {
			return "", fmt.Errorf("%s/ is not a directory, nor a link to one: nothing was sent", brief(r.full(p)))
		}
	}
	for _, o := range others {
		if o.err == nil {
			text += ", nor does " + brief(r.full(o))
		} else {
			text += fmt.Sprintf(", nor does %s, which would be outside the base directory", brief(filepath.Clean(o.abs)))
		}
	}
	return "", fmt.Errorf("%s: nothing was sent; --delete-missing would remove it on the members", text)
}

// full is where a place was looked for, for people.
func (r *resolver) full(p place) string {
	if strings.Contains(p.abs+"/", "/../") {
		return p.abs // ".." after something that does not exist has no shorter form
	}
	return filepath.Join(r.base, p.rel)
}

// brief shortens what is too long for a message.
func brief(s string) string {
	if len(s) > 300 {
		return s[:150] + "[...]" + s[len(s)-100:]
	}
	return s
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

// resolveAll resolves all arguments, without doubles; none is the current
// directory if that is in the base, and else the whole base.
func (r *resolver) resolveAll(args []string) ([]string, error) {
	if len(args) == 0 {
		if r.lost != nil {
			return nil, r.lost
		}
		if rel, inside := relative(r.real, r.cwd); inside {
			return []string{rel}, nil
		}
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
