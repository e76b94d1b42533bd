package leak

import (
	"fmt"
	"strings"
	"testing"
)

// fake runs the cleanups by hand.
type fake struct {
	cleanups []func()
	failed   string
}

func (f *fake) Helper()                          {}
func (f *fake) Cleanup(c func())                 { f.cleanups = append(f.cleanups, c) }
func (f *fake) Errorf(s string, args ...any)     { f.failed = fmt.Sprintf(s, args...) }
func blockedHere(c chan bool, started chan bool) { started <- true; <-c }

func TestCheck(t *testing.T) {
	var f fake
	check(&f, 0)
	end, started := make(chan bool), make(chan bool)
	go blockedHere(end, started)
	<-started
	f.cleanups[0]()
	if !strings.Contains(f.failed, "blockedHere") {
		t.Errorf("the goroutine was not named: %q", f.failed)
	}
	close(end)

	f = fake{}
	Check(&f)
	end = make(chan bool)
	go blockedHere(end, started)
	<-started
	close(end)
	f.cleanups[0]()
	if f.failed != "" {
		t.Errorf("reported after its end: %s", f.failed)
	}
}
