package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"makuo/internal/fsroot"
	"makuo/protocol"
)

// readXattrs fills e with the attributes that names lists, or that err of the
// listing hides; get reads one. ACLs are attributes like others; one that says
// no more than the mode does not exist on disk. An attribute that can't be
// carried is a problem of the path, and keeps nothing else of it back.
func (s *scan) readXattrs(e *protocol.Entry, names []string, err error, get func(attr string) ([]byte, error)) {
	var left []string
	leave := func(format string, args ...any) { left = append(left, fmt.Sprintf(format, args...)) }
	if err != nil {
		leave("its extended attributes can't be listed: %v", cause(err))
	}
	room := min(protocol.MaxXattrBytes, s.spec.Room-batchFrame-maxBareEntry)
	for _, name := range names {
		if !carried(name, s.root) {
			continue
		}
		value, err := get(name)
		switch {
		case errors.Is(err, fsroot.ErrNoXattr):
			continue // removed since it was listed
		case err != nil:
			leave("attribute %s can't be read: %v", name, cause(err))
			continue
		}
		if len(value) == 0 {
			value = nil // as it is parsed
		}
		size := protocol.XattrSize(name, value)
		if len(e.Xattrs) == protocol.MaxXattrs || size > room || len(value) > protocol.MaxXattrValue || len(name) > protocol.MaxXattrName {
			leave("attribute %s of %d bytes is not carried: the attributes of a path are limited to %d, %d bytes together", name, len(value), protocol.MaxXattrs, protocol.MaxXattrBytes)
			continue
		}
		room -= size
		e.Xattrs = append(e.Xattrs, protocol.Xattr{Name: name, Value: value})
	}
	if len(left) > 0 {
		e.Flags |= protocol.EntrySomeXattrs
		s.problem(e.Path, false, "%s", someOf(left))
	}
}

// someOf joins the first of many sentences.
func someOf(texts []string) string {
	const most = 3
	if n := len(texts) - most; n > 0 {
		return fmt.Sprintf("%s; and %d more", strings.Join(texts[:most], "; "), n)
	}
	return strings.Join(texts, "; ")
}

// carried reports whether an attribute travels. Labels and measurements of a
// host's own security policy do not.
func carried(name string, privileged bool) bool {
	switch name {
	case "system.posix_acl_access", "system.posix_acl_default":
		return true
	case "security.selinux", "security.ima", "security.evm":
		return false
	}
	return strings.HasPrefix(name, "user.") ||
		privileged && (strings.HasPrefix(name, "security.") || strings.HasPrefix(name, "trusted."))
}

// cause takes operation and path off an error whose path is reported beside it.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
