//go:build linux

package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// findGo finds the Go toolchain's tree, behind all symbolic links.
func (o *options) findGo() error {
	if o.goroot == "" {
		out, err := exec.Command("go", "env", "GOROOT").Output()
		if err != nil {
			return fmt.Errorf("asking go where it is: %w", err)
		}
		o.goroot = strings.TrimSpace(string(out))
	}
	path, err := filepath.EvalSymlinks(o.goroot)
	if err != nil {
		return fmt.Errorf("the Go toolchain's tree: %w", err)
	}
	o.goroot = path
	return nil
}
