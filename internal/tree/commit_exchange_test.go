package tree

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"makuo/protocol"
)

// TestAppearedInReplacedDirectory: what comes into a directory that is to be
// replaced is never lost, whenever it comes and whatever the options.
func TestAppearedInReplacedDirectory(t *testing.T) {
	for _, noExchange := range []bool{false, true} {
		for _, options := range []uint32{protocol.OptRecursive, recursiveDelete} {
			for _, late := range []bool{false, true} {
				for _, old := range [][]string{{"d/"}, {"d/a/b 1", "d/c 1"}} {
					if len(old) > 1 && options&protocol.OptDelete == 0 {
						continue
					}
					for _, name := range []string{"local", "a/new", "z.key"} {
						appeared(t, noExchange, late, options, old, name)
					}
				}
			}
		}
	}
}

func appeared(t *testing.T, noExchange, late bool, options uint32, old []string, name string) {
	t.Helper()
	exchangeOff.Store(noExchange)
	defer exchangeOff.Store(false)
	p, src, dst := pair(t, func(c *ModuleConfig) { c.Protect = []string{"*.key"} })
	p.options = options
	plant(t, src, 2000, "d file")
	plant(t, dst, 1000, old...)
	tg, o := p.stage(t)
	defer tg.Close()
	held, err := os.Open(filepath.Join(dst, "d"))
	must(t, err)
	defer held.Close()
	come := func() {
		base := "/proc/self/fd/" + strconv.Itoa(int(held.Fd()))
		must(t, os.MkdirAll(filepath.Dir(base+"/"+name), 0o755))
		must(t, os.WriteFile(base+"/"+name, []byte("precious"), 0o644))
	}
	if late {
		exchangeHook = come
		defer func() { exchangeHook = nil }()
	} else {
		come()
	}
	if _, _, err := tg.Commit(); err != nil {
		t.Fatal(err)
	}
	o.collect(t, tg)
	if b, err := os.ReadFile(filepath.Join(dst, "d", name)); err != nil || string(b) != "precious" {
		t.Errorf("no exchange %v, late %v, options %#x, %q: %s is gone: %v", noExchange, late, options, old, name, err)
	}
	if len(o.errors()) != 1 || len(o.deleted) > 0 || o.counts.Changed != 1 {
		t.Errorf("%q, deleted %q, %+v", o.errors(), o.deleted, o.counts)
	}
}

// TestAppearedBeforeRestart: the second look comes even if the daemon ended
// right after the exchange.
func TestAppearedBeforeRestart(t *testing.T) {
	for _, noExchange := range []bool{false, true} {
		exchangeOff.Store(noExchange)
		p, src, dst := pair(t)
		plant(t, src, 2000, "d file")
		plant(t, dst, 1000, "d/a 1")
		tg, _ := p.stage(t)
		func() {
			defer func() { exchangeHook = nil; _ = recover() }()
			exchangeHook = func() { panic("crash") }
			tg.Commit()
		}()
		where, err := filepath.Glob(filepath.Join(dst, protocol.StageName, "*", "*", "a"))
		if err != nil || len(where) != 1 {
			t.Fatal(where, err)
		}
		must(t, os.WriteFile(filepath.Join(filepath.Dir(where[0]), "late"), nil, 0o644))
		if _, err := openTestModule(t, dst).Recover(); err != nil {
			t.Fatal(err)
		}
		if !exists(dst, "d/late") || !exists(dst, "d/a") {
			t.Error("what came late is gone")
		}
		exchangeOff.Store(false)
	}
}

// TestPlannedOrder: the walk finds every name of a deep directory in the plan.
func TestPlannedOrder(t *testing.T) {
	p, src, dst := pair(t)
	plant(t, src, 2000, "d file", "e file", "f -> x")
	for _, top := range []string{"d/", "e/", "f/"} {
		for _, sub := range []string{"a", "a.b/c", "a-b/c/d", "b/", "b0", "z/z/z"} {
			plant(t, dst, 1000, top+sub)
		}
	}
	if o := p.push(t); len(o.problems) > 0 || !strings.Contains(strings.Join(o.deleted, " "), "e/a-b/c/d") {
		t.Error(o.problems, o.deleted)
	}
	sameTrees(t, describe(t, src), describe(t, dst))
	if errors.Is(errAppeared, errDisk) {
		t.Error("it concerns one path only")
	}
}
