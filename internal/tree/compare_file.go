package tree

import (
	"makuo/internal/fsroot"
	"makuo/protocol"
)

// file is decide for everything that is neither directory nor hard link.
func (t *Target) file(f *frame, n uint32, e *protocol.Entry, name string, st *fsroot.Stat) (verdict, error) {
	nd := node{f.dir, name}
	same, err := t.sameContent(nd, e, st)
	if err != nil {
		return verdictNone, err
	}
	if same && st.Nlink > 1 {
		// Two entries that are separate at the origin may not stay one file here.
		same = !t.links.taken(st)
	}
	if same {
		lent, err := t.lends(nd, e, st)
		if err != nil {
			return verdictNone, err
		}
		same = !lent
	}
	if !same {
		return t.replace(f, n, e, st)
	}
	if e.Flags&protocol.EntryLinked != 0 {
		t.links.keep(e.Path, st)
	}
	differs, err := t.differs(nd, e, st, &f.plain)
	if err != nil || !differs {
		return verdictNone, err
	}
	if !t.mayAdjust(e.Path, st) {
		return verdictNone, nil
	}
	if err := fixed(st); err != nil {
		return verdictNone, err
	}
	s := step{op: opAttr, entry: n, path: e.Path, was: identOf(st)}
	if s.dir, err = f.self(); err != nil {
		return verdictNone, err
	}
	return verdictChange, t.addStep(nil, &s, e)
}

// replace makes a new file, link, fifo or device, or puts one in the place of
// what is there.
func (t *Target) replace(f *frame, n uint32, e *protocol.Entry, st *fsroot.Stat) (verdict, error) {
	op := opNode
	if e.Type == protocol.EntryRegular {
		op = opFile
	}
	err := t.mayMake(e)
	if err != nil {
		return verdictNone, err
	}
	s, err := t.replaceStep(f, op, n, e, st)
	if err != nil {
		return verdictNone, err
	}
	if op == opFile && e.Mode&0o6000 != 0 {
		s.flags |= stepLate
	}
	if e.Type == protocol.EntrySymlink {
		s.flags |= stepSymlink
	}
	v := verdictChange
	switch {
	case op == opFile && e.Size > 0:
		have, err := t.reuse(&s, e)
		if err != nil {
			return verdictNone, err
		}
		if !have {
			v = verdictData
		}
	case t.dry:
		t.space.add(0, 0)
	default:
		if err := t.makeNode(&s, e); err != nil {
			return verdictNone, err
		}
	}
	off, err := t.planStep(f, &s, e)
	if err != nil {
		return verdictNone, err
	}
	if e.Flags&protocol.EntryLinked != 0 {
		t.links.stage(e.Path, off)
	}
	if v == verdictData {
		t.want(&s, e, off)
	}
	return v, nil
}

// replaceStep prepares a step that puts something new at e's path. It refuses
// what may not be replaced, and plans the contents of a directory that goes.
func (t *Target) replaceStep(f *frame, op stepOp, n uint32, e *protocol.Entry, st *fsroot.Stat) (step, error) {
	s := step{op: op, entry: n, path: e.Path}
	if err := t.mayChange(f, st); err != nil {
		return s, err
	}
	if f.inTree {
		s.flags, s.top, s.keep = stepInTree, f.top, f.keep
	}
	if err := f.changeable(st); err != nil {
		return s, err
	}
	if st == nil {
		return s, nil
	}
	s.was = identOf(st)
	s.flags |= stepExists
	if !st.IsDir() {
		return s, nil
	}
	s.flags |= stepWasDir
	_, name := splitPath(e.Path)
	return s, t.emptyOut(f, n, e.Path, name)
}
