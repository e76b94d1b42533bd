package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"makuo/internal/fsroot"
	"makuo/protocol"
)

// readXattrs reads the attributes of one entry: list names it, get reads one.
// ACLs are attributes like others; one that says no more than the mode does
// not exist on disk. With privileged, those that only root sees come too.
func readXattrs(privileged bool, list func() ([]string, error), get func(attr string) ([]byte, error)) ([]protocol.Xattr, error) {
	names, err := list()
	if err != nil || len(names) == 0 {
		return nil, err
	}
	var xs []protocol.Xattr
	total := 0
	for _, name := range names {
		if !carried(name, privileged) {
			continue
		}
		value, err := get(name)
		switch {
		case errors.Is(err, fsroot.ErrNoXattr):
			continue // removed since it was listed
		case err != nil:
			return nil, err
		}
		if len(value) == 0 {
			value = nil // as it is parsed
		}
		total += len(name) + len(value)
		if len(xs) == protocol.MaxXattrs || total > protocol.MaxXattrBytes || len(name) > protocol.MaxXattrName {
			return nil, fmt.Errorf("it has more extended attributes than are carried: %d of %d bytes at most",
				protocol.MaxXattrs, protocol.MaxXattrBytes)
		}
		xs = append(xs, protocol.Xattr{Name: name, Value: value})
	}
	return xs, nil
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
