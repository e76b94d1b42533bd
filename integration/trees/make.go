//go:build linux

package trees

import (
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Small makes n files of 0 to 2 KiB under root, 100 in a directory, and 10
// directories in a directory. Contents follow from the seed.
func Small(root string, n int, seed uint64) error {
	rnd := rand.New(rand.NewPCG(seed, 1))
	var dir string
	for i := range n {
		if i%100 == 0 {
			dir = filepath.Join(root, fmt.Sprintf("d%03d", i/1000), fmt.Sprintf("e%d", i/100%10))
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
		}
		data := randomText(rnd, rnd.IntN(2048))
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("f%02d.txt", i%100)), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// randomText is text that shrinks to about two thirds when it is compressed.
func randomText(rnd *rand.Rand, n int) []byte {
	const letters = "abcdefghijklmnopqrstuvwxyz      \n"
	out := make([]byte, n)
	for i := range out {
		out[i] = letters[rnd.IntN(len(letters))]
	}
	return out
}

// Random writes a file of size bytes that cannot be compressed.
func Random(name string, size int64, seed uint64) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	_, err = io.CopyN(f, rand.NewChaCha8(key), size)
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// Copy copies a tree with everything in it by cp -a.
func Copy(from, to string) error {
	if out, err := exec.Command("cp", "-a", "--", from, to).CombinedOutput(); err != nil {
		return fmt.Errorf("copying %s to %s: %w: %s", from, to, err, out)
	}
	return nil
}

// Zoo makes a tree at root with one of everything that a push carries. What
// needs root (owners, devices) is left out for others; so are extended attributes
// where the file system has none.
func Zoo(root string, devices bool) error {
	z := zoo{root: root}
	z.dir("empty", 0o755)
	z.dir("dir", 0o750)
	z.dir("sticky", 0o777|fs.ModeSticky)
	z.dir("group", 0o755|fs.ModeSetgid)
	z.file("file", 0o644, "content\n")
	z.file("nothing", 0o600, "")
	z.file("program", 0o4755, "#!/bin/sh\n")
	z.file("dir/private", 0o600, "secret\n")
	z.file("dir/read-only", 0o444, "read me\n")
	z.file("name with spaces\nand a line feed \xff", 0o644, "odd\n")
	z.file("dir-x", 0o644, "sorts between dir and dir/private\n")
	z.do(os.Symlink("file", z.at("link")))
	z.do(os.Symlink("/nowhere/at/all", z.at("dir/dangling")))
	z.do(os.Symlink("dir", z.at("link-to-dir")))
	z.do(os.Link(z.at("file"), z.at("dir/hard")))
	z.do(os.Link(z.at("file"), z.at("hard2")))
	z.do(unix.Mkfifo(z.at("fifo"), 0o640))
	z.sparse("holes", 8<<20)
	if os.Geteuid() == 0 {
		z.do(os.Lchown(z.at("dir/private"), 1, 1))
		z.do(os.Lchown(z.at("link"), 54321, 54322))
		if devices {
			z.do(unix.Mknod(z.at("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
		}
	}
	z.attr("file", "user.comment", "a comment")
	z.attr("dir", "user.empty", "")
	old := time.Date(2001, 2, 3, 4, 5, 6, 123456789, time.UTC)
	z.time("file", old)
	z.time("link", old.Add(time.Hour))
	z.time("fifo", time.Date(1969, 12, 31, 0, 0, 0, 1, time.UTC))
	z.time("dir", old.Add(2*time.Hour))
	z.time(".", old.Add(3*time.Hour))
	return z.err
}

// zoo makes one thing after another until one fails.
type zoo struct {
	root string
	err  error
}

func (z *zoo) at(name string) string { return filepath.Join(z.root, name) }

func (z *zoo) do(err error) {
	if z.err == nil {
		z.err = err
	}
}

func (z *zoo) dir(name string, mode fs.FileMode) {
	z.do(os.MkdirAll(z.at(name), 0o755))
	z.do(os.Chmod(z.at(name), mode))
}

func (z *zoo) file(name string, mode uint32, content string) {
	z.do(os.WriteFile(z.at(name), []byte(content), 0o600))
	z.do(unix.Chmod(z.at(name), mode))
}

// sparse makes a file with a hole at its start, data, a hole, and data at its end.
func (z *zoo) sparse(name string, size int64) {
	z.file(name, 0o644, "")
	f, err := os.OpenFile(z.at(name), os.O_WRONLY, 0)
	z.do(err)
	if z.err != nil {
		return
	}
	for _, off := range []int64{size / 4, size - 3} {
		_, err := f.WriteAt([]byte("end"), off)
		z.do(err)
	}
	z.do(f.Close())
}

func (z *zoo) attr(name, key, value string) {
	err := unix.Lsetxattr(z.at(name), key, []byte(value), 0)
	if err != unix.ENOTSUP {
		z.do(err)
	}
}

func (z *zoo) time(name string, t time.Time) {
	ts := unix.NsecToTimespec(t.UnixNano())
	z.do(unix.UtimesNanoAt(unix.AT_FDCWD, z.at(name), []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW))
}
