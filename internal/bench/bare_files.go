//go:build linux

package main

import (
	"bufio"
	"encoding/gob"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"makuo/integration/lab"
)

// The floor for small files: the calls that no program can do without (open
// with O_CREAT, write, fchown, utimensat, close) for the same directories and
// files, on all members at once, with nothing around them.

// bareFile is one file to make; a directory if Dir.
type bareFile struct {
	Path string // relative
	Size int
	Dir  bool
}

const bareFilesCommand = "bare-files"

// bareFiles makes the tree's files on all members at once and returns how long
// that took.
func bareFiles(f *field, limit time.Duration) (outcome, error) {
	list := filepath.Join(f.shell.TempDir(), "list")
	if err := writeList(list, f.origin.Base(treeName)); err != nil {
		return outcome{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return outcome{}, err
	}
	c := newCrew(f)
	workers := max(1, runtime.NumCPU()/len(f.members))
	err = c.serve(f, "making files", func(*lab.Host) []string {
		return []string{self, bareFilesCommand, list, fmt.Sprint(workers)}
	})
	if err == nil {
		// Each says that it has read its list by making a file, and waits for
		// a signal: all start at once, with everything in memory.
		err = c.await("the programs that make files", func() bool {
			for _, h := range f.members {
				if _, err := os.Stat(h.Path("/run/tmp/ready")); err != nil {
					return false
				}
			}
			return true
		})
	}
	var o outcome
	if err == nil {
		began := time.Now()
		for _, p := range c.servers {
			unix.Kill(p.pid(), unix.SIGUSR1)
		}
		for _, p := range c.servers {
			if err == nil {
				err = p.wait(began.Add(limit))
			}
			if err == nil {
				o.Wall = max(o.Wall, p.at.Sub(began))
			}
		}
	}
	o.Sender, o.Receivers = c.end()
	for _, h := range f.members {
		os.Remove(h.Path("/run/tmp/ready"))
	}
	return o, err
}

func writeList(name, root string) error {
	out, err := os.Create(name)
	if err != nil {
		return err
	}
	defer out.Close()
	w := bufio.NewWriter(out)
	enc := gob.NewEncoder(w)
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() && !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(filepath.Dir(root), path)
		if err != nil {
			return err
		}
		return enc.Encode(bareFile{Path: rel, Size: int(info.Size()), Dir: d.IsDir()})
	})
	if err == nil {
		err = w.Flush()
	}
	return err
}

// makeBareFiles is the program that runs on each member: its arguments are the
// list and the number of threads.
func makeBareFiles(args []string) error {
	in, err := os.Open(args[0])
	if err != nil {
		return err
	}
	var workers int
	fmt.Sscan(args[1], &workers)
	var dirs [][]bareFile // a directory, then its files
	most := 0
	index := map[string]int{}
	for dec := gob.NewDecoder(bufio.NewReader(in)); ; {
		var b bareFile
		if dec.Decode(&b) != nil {
			break
		}
		if b.Dir {
			index[b.Path] = len(dirs)
			dirs = append(dirs, []bareFile{b})
			continue
		}
		i := index[filepath.Dir(b.Path)]
		dirs[i] = append(dirs[i], b)
		most = max(most, b.Size)
	}
	ready := make(chan os.Signal, 1)
	signal.Notify(ready, unix.SIGUSR1)
	if err := os.WriteFile("/run/tmp/ready", nil, 0o644); err != nil {
		return err
	}
	<-ready
	for _, d := range dirs {
		if err := unix.Mkdir(d[0].Path, 0o755); err != nil {
			return fmt.Errorf("making the directory %s: %w", d[0].Path, err)
		}
	}
	content := make([]byte, most)
	next := make(chan []bareFile, len(dirs))
	for _, d := range dirs {
		next <- d
	}
	close(next)
	errs := make(chan error, workers)
	var running sync.WaitGroup
	for range workers {
		running.Go(func() { // ends when the directories do
			for d := range next {
				if err := fillBare(d, content); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	running.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

// fillBare makes the files of one directory.
func fillBare(d []bareFile, content []byte) error {
	dir, err := unix.Open(d[0].Path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening the directory %s: %w", d[0].Path, err)
	}
	defer unix.Close(dir)
	times := [2]unix.Timespec{{Sec: 1e9}, {Sec: 1e9}}
	for _, b := range d[1:] {
		fd, err := unix.Openat(dir, filepath.Base(b.Path), unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o644)
		if err != nil {
			return fmt.Errorf("creating %s: %w", b.Path, err)
		}
		if b.Size > 0 {
			if _, err = unix.Write(fd, content[:b.Size]); err != nil {
				return fmt.Errorf("writing %s: %w", b.Path, err)
			}
		}
		if err = unix.Fchown(fd, 0, 0); err == nil {
			err = futimens(fd, &times)
		}
		if e := unix.Close(fd); err == nil {
			err = e
		}
		if err != nil {
			return fmt.Errorf("finishing %s: %w", b.Path, err)
		}
	}
	return nil
}

// futimens sets a file's times by its descriptor alone; package unix only does
// so by way of /proc, which looks a path up.
func futimens(fd int, times *[2]unix.Timespec) error {
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(times)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
