package daemon

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"makuo/internal/control"
)

// Identity says as whom the daemon runs once it has opened what needs
// privileges. All empty: as whoever started it.
type Identity struct {
	// User is a name or number. Its primary group becomes the daemon's
	// group, and its supplementary groups the daemon's, unless Group or
	// Groups say otherwise.
	User string
	// Group is a name or number.
	Group string
	// Groups are the supplementary groups, separated by commas, names or
	// numbers.
	Groups string
}

// Credentials are an Identity in numbers. Take them from Identity.Resolve.
type Credentials struct {
	UID, GID int
	Groups   []int
	change   bool // whether anything is to be given up
}

// Resolve looks the names up and returns what they stand for. It fails when
// a name is not known, and when the process is not root but would have to
// become somebody else.
func (i Identity) Resolve() (Credentials, error) {
	c := Credentials{UID: os.Geteuid(), GID: os.Getegid()}
	if i == (Identity{}) {
		return c, nil
	}
	before := c
	if err := i.resolveUser(&c); err != nil {
		return Credentials{}, err
	}
	if i.Group != "" {
		gid, err := LookupGroup(i.Group)
		if err != nil {
			return Credentials{}, fmt.Errorf("--group-id: %w", err)
		}
		c.GID = gid
	}
	if i.Groups != "" {
		c.Groups = nil
		for name := range strings.SplitSeq(i.Groups, ",") {
			gid, err := LookupGroup(strings.TrimSpace(name))
			if err != nil {
				return Credentials{}, fmt.Errorf("--groups: %w", err)
			}
			c.Groups = append(c.Groups, gid)
		}
	}
	if before.UID == 0 {
		c.change = true
		return c, nil
	}
	return c, i.withoutRoot(before, c)
}

// withoutRoot returns an error that names what a process that is not root would
// have to become.
func (i Identity) withoutRoot(is, wanted Credentials) error {
	var what []string
	if wanted.UID != is.UID {
		what = append(what, fmt.Sprintf("user %d (--user %s)", wanted.UID, i.User))
	}
	if wanted.GID != is.GID {
		option := "--group-id " + i.Group
		if i.Group == "" {
			option = "the group of --user " + i.User
		}
		what = append(what, fmt.Sprintf("group %d (%s)", wanted.GID, option))
	}
	if i.Groups != "" {
		what = append(what, fmt.Sprintf("supplementary groups %v (--groups %s)", wanted.Groups, i.Groups))
	}
	if len(what) == 0 {
		return nil
	}
	return fmt.Errorf("only root can become %s, and this process is user %d with group %d: start it as root, or leave that out", strings.Join(what, ", "), is.UID, is.GID)
}

// CheckNames reports users and groups that this host does not have, or that the
// process may not become: wrong options, as far as this can be known before
// anything is opened.
func (c *Config) CheckNames() error {
	who, err := c.Identity.Resolve()
	if err != nil {
		return err
	}
	_, err = who.SocketOptions(c.Socket.Group)
	return err
}

// resolveUser fills in what User stands for: the user's number, primary
// group and supplementary groups. A number that no user has is taken as it
// is, with the group the process has and no supplementary groups.
func (i Identity) resolveUser(c *Credentials) error {
	if i.User == "" {
		return nil
	}
	u, err := user.Lookup(i.User)
	if err != nil {
		id, numErr := parseID(i.User)
		if numErr != nil {
			return fmt.Errorf("--user: there is no user %q on this host; create it or give a number", i.User)
		}
		c.UID = id
		if u, err = user.LookupId(i.User); err != nil {
			return nil
		}
	}
	if c.UID, err = parseID(u.Uid); err != nil {
		return fmt.Errorf("--user %s: the user's number %q: %w", i.User, u.Uid, err)
	}
	if c.GID, err = parseID(u.Gid); err != nil {
		return fmt.Errorf("--user %s: the group's number %q: %w", i.User, u.Gid, err)
	}
	ids, err := u.GroupIds()
	if err != nil {
		return fmt.Errorf("--user %s: its groups: %w; give them with --groups", i.User, err)
	}
	for _, s := range ids {
		if id, err := parseID(s); err == nil && id != c.GID {
			c.Groups = append(c.Groups, id)
		}
	}
	return nil
}

// LookupGroup returns the number of a group given by name or number. A
// number need not be in the group database.
func LookupGroup(name string) (int, error) {
	if g, err := user.LookupGroup(name); err == nil {
		return parseID(g.Gid)
	}
	id, err := parseID(name)
	if err != nil {
		return 0, fmt.Errorf("there is no group %q on this host; create it or give a number", name)
	}
	return id, nil
}

// parseID reads a user's or group's number. The highest, -1 to the kernel,
// stands for "leave as it is" there and names nobody.
func parseID(s string) (int, error) {
	v, err := strconv.ParseUint(s, 10, 32)
	if err != nil || v == 1<<32-1 {
		return 0, errors.New("not a number from 0 to 4294967294")
	}
	return int(v), nil
}

// Changes reports whether Drop will give anything up.
func (c Credentials) Changes() bool { return c.change }

// SocketOptions returns who shall own the daemon's socket: the credentials'
// user, and the group of that name or number, or the credentials' own group
// where group is empty.
func (c Credentials) SocketOptions(group string) (control.SocketOptions, error) {
	opt := control.SocketOptions{UID: c.UID, GID: c.GID}
	if group == "" {
		return opt, nil
	}
	gid, err := LookupGroup(group)
	if err != nil {
		return opt, fmt.Errorf("--socket-group: %w", err)
	}
	opt.GID = gid
	return opt, nil
}

// Drop makes all threads of the process run with the credentials, for good:
// it fails if root's rights could be had back.
func (c Credentials) Drop() error {
	if !c.change {
		return nil
	}
	if err := syscall.Setgroups(c.Groups); err != nil {
		return fmt.Errorf("set supplementary groups %v: %w", c.Groups, err)
	}
	if err := syscall.Setgid(c.GID); err != nil {
		return fmt.Errorf("become group %d: %w", c.GID, err)
	}
	if err := syscall.Setuid(c.UID); err != nil {
		return fmt.Errorf("become user %d: %w", c.UID, err)
	}
	return c.verify()
}

// verify checks that the process is what Drop made it, and cannot go back.
func (c Credentials) verify() error {
	if os.Getuid() != c.UID || os.Geteuid() != c.UID || os.Getgid() != c.GID || os.Getegid() != c.GID {
		return fmt.Errorf("asked to be user %d, group %d, but the process is user %d (%d), group %d (%d)",
			c.UID, c.GID, os.Getuid(), os.Geteuid(), os.Getgid(), os.Getegid())
	}
	groups, err := syscall.Getgroups()
	if err != nil {
		return fmt.Errorf("read supplementary groups: %w", err)
	}
	for _, g := range groups {
		if g != c.GID && !slices.Contains(c.Groups, g) {
			return fmt.Errorf("asked for supplementary groups %v, but the process has %v", c.Groups, groups)
		}
	}
	if c.UID == 0 {
		return nil
	}
	if syscall.Setuid(0) == nil {
		return fmt.Errorf("user %d could become root again; giving up privileges does not hold on this system", c.UID)
	}
	return nil
}
