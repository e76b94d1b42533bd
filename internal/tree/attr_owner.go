package tree

import (
	"errors"
	"fmt"
	"io/fs"

	"makuo/internal/fsroot"
	"makuo/protocol"
)

// Owners. Root gives every user and group, but for those that its user
// namespace or the file system lacks. Anybody else owns what he makes, and
// gives what is his to the groups that he is a member of; what group the rest
// gets is what a file has that is made in its place: that of the directory if
// it has setgid, else his own. What can't be given is not compared, and said
// once for each user and group.

// noID is the id that chown takes for "leave it".
const noID = 1<<32 - 1

// owner returns the user and group that what st is gets as e.
func (h *holdable) owner(e *protocol.Entry, st *fsroot.Stat) (uid, gid uint32) {
	wantU, wantG := h.t.m.accounts.userID(e.User), h.t.m.accounts.groupID(e.Group)
	uid, gid = st.UID, st.GID
	if h.root {
		if h.t.m.may.user(wantU) {
			uid = wantU
		}
		if h.t.m.may.group(wantG) {
			gid = wantG
		}
		return uid, gid
	}
	if st.UID == h.me && h.groups[wantG] {
		gid = wantG
	}
	return uid, gid
}

// tellOwner says once of each user and group that it can't be given. st is what
// is there, if anything.
func (h *holdable) tellOwner(e *protocol.Entry, st *fsroot.Stat) {
	if h.root && !h.t.m.may.refusesOwners() || e.Type == protocol.EntryHardlink {
		return
	}
	uid, gid := h.t.m.accounts.userID(e.User), h.t.m.accounts.groupID(e.Group)
	if !(h.root && h.t.m.may.user(uid) || uid == h.me || st != nil && st.UID == uid) {
		h.notGiven(&h.saidUsers, "user", e.User, uid)
	}
	if !(h.root && h.t.m.may.group(gid) || h.groups[gid] || st != nil && st.GID == gid) {
		h.notGiven(&h.saidGroups, "group", e.Group, gid)
	}
}

// notGiven warns of one user or group.
func (h *holdable) notGiven(said *map[uint32]bool, what string, o protocol.Owner, id uint32) {
	if (*said)[id] {
		return
	}
	if *said == nil {
		*said = make(map[uint32]bool)
	}
	(*said)[id] = true
	name := fmt.Sprintf("%d", id)
	if o.Name != "" {
		name = fmt.Sprintf("%s (%d)", o.Name, id)
	}
	why := "the daemon does not run as root"
	switch {
	case h.root:
		why = "the kernel or the file system refuses it"
	case what == "group":
		why = "the daemon does not run as root and is no member of it"
	}
	h.t.warn(what+" "+name, "", fmt.Sprintf("nothing is given to %s %s here: %s", what, name, why))
}

// give makes uid and gid the owner by chown, which leaves noID as it is. fresh
// says that the file was just made by this daemon: nothing but the ids can be
// why it is refused, and it is not tried again.
func (t *Target) give(uid, gid uint32, fresh bool, chown func(uid, gid int) error) error {
	err := chown(asInt(uid), asInt(gid))
	if err == nil || !refusesID(err, fresh) {
		return err
	}
	may := &t.m.may
	if uerr := chown(asInt(uid), -1); uerr != nil && uid != noID {
		if !refusesID(uerr, fresh) {
			return uerr
		}
		may.refuseUser(uid)
		t.warn(fmt.Sprintf("user %d", uid), "", fmt.Sprintf("nothing is given to user %d here: %v", uid, cause(uerr)))
	}
	if gerr := chown(-1, asInt(gid)); gerr != nil && gid != noID {
		if !refusesID(gerr, fresh) {
			return gerr
		}
		may.refuseGroup(gid)
		t.warn(fmt.Sprintf("group %d", gid), "", fmt.Sprintf("nothing is given to group %d here: %v", gid, cause(gerr)))
	}
	return nil
}

func asInt(id uint32) int {
	if id == noID {
		return -1
	}
	return int(id)
}

// refusesID reports whether a chown failed for the ids.
func refusesID(err error, fresh bool) bool {
	return isInvalidErrno(err) || fresh && (errors.Is(err, fs.ErrPermission) || errors.Is(err, fsroot.ErrUnsupported))
}

// newGroup returns the group that what is made for e gets when the daemon is
// not root; ok is false for the one it has by itself. live is the directory of
// the module in which it will be, nil if that is new too: then the staged
// directory has the group, and the setgid bit, by which its contents inherit.
func (t *Target) newGroup(e *protocol.Entry, live *fsroot.Dir) (gid uint32, ok bool) {
	if gid = t.m.accounts.groupID(e.Group); t.hold.groups[gid] {
		return gid, true
	}
	if live == nil {
		return 0, false
	}
	st, err := live.LstatSelf()
	if err != nil || st.Perm()&0o2000 == 0 || !t.hold.groups[st.GID] {
		return 0, false
	}
	return st.GID, true
}

// newGroupOf is newGroup of what step s stages.
func (t *Target) newGroupOf(s *step, e *protocol.Entry) (gid uint32, ok bool) {
	var live *fsroot.Dir
	if !s.has(stepInTree) {
		d, err := t.m.Root.Dir(dirOf(e.Path))
		if err == nil {
			live = d
			defer d.Close()
		}
	}
	return t.newGroup(e, live)
}

// lendGroup prepares a staged directory so that what is made in it gets the
// group it would get in its place.
func (t *Target) lendGroup(d *fsroot.Dir, e *protocol.Entry, live *fsroot.Dir) error {
	if t.root {
		return nil
	}
	if gid, ok := t.newGroup(e, live); ok {
		if err := d.ChownSelf(-1, int(gid)); err != nil {
			return err
		}
	}
	return d.ChmodSelf(0o700 | e.Mode&0o2000)
}
