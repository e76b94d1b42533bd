//go:build !linux

package transport

import "time"

func preciseThread() {}

// AllowHaste does nothing here.
func AllowHaste() {}

func nanosleep(d time.Duration) { time.Sleep(d) }

// NappingThreads is 0: no thread keeps a P of the runtime while it sleeps.
const NappingThreads = 0
