//go:build !linux

package transport

import "time"

func preciseThread() {}

// AllowHaste does nothing here.
func AllowHaste() {}

func nanosleep(d time.Duration) { time.Sleep(d) }
