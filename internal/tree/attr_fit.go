package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"makuo/internal/fsroot"
	"makuo/protocol"
)

// What a file system has room for beside a file differs: ext4 one block for all
// attributes together, XFS 64 KiB each, tmpfs what memory allows. An attribute
// that does not fit is an error of its path at each push, and keeps nothing else
// of the path back. So that this is known while the member compares, and an
// entry that lacks nothing else counts as unchanged, large attributes are tried
// on a file without a name, which is gone when it is closed.

// alwaysFits is up to how many bytes of attributes are not tried: the smallest
// block of ext4 has room for them.
const alwaysFits = 500

// maxFits bounds the remembered shapes of attributes.
const maxFits = 1000

// unfit returns for the attributes that do not fit here why, nil if all do.
func (h *holdable) unfit(xs []protocol.Xattr) map[string]error {
	total := 0
	for _, x := range xs {
		total += protocol.XattrSize(x.Name, x.Value)
	}
	if total <= alwaysFits {
		return nil
	}
	shape := shapeOf(xs)
	h.mu.Lock()
	defer h.mu.Unlock()
	bad, known := h.fits[shape]
	if known {
		return bad
	}
	bad, ok := h.try(xs)
	if ok {
		if h.fits == nil || len(h.fits) >= maxFits {
			h.fits = make(map[string]map[string]error)
		}
		h.fits[shape] = bad
	}
	return bad
}

// shapeOf returns what decides whether attributes fit: their names and lengths.
func shapeOf(xs []protocol.Xattr) string {
	var b strings.Builder
	for _, x := range xs {
		b.WriteString(x.Name)
		b.WriteByte(0)
		b.WriteString(strconv.Itoa(len(x.Value)))
		b.WriteByte(0)
	}
	return b.String()
}

// try sets the attributes on a file without a name. ok is false if that says
// nothing: no such file can be made, or the file system is nearly full.
func (h *holdable) try(xs []protocol.Xattr) (bad map[string]error, ok bool) {
	f, err := h.t.m.Root.Unnamed()
	if err != nil {
		return nil, false
	}
	defer f.Close()
	_ = fsroot.RemoveXattrFile(f, aclAccess) // what a default ACL has given it takes room
	ok = true
	_ = inOrder(xs, func(x protocol.Xattr) error {
		if x.Name == aclDefault { // not for files
			return nil
		}
		err := fsroot.SetXattrFile(f, x.Name, x.Value)
		switch {
		case err == nil || !isUnfitErrno(err):
		case isFullErrno(err) && h.nearlyFull():
			ok = false
		default:
			if bad == nil {
				bad = make(map[string]error)
			}
			bad[x.Name] = cause(err)
		}
		return nil
	})
	if !ok {
		return nil, false
	}
	return bad, true
}

// nearlyFull reports whether "no space" may mean the disk and not the attribute.
func (h *holdable) nearlyFull() bool {
	sp, err := h.t.m.Root.Statfs()
	return err != nil || sp.Bytes < reserveBytes/16
}

// tellAttrs reports the attributes of e that do not fit here.
func (h *holdable) tellAttrs(e *protocol.Entry) {
	if len(e.Xattrs) == 0 {
		return
	}
	xs := h.ofKinds(e)
	bad := h.unfit(xs)
	var texts []string
	for _, x := range xs {
		if err := bad[x.Name]; err != nil {
			texts = append(texts, attrError(x, err))
		}
	}
	if len(texts) > 0 {
		h.t.attrFailed(e.Path, someOf(texts))
	}
}

func attrError(x protocol.Xattr, err error) string {
	return fmt.Sprintf("attribute %s of %s can't be set here: %s", x.Name, plural(len(x.Value), "byte"), attrCause(err))
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// attrFailed notes attributes that can't be set: an error of the path that
// keeps neither its content nor any deletion back.
func (t *Target) attrFailed(path, text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.addProblem(protocol.Problem{Path: path, Text: text})
}

// attrCause says of the two errors that speak of the disk what they mean here.
func attrCause(err error) string {
	var sys *os.SyscallError
	if err = cause(err); errors.As(err, &sys) {
		err = sys.Err
	}
	if isFullErrno(err) {
		return "it does not fit: " + err.Error()
	}
	return err.Error()
}

// setAttr sets one attribute by set. Only an error of the disk is returned:
// any other is one of the attribute.
func (t *Target) setAttr(e *protocol.Entry, x protocol.Xattr, set func(name string, value []byte) error) error {
	err := t.hold.permitted(x.Name, set(x.Name, x.Value))
	if err == nil {
		return nil
	}
	if isFatalErrno(err) && !isFullErrno(err) || errors.Is(err, fs.ErrNotExist) {
		return xattrError{err}
	}
	if x.Name == aclAccess {
		withoutACL(e, x.Value)
	}
	t.attrFailed(e.Path, attrError(x, err))
	return nil
}
