package tree

import (
	"errors"
	"fmt"
	"io/fs"

	"makuo/internal/fsroot"
	"makuo/protocol"
)

// want notes that the entry of step s needs content. Entries come in rising order.
func (t *Target) want(s *step, e *protocol.Entry, off int64) {
	t.space.add(0, e.Content())
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts.Bytes += e.Content()
	if !t.dry {
		w := want{entry: s.entry, off: off}
		if len(e.Xattrs) == 0 { // their values may lie in what e was parsed from
			w.held = &heldStep{s.flags, s.top, s.keep, e}
		}
		t.wants.add(w)
	}
}

// claim takes the open want n for the caller alone.
func (t *Target) claim(n uint32) (claimed want, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.wants.find(n)
	if w == nil || w.state != wantOpen {
		return want{}, false
	}
	w.state = wantBusy
	return *w, true
}

// settle ends what claim began. err is a Problem of the path unless fatal.
func (t *Target) settle(n uint32, path string, err error) error {
	if isFatal(err) {
		return t.atPath(path, err)
	}
	t.mu.Lock()
	state := wantDone
	if err != nil {
		state = wantFailed
		t.counts.Changed--
	}
	t.wants.settle(n, state)
	t.mu.Unlock()
	t.storedFiles.Add(1)
	return t.fail(path, err)
}

// Store takes the records of one data block, whose hash is blockHash. Records
// of entries that this member does not want, or has already, are passed over.
func (t *Target) Store(pieces []protocol.Piece, blockHash uint64) error {
	if t.stage == nil && t.wants.n > 0 {
		return fmt.Errorf("push %s: a block came after it was committed or discarded", t.id)
	}
	var r *planReader
	for i := range pieces {
		p := &pieces[i]
		t.mu.Lock()
		skip := !t.wants.isOpen(p.Entry)
		t.mu.Unlock()
		if skip {
			continue
		}
		if r == nil {
			r = newPlanReader(t.stage.plan.f)
		}
		if err := t.piece(r, p, blockHash); err != nil {
			return err
		}
	}
	return nil
}

func (t *Target) piece(r *planReader, p *protocol.Piece, blockHash uint64) error {
	switch p.Type {
	case protocol.PieceWhole:
		return t.whole(r, p)
	case protocol.PieceFail:
		return t.failed(p.Entry)
	}
	return t.part(r, p, blockHash)
}

// load reads the step and entry of a want.
func (t *Target) load(r *planReader, w want) (step, *protocol.Entry, error) {
	if w.held != nil {
		return w.held.step(w.entry), w.held.entry, nil
	}
	s, err := r.at(w.off)
	if err != nil {
		return s, nil, memberError{fmt.Errorf("plan at %d: %w", w.off, err)}
	}
	e, err := s.manifestEntry()
	if err != nil {
		return s, nil, memberError{err}
	}
	return s, e, nil
}

func (t *Target) whole(r *planReader, p *protocol.Piece) error {
	w, ok := t.claim(p.Entry)
	if !ok {
		return nil
	}
	s, e, err := t.load(r, w)
	if err != nil {
		return err
	}
	if uint64(len(p.Data)) != e.Size {
		err = fmt.Errorf("%d bytes came where the manifest says %d", len(p.Data), e.Size)
	} else {
		err = t.storeWhole(&s, e, p.Data)
	}
	return t.settle(p.Entry, e.Path, err)
}

// storeWhole makes one small file: create, write, owner, attributes, mode,
// time, close; what is right already is left out.
func (t *Target) storeWhole(s *step, e *protocol.Entry, data []byte) error {
	d, name, err := t.stage.place(s)
	if err != nil {
		return err
	}
	defer d.Close()
	perm := createMode(e)
	fd, err := d.CreateFD(name, perm)
	if err != nil {
		return err
	}
	if err = fsroot.WriteFD(fd, data); err == nil {
		t.stored.Add(int64(len(data)+4095) &^ 4095)
		err = t.dress(fd, perm&^fsroot.Umask(), s, e)
	}
	if cerr := fsroot.CloseFD(fd); err == nil {
		err = cerr
	}
	if err != nil {
		return join(err, absentOK(d.Remove(name)))
	}
	return nil
}

// createMode is the mode with which e is made in the stage, where nobody else
// can reach it: its own, which spares setting it, unless attributes follow,
// which want the right to write and may move the mode.
func createMode(e *protocol.Entry) uint32 {
	if mode := stagedMode(e); mode&^0o777 == 0 && len(e.Xattrs) == 0 {
		return mode
	}
	return 0o600
}

// dress gives a file that was just created for step s, with mode have, its
// attributes.
func (t *Target) dress(fd int, have uint32, s *step, e *protocol.Entry) error {
	if err := t.ownNew(s, e, func(uid, gid int) error { return fsroot.ChownFD(fd, uid, gid) }); err != nil {
		return err
	}
	if len(e.Xattrs) > 0 {
		set := func(x protocol.Xattr) error {
			return t.setAttr(e, x, func(name string, value []byte) error { return fsroot.SetXattrFD(fd, name, value) })
		}
		if err := inOrder(t.hold.wanted(e), set); err != nil {
			return err
		}
	}
	if mode := stagedMode(e); mode != have || len(e.Xattrs) > 0 {
		if err := fsroot.ChmodFD(fd, mode); err != nil {
			return err
		}
	}
	return fsroot.UtimesFD(fd, e.Sec, e.Nsec)
}

// ownNew gives what was just made for step s its owner.
func (t *Target) ownNew(s *step, e *protocol.Entry, chown func(uid, gid int) error) error {
	uid, gid := uint32(noID), uint32(noID)
	if t.root {
		if u := t.m.accounts.userID(e.User); t.m.may.user(u) {
			uid = u
		}
		if g := t.m.accounts.groupID(e.Group); t.m.may.group(g) {
			gid = g
		}
		if uid == 0 && gid == t.stage.st.GID {
			return nil
		}
	} else if g, ok := t.newGroupOf(s, e); ok {
		gid = g
	}
	if uid == noID && gid == noID {
		return nil
	}
	return t.give(uid, gid, true, chown)
}

// failed drops what there is of a file that the origin can't send: the old one
// stays, and the origin reports the path.
func (t *Target) failed(n uint32) error {
	w, ok := t.claim(n)
	if !ok {
		return nil
	}
	s, _, err := t.load(newPlanReader(t.stage.plan.f), w)
	if err != nil {
		return err
	}
	t.mu.Lock()
	t.wants.settle(n, wantFailed)
	t.counts.Changed--
	t.holdFor(s.path)
	if !s.has(stepExists) {
		t.addProblem(protocol.Problem{Warning: true, Path: s.path, Text: "is not here: the origin could not send it"})
	}
	pf := t.parts[n]
	delete(t.parts, n)
	t.mu.Unlock()
	return t.drop(n, pf)
}

// drop removes a file of which only parts are there.
func (t *Target) drop(n uint32, pf *partFile) error {
	if pf == nil {
		return nil
	}
	pf.mu.Lock()
	defer pf.mu.Unlock()
	pf.gone = true
	pf.closeFile()
	err := t.stage.dir.Remove(partName(n))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
