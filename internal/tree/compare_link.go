package tree

import (
	"fmt"

	"github.com/cespare/xxhash/v2"

	"makuo/internal/fsroot"
	"makuo/protocol"
)

// hardlink is decide for a further name of a file.
func (t *Target) hardlink(f *frame, n uint32, e *protocol.Entry, name string, st *fsroot.Stat) (verdict, error) {
	if first := t.links.first(e.Link); first != e.Link {
		moved := *e
		moved.Link, e = first, &moved
	}
	g := t.links.get(e.Link)
	switch {
	case g == linkNone:
		return verdictNone, fmt.Errorf("is a hard link to %q, which the manifest does not have as a file with links", e.Link)
	case g == linkFailed:
		return t.becomeFirst(f, n, e, name, st)
	case g.keeps(st):
		return verdictNone, nil
	}
	s, err := t.replaceStep(f, opLink, n, e, st)
	if err != nil {
		return verdictNone, err
	}
	return verdictChange, t.addStep(f, &s, e)
}

// becomeFirst is hardlink where the first name can't be placed here: it is
// protected, or failed. This one takes its place: it is decided as the file that
// it is, its content comes under its own number, and further names are links to
// it. If it can't be placed either, the next one is tried.
func (t *Target) becomeFirst(f *frame, n uint32, e *protocol.Entry, name string, st *fsroot.Stat) (verdict, error) {
	first := t.links.failed[xxhash.Sum64String(e.Link)]
	if first == nil {
		return verdictNone, fmt.Errorf("is a hard link to %q, which failed", e.Link)
	}
	own := *first
	own.Path = e.Path
	t.hold.narrow(&own)
	v, err := t.file(f, n, &own, name, st)
	if err != nil {
		return verdictNone, err
	}
	t.links.succeed(e.Link, e.Path)
	t.hold.tellOwner(&own, st)
	t.hold.tellAttrs(&own)
	t.hold.tellTime(&own)
	return v, nil
}
