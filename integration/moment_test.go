//go:build linux

package integration

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"makuo/integration/lab"
	"makuo/integration/trees"
)

// seeds is the number of rounds of TestKilledAtAnyMoment.
func seeds(t *testing.T) uint64 {
	t.Helper()
	if v := os.Getenv("MAKUO_SEEDS"); v != "" {
		n, err := strconv.ParseUint(v, 10, 32)
		check(t, err)
		return n
	}
	return size[uint64](6, 60)
}

// TestKilledAtAnyMoment pushes between two versions of a tree while a daemon is
// killed at a moment that follows from the seed: a member's in even rounds, the
// origin's in odd ones. A reader of the members' trees finds, at every moment
// and every path, the one version or the other. Then the daemon starts again,
// members come to rest at a whole version, and the next push repairs all.
func TestKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	l := lab.New(t, lab.Options{Hosts: 3, RateMbit: 100, CutTrains: true})
	origin := l.Host(0)
	makeVersions(t, origin)
	s := &site{t: t, lab: l, origin: origin, members: l.Hosts()[1:]}
	useVersion(origin, 1)
	s.old = read(t, origin, "site")
	useVersion(origin, 2)
	s.new = read(t, origin, "site")
	l.Start()
	wantExit(t, s.push(), 0)
	for seed := range seeds(t) {
		useVersion(origin, int(seed%2)+1)
		round(t, s, seed)
		if t.Failed() {
			t.Fatalf("that was seed %d", seed)
		}
	}
}

// makeVersions makes both versions of the tree beside the origin's base.
func makeVersions(t *testing.T, h *lab.Host) {
	t.Helper()
	one, two := h.Path(lab.Scratch, "v1"), h.Path(lab.Scratch, "v2")
	check(t, firstVersion(one))
	check(t, trees.Random(filepath.Join(one, "big"), 6<<20, 1))
	check(t, trees.Copy(one, two))
	check(t, secondVersion(two))
	check(t, trees.Random(filepath.Join(two, "big"), 6<<20, 2))
}

func useVersion(h *lab.Host, version int) {
	h.Shell(fmt.Sprintf("rm -rf site; cp -a %s/v%d site", lab.Scratch, version))
}

// round is one push with one kill.
func round(t *testing.T, s *site, seed uint64) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(seed, 77))
	victim := s.origin
	if seed%2 == 0 {
		victim = s.members[rnd.IntN(len(s.members))]
	}
	watch := startWatch(s)
	run := s.begin("--timeout", "5")
	moment := strike(run, rnd)
	victim.Kill()
	r := run.Wait()
	victim.Start()
	s.lab.Settle()
	for _, m := range s.members {
		s.wantWhole(m)
	}
	s.heal()
	looks := watch.end(t)
	t.Logf("seed %d: %s killed %s; exit %d; %d looks at the members' files", seed, victim.Name, moment, r.Exit, looks)
}

// strike waits for a random moment of a push.
func strike(run *lab.Run, rnd *rand.Rand) string {
	nth, delay := rnd.IntN(6), time.Duration(rnd.IntN(200_000))*time.Microsecond
	if nth == 5 {
		run.TryEvent(decided)
		delay /= 10
		time.Sleep(delay) // the moment itself
		return fmt.Sprintf("%v after the decision", delay)
	}
	n := 0
	run.TryEvent(func(lab.Event) bool { n++; return n > nth })
	time.Sleep(delay) // the moment itself
	return fmt.Sprintf("%v after event %d", delay, nth)
}

// watch reads files that both versions have, over and over.
type watch struct {
	stop  chan struct{}
	wg    sync.WaitGroup
	mu    sync.Mutex
	looks int
	found []string
}

// startWatch starts a reader for each member; end ends them.
func startWatch(s *site) *watch {
	w := &watch{stop: make(chan struct{})}
	for _, m := range s.members {
		w.wg.Go(func() {
			pause := time.NewTicker(2 * time.Millisecond) // leaves the processors to the daemons
			defer pause.Stop()
			for {
				select {
				case <-w.stop:
					return
				case <-pause.C:
					w.look(m)
				}
			}
		})
	}
	return w
}

// look reads each file once.
func (w *watch) look(m *lab.Host) {
	var found []string
	for i := 0; i < 200; i += 2 {
		name := fmt.Sprintf("site/d%d/f%03d", i/50, i)
		data, err := os.ReadFile(m.Base(name))
		one, two := fmt.Sprintf("version 1 of %d\n", i), fmt.Sprintf("version 2 of %d, longer\n", i)
		if err != nil || string(data) != one && string(data) != two {
			found = append(found, fmt.Sprintf("%s: %s: %.60q, %v", m.Name, name, data, err))
		}
	}
	for _, name := range []string{"file-to-dir", "dir-to-file", "dir-to-link", "link", "big"} {
		if _, err := os.Lstat(m.Base("site", name)); err != nil {
			found = append(found, fmt.Sprintf("%s: site/%s: %v", m.Name, name, err))
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.looks++
	w.found = append(w.found, found...)
}

// end stops the readers and reports what they found.
func (w *watch) end(t *testing.T) int {
	t.Helper()
	close(w.stop)
	w.wg.Wait()
	for i, f := range w.found {
		if i == 10 {
			t.Errorf("... %d in all", len(w.found))
			break
		}
		t.Errorf("neither version: %s", f)
	}
	return w.looks
}
