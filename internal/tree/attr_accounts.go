package tree

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"makuo/protocol"
)

// accounts translates users and groups between ids and names.
//
// It reads passwd and group itself: a lookup through the system's resolver
// would need cgo and can hang on a directory server in the middle of a scan. A
// user that only such a server knows travels by number.
type accounts struct {
	users, groups accountFile
}

// accountFile is one of the two files, read again when it changes.
type accountFile struct {
	path string

	mu     sync.Mutex
	mtime  time.Time
	size   int64
	byID   map[uint32]protocol.Owner
	byName map[string]uint32
}

func newAccounts(passwd, group string) *accounts {
	return &accounts{users: accountFile{path: passwd}, groups: accountFile{path: group}}
}

// refresh looks whether the files have changed. Call it at the start of a
// scan or a push, not for each entry.
func (a *accounts) refresh() {
	a.users.refresh()
	a.groups.refresh()
}

// user returns uid with its name, or without one if it has none.
func (a *accounts) user(uid uint32) protocol.Owner { return a.users.owner(uid) }

// group returns gid with its name, or without one if it has none.
func (a *accounts) group(gid uint32) protocol.Owner { return a.groups.owner(gid) }

// userID returns the id that o means here: that of its name, or its number if
// the name is empty or not known.
func (a *accounts) userID(o protocol.Owner) uint32 { return a.users.id(o) }

// groupID is userID for groups.
func (a *accounts) groupID(o protocol.Owner) uint32 { return a.groups.id(o) }

func (f *accountFile) owner(id uint32) protocol.Owner {
	f.mu.Lock()
	defer f.mu.Unlock()
	if o, ok := f.byID[id]; ok {
		return o
	}
	return protocol.Owner{ID: id}
}

func (f *accountFile) id(o protocol.Owner) uint32 {
	if o.Name != "" {
		f.mu.Lock()
		defer f.mu.Unlock()
		if id, ok := f.byName[o.Name]; ok {
			return id
		}
	}
	return o.ID
}

func (f *accountFile) refresh() {
	f.mu.Lock()
	defer f.mu.Unlock()
	st, err := os.Stat(f.path)
	if err != nil {
		// Without the file there are no names; ids travel alone.
		f.byID, f.byName, f.mtime, f.size = nil, nil, time.Time{}, 0
		return
	}
	if f.byID != nil && st.ModTime().Equal(f.mtime) && st.Size() == f.size {
		return
	}
	if byID, byName, err := readAccounts(f.path); err == nil {
		f.byID, f.byName, f.mtime, f.size = byID, byName, st.ModTime(), st.Size()
	}
}

// readAccounts reads the common beginning of both formats, name:password:id.
// Of several lines with one name or id the first counts, as in libc.
func readAccounts(path string) (map[uint32]protocol.Owner, map[string]uint32, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	byID, byName := make(map[uint32]protocol.Owner), make(map[string]uint32)
	in := bufio.NewScanner(f)
	in.Buffer(nil, 16<<20) // a group line lists all members
	for in.Scan() {
		name, id, ok := parseAccount(in.Text())
		if !ok {
			continue
		}
		name = strings.Clone(name)
		if _, have := byID[id]; !have {
			byID[id] = protocol.Owner{ID: id, Name: name}
		}
		if _, have := byName[name]; !have {
			byName[name] = id
		}
	}
	return byID, byName, in.Err()
}

func parseAccount(line string) (name string, id uint32, ok bool) {
	line = strings.TrimSpace(line)
	if line == "" || strings.ContainsAny(line[:1], "#+-:") || strings.IndexByte(line, 0) >= 0 {
		return "", 0, false
	}
	name, rest, _ := strings.Cut(line, ":")
	_, rest, ok = strings.Cut(rest, ":")
	num, _, _ := strings.Cut(rest, ":")
	n, err := strconv.ParseUint(num, 10, 32)
	return name, uint32(n), ok && err == nil && len(name) <= protocol.MaxOwnerName
}
