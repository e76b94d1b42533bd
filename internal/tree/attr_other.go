//go:build !linux

package tree

func isUnfitErrno(error) bool { return false }

func isInvalidErrno(error) bool { return false }
