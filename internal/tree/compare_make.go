package tree

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"makuo/internal/fsroot"
	"makuo/protocol"
)

// ensureStage makes the push's staging directory when it is needed first.
func (t *Target) ensureStage() error {
	if t.stage != nil {
		return nil
	}
	s, err := t.m.openPushStage(t.id.String(), true)
	if err != nil {
		return memberError{t.noteFull(err)}
	}
	h := planHeader{id: t.id, boot: bootID(), header: t.header}
	if _, err := s.plan.add(&step{op: opHeader, rest: h.append(nil)}); err != nil {
		return memberError{join(err, s.close())}
	}
	t.stage = s
	return nil
}

// bootID names this run of the kernel: what was written under another one may
// not have reached the disk.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil || len(b) > 64 {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func (t *Target) flushPlan() error {
	if t.stage == nil {
		return nil
	}
	if err := t.stage.plan.flush(); err != nil {
		return memberError{t.noteFull(err)}
	}
	return nil
}

// planStep adds a step. f, if any, is the directory whose names it changes.
func (t *Target) planStep(f *frame, s *step, e *protocol.Entry) (off int64, err error) {
	if f != nil {
		f.touched = true
		if !s.dir.known() {
			if s.dir, err = f.self(); err != nil {
				return 0, err
			}
		}
	}
	if t.dry {
		return 0, t.dryStage()
	}
	if err := t.ensureStage(); err != nil {
		return 0, err
	}
	if e != nil {
		s.rest = appendEntry(nil, s.entry, e)
	}
	off, err = t.stage.plan.add(s)
	if err != nil {
		return 0, memberError{err}
	}
	return off, nil
}

func (t *Target) addStep(f *frame, s *step, e *protocol.Entry) error {
	_, err := t.planStep(f, s, e)
	return err
}

// makeDirectory makes a new directory in the stage: within the new directory
// that f is, or as the top of one.
func (t *Target) makeDirectory(f, child *frame, n uint32, e *protocol.Entry, st *fsroot.Stat) error {
	child.inTree = true
	if !f.inTree {
		child.isTop, child.top, child.keep = true, n, len(e.Path)
	}
	if err := t.mayChange(f, st); err != nil {
		return err
	}
	if t.dry {
		f.touched = true
		t.space.add(0, 0)
		return t.dryStage()
	}
	if err := t.ensureStage(); err != nil {
		return err
	}
	if err := t.space.node(t); err != nil {
		return err
	}
	if f.inTree {
		return t.mkdirStaged(f.dir, child.name, child, e, nil)
	}
	if err := t.mkdirStaged(t.stage.dir, stagedName(n), child, e, f.dir); err != nil {
		return err
	}
	s, err := t.replaceStep(f, opTree, n, e, st)
	if err != nil {
		return err
	}
	return t.addStep(f, &s, e)
}

func (t *Target) mkdirStaged(d *fsroot.Dir, name string, child *frame, e *protocol.Entry, live *fsroot.Dir) (err error) {
	if err := d.Mkdir(name, 0o700); err != nil {
		return err
	}
	if child.dir, err = d.OpenChild(name); err != nil {
		return err
	}
	if child.isTop {
		st, err := child.dir.LstatSelf()
		if err != nil {
			return err
		}
		child.judged = identOf(&st)
	}
	return t.lendGroup(child.dir, e, live)
}

// makeNode makes what needs no content from the origin: symbolic links, fifos,
// devices, empty files.
func (t *Target) makeNode(s *step, e *protocol.Entry) error {
	if err := t.ensureStage(); err != nil {
		return err
	}
	if err := t.space.node(t); err != nil {
		return err
	}
	if e.Type == protocol.EntryRegular {
		return t.storeWhole(s, e, nil)
	}
	d, name, err := t.stage.place(s)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := t.create(d, name, e); err != nil {
		return err
	}
	nd := node{d, name}
	err = t.ownNew(s, e, nd.chown)
	var st fsroot.Stat
	if err == nil {
		st, err = nd.stat()
	}
	if err == nil {
		err = t.apply(nd, e, &st, e.Mode)
	}
	if err != nil {
		return join(err, d.Remove(name))
	}
	return nil
}

// stagedMode is e's mode until just before the rename.
func stagedMode(e *protocol.Entry) uint32 {
	if e.Type == protocol.EntryRegular {
		return e.Mode &^ 0o6000
	}
	return e.Mode
}

var errDevices = errors.New("device nodes are not made on this member (option devices)")

func (t *Target) create(d *fsroot.Dir, name string, e *protocol.Entry) error {
	switch e.Type {
	case protocol.EntrySymlink:
		return d.Symlink(e.Link, name)
	case protocol.EntryFIFO:
		return d.Mkfifo(name, 0o600)
	case protocol.EntryChar, protocol.EntryBlock:
		return d.Mknod(name, fileType(e.Type)|0o600, e.Rdev)
	}
	return fs.ErrInvalid
}
