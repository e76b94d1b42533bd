//go:build !linux

package tree

func isFullErrno(error) bool { return false }

// isFatalErrno knows no errors where nothing can be opened anyway.
func isFatalErrno(error) bool { return false }
