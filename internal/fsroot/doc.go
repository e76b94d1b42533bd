// Package fsroot gives file access that cannot leave a directory.
//
// A Root holds one directory open. Directories below it are opened from that
// descriptor with openat2, which refuses symbolic links, mount points and
// everything outside, and are then held as a Dir. Every operation on a Dir is
// an *at call with exactly one name, so no path is ever resolved twice: a
// directory that is replaced by a link between two operations leads nowhere.
//
//	Root "/srv/www" --openat2(BENEATH|NO_SYMLINKS|NO_XDEV)--> Dir "htdocs/img"
//	Dir "htdocs/img" --unlinkat, renameat2, ...(one name)--> the entry
//
// What it does not promise: a Dir that is held while somebody moves the
// directory elsewhere goes on naming the moved directory. Hold Dirs for one
// operation or one phase, and call Root.Invalidate between phases.
//
// Errors are *fs.PathError with the path below the root; they match
// ErrSymlink, ErrMount, ErrNotDir, ErrName, ErrUnsupported and those of io/fs.
//
// Only Linux is supported; elsewhere every call fails with ErrUnsupported.
package fsroot
