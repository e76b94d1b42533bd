package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"makuo/internal/fsroot"
	"makuo/protocol"
)

// Names in the directory of one push. Staged entries are "e" and their number.
const (
	planName  = "plan"
	markName  = "mark"  // there: the push is to be committed
	readyName = "ready" // becomes the mark, so that marking needs no inode
)

func stagedName(entry uint32) string { return "e" + strconv.FormatUint(uint64(entry), 16) }
func partName(entry uint32) string   { return "p" + strconv.FormatUint(uint64(entry), 16) }
func oldName(entry uint32) string    { return "o" + strconv.FormatUint(uint64(entry), 16) }

// stageArea is the staging directory of a module: it is there while somebody
// uses it, or something is left in it. It is held by descriptor: whatever takes
// its name meanwhile is not looked at.
type stageArea struct {
	mu     sync.Mutex
	users  int
	root   *fsroot.Root // the staging directory itself
	parent *fsroot.Dir  // in which it lies
	proof  proof
}

// stageParent opens the directory in which the staging directory lies.
func (m *Module) stageParent() (*fsroot.Dir, error) {
	if m.areaRel != "" {
		dir, _ := splitPath(m.areaRel)
		return m.Root.OpenDir(dir)
	}
	r, err := fsroot.Open(filepath.Dir(m.stageDir))
	if err != nil {
		return nil, err
	}
	if r.Dev() != m.Root.Dev() {
		r.Close()
		return nil, fmt.Errorf("is on another file system than %s; files can't be renamed from there", m.cfg.Base)
	}
	d, err := r.OpenDir(".")
	if err != nil {
		r.Close()
	}
	return d, err
}

// closeParent closes what stageParent opened.
func (m *Module) closeParent(d *fsroot.Dir) {
	d.Close()
	if d.Root() != m.Root {
		d.Root().Close()
	}
}

// acquireStage opens the staging directory, makes it if need be, and keeps it
// there until releaseStage. The time of the directory it lies in stays what it
// was. The root it returns is the staging directory itself.
func (m *Module) acquireStage() (*fsroot.Root, error) { return m.useStage(true) }

// existingStage is acquireStage that makes nothing; the error is
// fs.ErrNotExist if there is none.
func (m *Module) existingStage() (*fsroot.Root, error) { return m.useStage(false) }

func (m *Module) useStage(create bool) (*fsroot.Root, error) {
	a := &m.area
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.users == 0 {
		if err := m.openStage(create); err != nil {
			return nil, fmt.Errorf("staging directory %s: %w", m.stageDir, err)
		}
	}
	a.users++
	return a.root, nil
}

func (m *Module) openStage(create bool) error {
	parent, err := m.stageParent()
	if err != nil {
		return err
	}
	name := filepath.Base(m.stageDir)
	d, err := parent.OpenChild(name)
	switch {
	case err == nil:
		err = m.area.proof.judge(m.stageDir, d)
	case !errors.Is(err, fs.ErrNotExist):
		err = refuseOther(m.stageDir, parent, name, err)
	case create:
		d, err = m.area.proof.makeStage(parent, name)
	}
	var root *fsroot.Root
	if err == nil {
		root, err = d.AsRoot()
	}
	if d != nil {
		d.Close()
	}
	if err != nil {
		m.closeParent(parent)
		return err
	}
	m.area.root, m.area.parent = root, parent
	return nil
}

// makeStage makes the staging directory and notes that it did.
func (p *proof) makeStage(parent *fsroot.Dir, name string) (*fsroot.Dir, error) {
	if err := keepTime(parent, func() error { return parent.Mkdir(name, 0o700) }); err != nil {
		return nil, err
	}
	d, err := parent.OpenChild(name)
	if err != nil {
		return nil, err
	}
	st, err := d.LstatSelf()
	if err == nil && st.UID != uint32(os.Geteuid()) {
		err = foreignStage(name, &st, "it was put in the place of the one just made")
	}
	for _, acl := range [...]string{aclDefault, aclAccess} {
		if err == nil {
			if err = d.RemoveXattrSelf(acl); errors.Is(err, fsroot.ErrNoXattr) || errors.Is(err, fsroot.ErrUnsupported) {
				err = nil
			}
		}
	}
	if err == nil {
		err = d.ChmodSelf(0o700)
	}
	if err == nil {
		err = p.record(&st)
	}
	if err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// keepTime runs f, which makes or removes a name in d, and sets d's time back.
// Who may write in a directory that is not his can't set its time.
func keepTime(d *fsroot.Dir, f func() error) error {
	st, err := d.LstatSelf()
	if err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	if err := d.UtimesSelf(st.Sec, st.Nsec); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}

// releaseStage gives the use back; the last user removes the directory if it
// is empty.
func (m *Module) releaseStage() error {
	a := &m.area
	a.mu.Lock()
	defer a.mu.Unlock()
	a.users--
	if a.users > 0 {
		return nil
	}
	root, parent := a.root, a.parent
	a.root, a.parent = nil, nil
	defer m.closeParent(parent)
	defer root.Close()
	d, err := root.OpenDir(".")
	if err != nil {
		return err
	}
	defer d.Close()
	names, err := d.Names()
	if err != nil || names.Len() > 0 {
		return err
	}
	return a.removeStage(parent, d, filepath.Base(m.stageDir))
}

// removeStage removes the empty staging directory d, if its name still leads
// to it: what was put in its place is somebody else's.
func (a *stageArea) removeStage(parent, d *fsroot.Dir, name string) error {
	own, err := d.LstatSelf()
	if err != nil {
		return err
	}
	st, err := parent.Lstat(name)
	if err != nil {
		return absentOK(err)
	}
	if st.Dev != own.Dev || st.Ino != own.Ino {
		return nil
	}
	if err := keepTime(parent, func() error { return parent.Rmdir(name) }); err != nil {
		return absentOK(err)
	}
	return a.proof.forget()
}

// pushStage is the directory of one push in the staging directory.
type pushStage struct {
	m    *Module
	root *fsroot.Root // the staging directory
	path string       // of this directory below root: its name
	dir  *fsroot.Dir
	plan *plan
	st   fsroot.Stat // of dir: new files get the same group
}

// openPushStage opens the directory of a push, and makes it anew if create.
func (m *Module) openPushStage(name string, create bool) (*pushStage, error) {
	root, err := m.useStage(create)
	if err != nil {
		return nil, err
	}
	s := &pushStage{m: m, root: root, path: name}
	if err := s.open(name, create); err != nil {
		return nil, join(fmt.Errorf("staging directory %s: %w", m.stageDir, err), m.releaseStage())
	}
	return s, nil
}

func (s *pushStage) open(name string, create bool) error {
	area, err := s.root.OpenDir(".")
	if err != nil {
		return err
	}
	defer area.Close()
	if create {
		if _, err := throwAway(area, name); err != nil {
			return err
		}
		if err := area.Mkdir(name, 0o700); err != nil {
			return err
		}
	}
	if s.dir, err = area.OpenChild(name); err != nil {
		return err
	}
	if s.st, err = s.dir.LstatSelf(); err != nil {
		s.dir.Close()
		return err
	}
	if create {
		var f *os.File
		if f, err = s.dir.Create(planName, 0o600); err == nil {
			s.plan = newPlan(f)
		}
	} else {
		var f *os.File
		if f, err = s.dir.OpenRead(planName); err == nil {
			s.plan = &plan{f: f}
		}
	}
	if err != nil {
		s.dir.Close()
	}
	return err
}

// close closes what is open and gives the staging directory back.
func (s *pushStage) close() error {
	s.root.Invalidate(s.path)
	s.plan.f.Close()
	s.dir.Close()
	return s.m.releaseStage()
}

// remove removes the directory with all that is in it. left is why something in
// it can't be removed: that is set aside, and stands in nobody's way.
func (s *pushStage) remove() (left, err error) {
	s.root.Invalidate(s.path)
	area, err := s.root.OpenDir(".")
	if err != nil {
		return nil, err
	}
	defer area.Close()
	// Without its plan a directory is rubbish: what a crash leaves is never
	// taken for a push again.
	if err := absentOK(s.dir.Remove(planName)); err != nil {
		return nil, err
	}
	return throwAway(area, s.path)
}

// rubbishPrefix marks what could not be removed, such as an immutable file that
// came into the stage with the directory it lay in. It is tried again with each
// push.
const rubbishPrefix = "rubbish-"

// throwAway removes name from the staging directory. What can't be removed is
// set aside, and left says why; err is for what can't even be moved.
func throwAway(area *fsroot.Dir, name string) (left, err error) {
	left = area.RemoveTree(name)
	if left == nil {
		return nil, nil
	}
	aside := rubbishPrefix + strconv.FormatInt(time.Now().UnixNano(), 16)
	if err := area.Rename(name, area, aside); err != nil {
		return nil, join(left, err)
	}
	return left, nil
}

// place returns the directory and name under which step s is staged. The
// caller closes the directory.
func (s *pushStage) place(st *step) (*fsroot.Dir, string, error) {
	if !st.has(stepInTree) || len(st.path) == st.keep {
		d, err := s.root.Dir(s.path)
		return d, stagedName(stageNumber(st)), err
	}
	dir, name := splitPath(st.path[st.keep+1:])
	top := s.path + "/" + stagedName(st.top)
	if dir != "." {
		top += "/" + dir
	}
	d, err := s.root.Dir(top)
	return d, name, err
}

func stageNumber(st *step) uint32 {
	if st.has(stepInTree) {
		return st.top
	}
	return st.entry
}

// fatalErrors are those that concern the member and not one path.
func isFatal(err error) bool {
	if err == nil {
		return false
	}
	var x xattrError
	if errors.As(err, &x) {
		return false
	}
	return errors.Is(err, errDisk) || isFatalErrno(err)
}

// errDisk is what errors match that concern the member as a whole.
var errDisk = errors.New("the member can't go on")

// memberError is an error of the member as a whole.
type memberError struct{ err error }

func (e memberError) Error() string {
	if errors.Is(e.err, errDisk) { // has said so
		return e.err.Error()
	}
	return errDisk.Error() + ": " + e.err.Error()
}

func (e memberError) Unwrap() error { return e.err }

func (e memberError) Is(target error) bool { return target == errDisk }

// join is errors.Join for texts of one line.
func join(errs ...error) error { return fsroot.Join(errs...) }

// fail makes err a Problem of path, or returns it if it concerns the member.
func (t *Target) fail(path string, err error) error {
	if err == nil {
		return nil
	}
	if isFatal(err) {
		return t.atPath(path, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.holdFor(path)
	t.addProblem(protocol.Problem{Path: path, Text: reason(err)})
	return nil
}

// reason drops the path from an error's text where that is the path it is
// about anyway: the log has it already.
func reason(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		text := err.Error()
		return strings.Replace(text, p.Error(), p.Op+": "+p.Err.Error(), 1)
	}
	var l *os.LinkError
	if errors.As(err, &l) {
		return strings.Replace(err.Error(), l.Error(), l.Op+": "+l.Err.Error(), 1)
	}
	return err.Error()
}

// maxHeld bounds the memory for directories with errors.
const maxHeld = 100_000

// holdFor keeps everything in the directory of path from being deleted.
func (t *Target) holdFor(path string) {
	dir, _ := splitPath(path)
	if len(t.held) >= maxHeld {
		t.holdAll = true
		return
	}
	t.held[dir] = true
}

func (t *Target) addProblem(p protocol.Problem) {
	if len(p.Text) > protocol.MaxText {
		p.Text = strings.ToValidUTF8(p.Text[:protocol.MaxText-3], "") + "..."
	}
	if p.Warning {
		t.counts.Warnings++
	} else {
		t.counts.Errors++
	}
	t.problems.add(p.Append(nil))
}

// warn adds a warning, once for each key.
func (t *Target) warn(key, path, text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.warned[key] {
		t.warned[key] = true
		t.addProblem(protocol.Problem{Warning: true, Path: path, Text: text})
	}
}

func (t *Target) logDeleted(path string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts.Deleted++
	p := protocol.DeletedPath{Path: path}
	t.deletes.add(p.Append(nil))
}

func (t *Target) counted(f func(c *protocol.Counts)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f(&t.counts)
}

// LogSize returns the length of a log in bytes.
func (t *Target) LogSize(kind protocol.PageKind) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.log(kind).size
}

// ReadLog reads from a log like io.ReaderAt. The log of deletions holds what
// was removed, on a dry run what would be.
func (t *Target) ReadLog(kind protocol.PageKind, p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("log of a push: offset %d", off)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.log(kind).readAt(p, off)
}

func (t *Target) log(kind protocol.PageKind) *pageLog {
	if kind == protocol.PageDeletes {
		return &t.deletes
	}
	return &t.problems
}

// Counts returns the totals so far. Before the commit Deleted is what the plan
// removes, after it what was removed.
func (t *Target) Counts() protocol.Counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.counts
	if t.staged && !t.marked && !t.dry && !t.noDelete {
		c.Deleted = t.going
	}
	return c
}
