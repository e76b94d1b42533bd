package protocol

import "strings"

// Limits of paths.
const (
	MaxPath      = 4095 // bytes of a path
	MaxComponent = 255  // bytes of one name
)

// StageName is the name of the staging directory at a module's root. It is
// never pushed, listed or deleted, and no path from the network may hold it.
const StageName = ".makuo-stage"

// BesidePrefix begins the names of what a member makes beside its target, where
// it can't be renamed from the stage. They are treated as StageName is, and left
// alone.
const BesidePrefix = StageName + "-"

// Reserved reports whether a name is that of a staging directory or of a copy.
func Reserved(name string) bool { return name == StageName || strings.HasPrefix(name, BesidePrefix) }

// ValidPath reports whether s can name an entry of a module: relative, clean,
// without "..", NUL or a Reserved name, bounded. "." is the module's root.
func ValidPath(s string) bool {
	if s == "." {
		return true
	}
	if len(s) > MaxPath {
		return false
	}
	start := 0
	for i := range len(s) {
		switch s[i] {
		case 0:
			return false
		case '/':
			if !validName(s[start:i]) {
				return false
			}
			start = i + 1
		}
	}
	return validName(s[start:])
}

// validName is ValidComponent for what holds no '/' and no NUL.
func validName(s string) bool {
	if len(s) == 0 || len(s) > MaxComponent {
		return false
	}
	return s[0] != '.' || (s != "." && s != ".." && !Reserved(s))
}

// ValidComponent reports whether s can be one component of a path.
func ValidComponent(s string) bool {
	return validName(s) && strings.IndexByte(s, '/') < 0 && strings.IndexByte(s, 0) < 0
}

// ComparePaths orders paths component by component: a directory comes before
// its contents, and '/' sorts below every other byte. "." comes first.
func ComparePaths(a, b string) int {
	if a == "." || b == "." {
		switch {
		case a == b:
			return 0
		case a == ".":
			return -1
		}
		return 1
	}
	n := min(len(a), len(b))
	for i := range n {
		if a[i] == b[i] {
			continue
		}
		if a[i] == '/' || (b[i] != '/' && a[i] < b[i]) {
			return -1
		}
		return 1
	}
	switch {
	case len(a) < len(b):
		return -1
	case len(a) > len(b):
		return 1
	}
	return 0
}

// Within reports whether path is dir or below it.
func Within(path, dir string) bool {
	return dir == "." || path == dir || (len(path) > len(dir) && path[len(dir)] == '/' && path[:len(dir)] == dir)
}
