package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"makuo/internal/fsroot"
	"makuo/protocol"
)

// What this member may not do is found while it compares, by asking the kernel
// and not by trying: so a dry run ends with the errors of a push, and a push
// asks for no content that it can't put in its place.

// checks reports whether this is a check: it wants to know what differs, on a
// member that can't be changed as well.
func (t *Target) checks() bool { return t.header.Options&protocol.OptCheck != 0 }

// mayChange returns why no name of f's directory can be made, or st, if any, be
// replaced or removed.
func (t *Target) mayChange(f *frame, st *fsroot.Stat) error {
	if f.inTree || f.dir == nil || t.checks() {
		return nil
	}
	if !f.asked {
		f.asked = true
		f.refused = t.writable(f.dir)
		if f.refused == nil && !t.m.may.fowner {
			f.sticky = t.stickyOfOthers(f.dir)
		}
	}
	if f.refused == nil && f.sticky && st != nil && st.UID != t.hold.me {
		return fmt.Errorf("belongs to user %d, in a directory with the sticky bit: it can't be replaced or removed by user %d", st.UID, t.hold.me)
	}
	return f.refused
}

// writable returns why names in d can't be changed. What only the mode of an
// own directory forbids, commit permits for as long as it needs.
func (t *Target) writable(d *fsroot.Dir) error {
	if t.checks() {
		return nil
	}
	err := d.Writable()
	if err == nil {
		return nil
	}
	if errors.Is(err, fs.ErrPermission) {
		if st, serr := d.LstatSelf(); serr == nil && st.UID == t.hold.me && st.Perm()&0o300 != 0o300 {
			return nil
		}
	}
	return fmt.Errorf("no name can be changed in its directory: %w", cause(err))
}

func (t *Target) stickyOfOthers(d *fsroot.Dir) bool {
	st, err := d.LstatSelf()
	return err == nil && st.Perm()&0o1000 != 0 && st.UID != t.hold.me
}

// mayAdjust reports whether mode, times and attributes of what st is can be
// changed; where not, it is an error of the path, which keeps nothing else back.
func (t *Target) mayAdjust(path string, st *fsroot.Stat) bool {
	if t.m.may.fowner || st.UID == t.hold.me || t.checks() {
		return true
	}
	t.attrFailed(path, fmt.Sprintf("belongs to user %d: mode, times and attributes can't be changed by user %d", st.UID, t.hold.me))
	return false
}

// mayTouch is mayAdjust of a directory in which names are changed.
func (t *Target) mayTouch(f *frame) bool {
	if t.m.may.fowner || f.inTree || f.dir == nil {
		return true
	}
	st, err := f.dir.LstatSelf()
	return err != nil || t.mayAdjust(f.path, &st)
}

// mayMake returns why e can't be made on this member whatever its place.
func (t *Target) mayMake(e *protocol.Entry) error {
	if e.Type != protocol.EntryChar && e.Type != protocol.EntryBlock || t.checks() {
		return nil
	}
	switch {
	case !t.m.cfg.Devices:
		return errDevices
	case !t.m.may.mknod:
		return errors.New("device nodes can't be made: the daemon lacks the privilege (CAP_MKNOD)")
	}
	return nil
}

// dryStage is ensureStage of a dry run: it looks whether the staging directory
// could be made, or written to.
func (t *Target) dryStage() error {
	if t.stageSeen || t.checks() {
		return nil
	}
	t.stageSeen = true
	if err := t.m.stageable(); err != nil {
		return memberError{fmt.Errorf("staging directory %s: %w", t.m.stageDir, err)}
	}
	return nil
}

// stageable returns why nothing can be staged.
func (m *Module) stageable() error {
	parent, err := m.stageParent()
	if err != nil {
		return err
	}
	defer m.closeParent(parent)
	d, err := parent.OpenChild(filepath.Base(m.stageDir))
	if errors.Is(err, fs.ErrNotExist) {
		return parent.Writable()
	}
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Writable()
}
