//go:build !linux

package tree

// isFatalErrno knows no errors where nothing can be opened anyway.
func isFatalErrno(error) bool { return false }
