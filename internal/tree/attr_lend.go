package tree

import (
	"slices"

	"makuo/internal/fsroot"
	"makuo/protocol"
)

const capability = "security.capability"

// lends reports whether e's attributes would lend st rights that it has not
// now: setuid or setgid of another owner, or capabilities. Its content is known
// by size and time alone, which who owns it chooses, and may be written through
// a descriptor that is open: such a file is sent and replaced.
func (t *Target) lends(nd node, e *protocol.Entry, st *fsroot.Stat) (bool, error) {
	if e.Type != protocol.EntryRegular {
		return false, nil
	}
	if mode, _ := t.hold.mode(e, st); mode&0o6000 != 0 {
		uid, gid := t.hold.owner(e, st)
		if st.UID != uid || st.GID != gid || mode&0o6000&^st.Perm() != 0 {
			return true, nil
		}
	}
	for i := range e.Xattrs {
		if e.Xattrs[i].Name != capability {
			continue
		}
		set, _, err := t.xattrChanges(nd, e)
		return slices.ContainsFunc(set, func(x protocol.Xattr) bool { return x.Name == capability }), err
	}
	return false, nil
}
