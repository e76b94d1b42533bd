// Package leak finds goroutines that a test leaves behind.
package leak

import (
	"runtime"
	"strings"
	"time"
)

// TB is what Check needs of a *testing.T.
type TB interface {
	Helper()
	Cleanup(func())
	Errorf(format string, args ...any)
}

// patience is how long a goroutine may take to end after the test.
const patience = 5 * time.Second

// Check fails the test if, when it ends, goroutines are there that were not
// there at this call. Call it first, so that it looks after all other cleanups.
// The test must not run in parallel with others.
func Check(t TB) {
	t.Helper()
	check(t, patience)
}

func check(t TB, patience time.Duration) {
	t.Helper()
	before := goroutines()
	t.Cleanup(func() {
		t.Helper()
		var left []string
		for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
			left = left[:0]
			for id, stack := range goroutines() {
				if _, old := before[id]; !old {
					left = append(left, stack)
				}
			}
			if len(left) == 0 {
				return
			}
			if time.Now().After(end) {
				break
			}
		}
		t.Errorf("%d goroutines left behind:\n%s", len(left), strings.Join(left, "\n\n"))
	})
}

// goroutines returns the stacks of all goroutines but the calling one, by id.
func goroutines() map[string]string {
	buf := make([]byte, 1<<20)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	out := map[string]string{}
	for i, stack := range strings.Split(string(buf), "\n\n") {
		// "goroutine 18 [running]:"; the first is the caller.
		if f := strings.Fields(stack); i > 0 && len(f) > 1 {
			out[f[1]] = stack
		}
	}
	return out
}
