//go:build !linux

package transport

import "time"

func preciseThread() {}

func nanosleep(d time.Duration) { time.Sleep(d) }
