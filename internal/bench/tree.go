//go:build linux

package main

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"makuo/integration/trees"
)

// treeSpec says what tree is pushed.
type treeSpec struct {
	kind string // go, small, file, many, flat, dir
	n    int    // files; MiB for file
	path string // of dir, and where the Go toolchain is
}

// treeHelp lists the forms that parseTree takes.
const treeHelp = "go, small:N, file:MIB, many:N, flat:N or dir:PATH"

// parseTree reads a tree's name; dir is what relative paths are relative to.
func parseTree(s, dir string) (treeSpec, error) {
	kind, arg, _ := strings.Cut(s, ":")
	bad := fmt.Errorf("there is no tree %q; trees are %s", s, treeHelp)
	switch kind {
	case "go":
		if arg != "" {
			return treeSpec{}, bad
		}
		return treeSpec{kind: kind}, nil
	case "small", "file", "many", "flat":
		n, err := strconv.Atoi(arg)
		if err != nil || n < 1 || n > 10_000_000 {
			return treeSpec{}, bad
		}
		return treeSpec{kind: kind, n: n}, nil
	case "dir":
		if arg == "" {
			return treeSpec{}, bad
		}
		if !filepath.IsAbs(arg) {
			arg = filepath.Join(dir, arg)
		}
		if info, err := os.Stat(arg); err != nil {
			return treeSpec{}, fmt.Errorf("the tree %q: %w", s, err)
		} else if !info.IsDir() {
			return treeSpec{}, fmt.Errorf("the tree %q: is not a directory", s)
		}
		return treeSpec{kind: kind, path: arg}, nil
	}
	return treeSpec{}, bad
}

func (t treeSpec) String() string {
	switch t.kind {
	case "go":
		return "go toolchain"
	case "small":
		return fmt.Sprintf("%d small files", t.n)
	case "file":
		return fmt.Sprintf("%d MiB file", t.n)
	case "many":
		return fmt.Sprintf("%d empty files", t.n)
	case "flat":
		return fmt.Sprintf("%d empty files in one directory", t.n)
	}
	return t.path
}

// make makes the tree at root, which is not there yet. A file is a directory
// with one file in it, so that all contenders can be given a directory.
func (t treeSpec) make(root, goroot string) error {
	switch t.kind {
	case "go":
		return trees.Copy(goroot, root)
	case "dir":
		return trees.Copy(t.path, root)
	}
	if err := os.Mkdir(root, 0o755); err != nil {
		return err
	}
	switch t.kind {
	case "small":
		return makeSmall(root, t.n)
	case "file":
		return trees.Random(filepath.Join(root, "random"), int64(t.n)<<20, 1)
	case "many":
		return makeEmpty(root, t.n, 1000)
	}
	return makeEmpty(root, t.n, t.n)
}

// smallMost is the largest size of a small file: 100,000 of them, of all sizes
// up to it alike, are 209 MB.
const smallMost = 4180

// makeSmall makes n files of text, 100 in a directory and 10 directories in a
// directory. The text shrinks to about two thirds when it is compressed.
func makeSmall(root string, n int) error {
	const letters = "abcdefghijklmnopqrstuvwxyz      \n"
	rnd := rand.New(rand.NewPCG(1, 2))
	buf := make([]byte, smallMost)
	var dir string
	for i := range n {
		if i%100 == 0 {
			dir = filepath.Join(root, fmt.Sprintf("d%03d", i/1000), fmt.Sprintf("e%d", i/100%10))
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
		}
		data := buf[:rnd.IntN(smallMost+1)]
		for j := range data {
			data[j] = letters[rnd.IntN(len(letters))]
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("f%02d.txt", i%100)), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// makeEmpty makes n empty files, so many in a directory, a hundred directories
// in a directory.
func makeEmpty(root string, n, inDir int) error {
	dir := root
	for i := range n {
		if i%inDir == 0 {
			dir = filepath.Join(root, fmt.Sprintf("d%03d", i/inDir/100), fmt.Sprintf("e%02d", i/inDir%100))
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
		}
		name := filepath.Join(dir, fmt.Sprintf("f%07d", i))
		if err := unix.Mknod(name, unix.S_IFREG|0o644, 0); err != nil {
			return fmt.Errorf("making %s: %w", name, err)
		}
	}
	return nil
}

// treeSize is what a tree holds.
type treeSize struct {
	Files int   `json:"files"` // regular files
	Bytes int64 `json:"bytes"` // of content
}

func measureTree(root string) (treeSize, error) {
	var s treeSize
	err := eachFile(root, func(_ string, info fs.FileInfo) error {
		s.Files++
		s.Bytes += info.Size()
		return nil
	})
	return s, err
}

// eachFile calls f with each regular file below root, in order.
func eachFile(root string, f func(path string, info fs.FileInfo) error) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return f(path, info)
	})
}

// changeFiles appends a byte to the files below root: to count of them, spread
// evenly over all, or to every one if count is at least that.
func changeFiles(root string, files, count int) error {
	step := max(1, files/max(count, 1))
	i, changed := 0, 0
	return eachFile(root, func(path string, _ fs.FileInfo) error {
		i++
		if (i-1)%step != 0 || changed >= count {
			return nil
		}
		changed++
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteString("x")
		if e := f.Close(); err == nil {
			err = e
		}
		return err
	})
}
