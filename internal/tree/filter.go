package tree

import (
	"errors"
	"fmt"
	"strings"

	"makuo/protocol"
)

// Filter decides which paths take part, by patterns with rsync's meaning
// (rsync(1), PATTERN MATCHING RULES). The first rule that matches decides; a
// path that none matches is included. A Filter is immutable, and nil excludes
// nothing.
//
// The numbered steps of one rule:
//
//  1. A trailing '/' is taken off; the rule then matches directories only.
//  2. Without a '/' left and without "**" the rule is held against the last
//     component, otherwise against the whole path.
//  3. A leading '/' ties the match to the start of the path; without it the
//     match may begin at any component. It always reaches the end of the path.
//  4. '*' and '?' and [sets] do not match '/', "**" does. A leading "**/" also
//     matches nothing at all, and a trailing "/***" the directory itself.
//  5. '\' takes the special meaning from the next byte, but only in a pattern
//     that has one of "*?[" ; elsewhere it is an ordinary byte.
type Filter struct{ rules []rule }

// rule is one compiled pattern.
type rule struct {
	include  bool
	dirOnly  bool
	full     bool // held against the whole path
	anchored bool
	prefix2  bool // starts with "**": a '/' is put before the path
	suffix3  bool // ends in "***": a '/' is put after a directory
	literal  string
	prog     []token // nil: literal
}

type tokenKind uint8

const (
	tokenByte  tokenKind = iota // exactly c
	tokenAny                    // ?
	tokenSet                    // [...]
	tokenStar                   // * : any run without '/'
	tokenStars                  // **: any run
)

type token struct {
	kind tokenKind
	c    byte
	set  *[256]bool
}

// NewFilter compiles the rules. The error names the pattern and what is wrong
// with it.
func NewFilter(rules []protocol.Rule) (*Filter, error) {
	f := &Filter{rules: make([]rule, 0, len(rules))}
	for _, r := range rules {
		c, err := compileRule(r.Pattern)
		if err != nil {
			return nil, fmt.Errorf("pattern %q: %w", r.Pattern, err)
		}
		c.include = r.Include
		f.rules = append(f.rules, c)
	}
	return f, nil
}

// Excluded reports whether the first rule that matches rel excludes it. rel is
// relative to the parent of the pushed path (see Anchor). It looks at rel alone:
// that everything below an excluded directory is excluded is up to the walker.
func (f *Filter) Excluded(rel string, dir bool) bool {
	if f == nil || rel == "." {
		return false
	}
	for i := range f.rules {
		if f.rules[i].match(rel, dir) {
			return !f.rules[i].include
		}
	}
	return false
}

// Covers reports whether rel or a directory above it is excluded. It is for
// patterns that stand alone (protect), where no walker decides from the top.
func (f *Filter) Covers(rel string, dir bool) bool {
	if f == nil || len(f.rules) == 0 {
		return false
	}
	for i := 0; i < len(rel); i++ {
		if rel[i] == '/' && f.Excluded(rel[:i], true) {
			return true
		}
	}
	return f.Excluded(rel, dir)
}

// Empty reports whether no rule is there.
func (f *Filter) Empty() bool { return f == nil || len(f.rules) == 0 }

// Anchor returns path relative to the parent of the pushed path it lies under,
// which is what patterns are held against: with pushed "a/b", "a/b/c" is "b/c".
// With pushed "." it is path itself.
func Anchor(pushed, path string) string {
	i := strings.LastIndexByte(pushed, '/')
	if i < 0 || len(path) <= i {
		return path
	}
	return path[i+1:]
}

func compileRule(p string) (rule, error) {
	switch {
	case p == "":
		return rule{}, errors.New("is empty")
	case strings.IndexByte(p, 0) >= 0:
		return rule{}, errors.New("holds a NUL byte")
	case len(p) > protocol.MaxPattern:
		return rule{}, fmt.Errorf("is longer than %d bytes", protocol.MaxPattern)
	case strings.Trim(p, "/") == "":
		return rule{}, errors.New("names nothing; the pushed path itself can't be matched by '/'")
	}
	var r rule
	wild := strings.ContainsAny(p, "*?[")
	r.suffix3 = strings.HasSuffix(p, "***")
	if strings.HasSuffix(p, "/") {
		r.dirOnly = true
		p = p[:len(p)-1]
	}
	r.prefix2 = strings.HasPrefix(p, "**")
	r.full = strings.Contains(p, "/") || strings.Contains(p, "**")
	if strings.HasPrefix(p, "/") {
		r.anchored = true
		p = p[1:]
	}
	if !wild {
		r.literal = p
		return r, nil
	}
	var err error
	r.prog, err = compileWild(p)
	return r, err
}

func compileWild(p string) ([]token, error) {
	var prog []token
	for i := 0; i < len(p); i++ {
		switch p[i] {
		case '\\':
			i++
			if i == len(p) {
				return nil, errors.New("ends in a backslash, which needs a byte to escape")
			}
			prog = append(prog, token{kind: tokenByte, c: p[i]})
		case '?':
			prog = append(prog, token{kind: tokenAny})
		case '*':
			kind := tokenStar
			for i+1 < len(p) && p[i+1] == '*' {
				kind = tokenStars
				i++
			}
			prog = append(prog, token{kind: kind})
		case '[':
			set, n, err := compileSet(p[i:])
			if err != nil {
				return nil, err
			}
			prog = append(prog, token{kind: tokenSet, set: set})
			i += n - 1
		default:
			prog = append(prog, token{kind: tokenByte, c: p[i]})
		}
	}
	return prog, nil
}

var errSetOpen = errors.New("has a '[' without its ']'; write '\\[' for the byte itself")

// compileSet compiles the set that p starts with and returns its length. A ']'
// that comes first, after '!' or '^' too, stands for itself.
func compileSet(p string) (*[256]bool, int, error) {
	var set [256]bool
	i := 1
	negate := i < len(p) && (p[i] == '!' || p[i] == '^')
	if negate {
		i++
	}
	prev, first := -1, true // prev: byte that a range may start with
	for ; ; first = false {
		if i >= len(p) {
			return nil, 0, errSetOpen
		}
		c := p[i]
		switch {
		case c == ']' && !first:
			if negate {
				for j := range set {
					set[j] = !set[j]
				}
			}
			set['/'] = false
			return &set, i + 1, nil
		case c == '-' && prev >= 0 && i+1 < len(p) && p[i+1] != ']':
			i++
			if p[i] == '\\' {
				i++
			}
			if i >= len(p) {
				return nil, 0, errSetOpen
			}
			for j := prev; j <= int(p[i]); j++ {
				set[j] = true
			}
			prev = -1
		case c == '[' && className(p[i:]) != "":
			name := className(p[i:])
			if err := addClass(&set, name); err != nil {
				return nil, 0, err
			}
			i += len("[:") + len(name) + len(":")
			prev = -1
		case c == '\\':
			i++
			if i >= len(p) {
				return nil, 0, errSetOpen
			}
			c = p[i]
			fallthrough
		default:
			set[c] = true
			prev = int(c)
		}
		i++
	}
}

// className returns the name in a class like [:alpha:] that p starts with. The
// first ']' has to end it, otherwise '[' is an ordinary byte.
func className(p string) string {
	rest, ok := strings.CutPrefix(p, "[:")
	end := strings.IndexByte(rest, ']')
	if !ok || end < 2 || rest[end-1] != ':' {
		return ""
	}
	return rest[:end-1]
}

var classes = map[string]func(c byte) bool{
	"alnum":  func(c byte) bool { return isAlpha(c) || isDigit(c) },
	"alpha":  isAlpha,
	"blank":  func(c byte) bool { return c == ' ' || c == '\t' },
	"cntrl":  func(c byte) bool { return c < ' ' || c == 0x7f },
	"digit":  isDigit,
	"graph":  func(c byte) bool { return c > ' ' && c < 0x7f },
	"lower":  func(c byte) bool { return c >= 'a' && c <= 'z' },
	"print":  func(c byte) bool { return c >= ' ' && c < 0x7f },
	"punct":  func(c byte) bool { return c > ' ' && c < 0x7f && !isAlpha(c) && !isDigit(c) },
	"space":  func(c byte) bool { return c == ' ' || (c >= '\t' && c <= '\r') },
	"upper":  func(c byte) bool { return c >= 'A' && c <= 'Z' },
	"xdigit": func(c byte) bool { return isDigit(c) || (c|0x20 >= 'a' && c|0x20 <= 'f') },
}

func isAlpha(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func addClass(set *[256]bool, name string) error {
	in := classes[name]
	if in == nil {
		return fmt.Errorf("has the unknown class [:%s:]", name)
	}
	for c := range 256 {
		if in(byte(c)) {
			set[c] = true
		}
	}
	return nil
}

func (r *rule) match(rel string, dir bool) bool {
	if r.dirOnly && !dir {
		return false
	}
	name := rel
	if !r.full {
		name = rel[strings.LastIndexByte(rel, '/')+1:]
	}
	switch {
	case r.prog == nil && r.anchored:
		return name == r.literal
	case r.prog == nil:
		n := len(name) - len(r.literal)
		return n >= 0 && name[n:] == r.literal && (n == 0 || name[n-1] == '/')
	}
	if r.prefix2 {
		name = "/" + name
	}
	if r.suffix3 && dir {
		name += "/"
	}
	return matchWild(r.prog, name, !r.anchored && !r.prefix2)
}

// states is a set of positions in a pattern that remembers when each was
// added last.
type states struct {
	list  []int32
	added []int32
	stamp int32
}

// matchWild runs the pattern as an automaton, all its states at once, so that
// no pattern costs more than its length times that of the name. With anywhere
// a match may also begin after each '/'.
func matchWild(prog []token, name string, anywhere bool) bool {
	var space [192]int32
	now, next := space[:0:64], space[64:64:128]
	s := states{list: now, added: space[128:192]}
	if len(prog) >= 64 {
		s.added = make([]int32, len(prog)+1)
	}
	s.begin(now)
	s.add(prog, 0)
	now = s.list
	for i := range len(name) {
		c := name[i]
		s.begin(next[:0])
		for _, p := range now {
			if int(p) < len(prog) {
				s.step(prog, p, c)
			}
		}
		if anywhere && c == '/' {
			s.add(prog, 0)
		}
		if len(s.list) == 0 && !anywhere {
			return false
		}
		now, next = s.list, now
	}
	for _, p := range now {
		if int(p) == len(prog) {
			return true
		}
	}
	return false
}

func (s *states) begin(list []int32) {
	s.list = list
	s.stamp++
}

// step adds what position p reaches by the byte c.
func (s *states) step(prog []token, p int32, c byte) {
	switch t := &prog[p]; t.kind {
	case tokenStars:
		s.add(prog, p)
	case tokenStar:
		if c != '/' {
			s.add(prog, p)
		}
	case tokenByte:
		if c == t.c {
			s.add(prog, p+1)
		}
	case tokenAny:
		if c != '/' {
			s.add(prog, p+1)
		}
	case tokenSet:
		if t.set[c] {
			s.add(prog, p+1)
		}
	}
}

// add adds p and what it reaches without a byte, once each.
func (s *states) add(prog []token, p int32) {
	for s.added[p] != s.stamp {
		s.added[p] = s.stamp
		s.list = append(s.list, p)
		if int(p) == len(prog) || (prog[p].kind != tokenStar && prog[p].kind != tokenStars) {
			return
		}
		p++
	}
}
