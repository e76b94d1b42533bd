//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "scripts/bench: needs Linux: its hosts are network namespaces")
	os.Exit(1)
}
