package tree

import (
	"fmt"

	"makuo/internal/fsroot"
	"makuo/protocol"
)

// keepFull keeps a pushed directory from being emptied by an origin that has
// nothing in it: more often than not a file system is not mounted there. Of a
// directory below it that is empty at the origin, the listing of what is pushed
// vouches.
func (t *Target) keepFull(f *frame) error {
	if !f.deletes || f.filled || t.header.Options&protocol.OptForceEmpty != 0 || f.pushed != f.path {
		return nil
	}
	d := deletion{from: f, op: opDelete}
	going := 0
	for i := range f.names.Len() {
		if t.mayGo(&d, joinPath(f.path, f.names.Name(i)), f.names.Type(i) == fsroot.TypeDir) {
			going++
		}
	}
	if going == 0 {
		return nil
	}
	f.deletes = false
	noun := "entries"
	if going == 1 {
		noun = "entry"
	}
	return t.fail(f.path, fmt.Errorf("is empty at the origin and has %d %s here: nothing in it was deleted; give --force-empty to empty it", going, noun))
}
