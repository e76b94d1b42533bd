package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"makuo/internal/fsroot"
)

// proof knows which staging directory this daemon made. Whoever may write in a
// module may put anything under the stage's name there; a plan that was planted
// would be carried out with the daemon's rights. So a stage counts only if its
// identity stands in the daemon's own state directory, and if its owner and
// mode keep everybody else out of it. What is in such a directory was put there
// by this daemon: it was made with mode 0700 and never had another.
//
// The file holds "BOOT DEVICE INODE\n". Device numbers may change when the
// machine starts anew; under another boot only the inode counts, beside owner,
// mode and the file system of the module.
type proof struct {
	path   string // "": known to this process only
	memory string
}

func proofText(st *fsroot.Stat) string {
	boot := bootID()
	if boot == "" {
		boot = "-"
	}
	return fmt.Sprintf("%s %d %d\n", boot, st.Dev, st.Ino)
}

// record notes, on disk, that this daemon made the directory st.
func (p *proof) record(st *fsroot.Stat) error {
	p.memory = proofText(st)
	if p.path == "" {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(p.path), ".tmp-*")
	if err != nil {
		return err
	}
	_, err = f.WriteString(p.memory)
	err = join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), p.path)
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	d, err := os.Open(filepath.Dir(p.path))
	if err != nil {
		return err
	}
	return join(d.Sync(), d.Close())
}

// holds reports whether this daemon made the directory st.
func (p *proof) holds(st *fsroot.Stat) (bool, error) {
	text := p.memory
	if text == "" && p.path != "" {
		b, err := os.ReadFile(p.path)
		if err != nil {
			return false, absentOK(err)
		}
		text = string(b)
	}
	if text == "" {
		return false, nil
	}
	now := strings.Fields(proofText(st))
	then := strings.Fields(text)
	if len(then) != 3 || !strings.HasSuffix(text, "\n") {
		return false, nil // cut off: as if there were none
	}
	return then[2] == now[2] && (then[0] != now[0] || then[1] == now[1]), nil
}

// forget is called when the directory is gone.
func (p *proof) forget() error {
	p.memory = ""
	if p.path == "" {
		return nil
	}
	return absentOK(os.Remove(p.path))
}

// errForeignStage is wrapped by the error for a stage that this daemon did not
// make, or that others may write.
var errForeignStage = errors.New("was not made by this daemon, and nothing in it is used or touched")

// foreignStage refuses what lies under the stage's name.
func foreignStage(path string, st *fsroot.Stat, why string) error {
	return fmt.Errorf("%s %w: %s (owner %d, mode %04o): look at who made it, remove it, and push again", path, errForeignStage, why, st.UID, st.Perm())
}

// judge reports whether the open directory d, found under the stage's name, may
// be used; it takes an empty one of this user's that nobody else may enter.
func (p *proof) judge(path string, d *fsroot.Dir) error {
	st, err := d.LstatSelf()
	if err != nil {
		return err
	}
	switch {
	case st.UID != uint32(os.Geteuid()):
		return foreignStage(path, &st, "it belongs to another user")
	case st.Perm() != 0o700:
		return foreignStage(path, &st, "its mode is not 0700")
	}
	if ok, err := p.holds(&st); err != nil || ok {
		return err
	}
	names, err := d.Names()
	if err != nil {
		return err
	}
	if names.Len() > 0 {
		return foreignStage(path, &st, "the state directory does not know it")
	}
	return p.record(&st) // made, and a crash came before it was noted
}

// refuseOther is about what lies under the stage's name and is no directory.
func refuseOther(path string, parent *fsroot.Dir, name string, err error) error {
	st, serr := parent.Lstat(name)
	if serr != nil || st.IsDir() || errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return foreignStage(path, &st, "it is no directory")
}
