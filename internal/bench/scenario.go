//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// scenario is one comparison: contenders in turns on the same hosts.
type scenario struct {
	name       string
	spec       fieldSpec
	tree       treeSpec
	losses     []float64 // percent
	contenders []contender
	second     bool // push again unchanged, and with ten files changed
	all        bool // and with all files changed
	bareFiles  bool // the floor for small files
	bareUDP    bool // the floor for one file, one member, no rate
	repeats    int
}

// bench is one run of the benchmark.
type bench struct {
	out     io.Writer
	goroot  string
	limit   time.Duration   // of a turn
	stop    <-chan struct{} // closed when all is to end
	results results
	broken  map[string]bool // contenders not tried again in their scenario
}

// run runs a scenario; what goes wrong with one contender is in its result.
func (b *bench) run(sc scenario) error {
	if b.stopped() {
		return errInterrupted
	}
	s := &shell{out: b.out}
	defer s.close()
	return errors.Join(guard(func() {
		if err := b.inField(s, sc); err != nil {
			s.Fatal(err)
		}
	}))
}

func (b *bench) stopped() bool {
	select {
	case <-b.stop:
		return true
	default:
		return false
	}
}

func (b *bench) inField(s *shell, sc scenario) error {
	sc.spec.bytes = sc.tree.estimate(b.goroot)
	f := newField(s, sc.spec, b.stop)
	if err := f.makeTree(sc.tree, b.goroot); err != nil {
		return err
	}
	fmt.Fprintf(b.out, "\n%s: %v, %d files, %.1f MB; %s\n", sc.name, sc.tree, f.size.Files, float64(f.size.Bytes)/1e6, sc.spec)
	b.broken = map[string]bool{}
	if err := f.warm(); err != nil {
		return err
	}
	for _, loss := range sc.losses {
		f.setLoss(loss)
		for repeat := 1; repeat <= sc.repeats; repeat++ {
			if err := b.round(f, sc, repeat); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s fieldSpec) String() string {
	rate := "no rate limit"
	if s.RateMbit > 0 {
		rate = fmt.Sprintf("%d Mbit/s", s.RateMbit)
	}
	trains := "trains cut"
	if s.Whole {
		trains = "trains whole"
	}
	return fmt.Sprintf("%d receiving hosts, %s, %s", s.Hosts, rate, trains)
}

// round is one turn of each contender.
func (b *bench) round(f *field, sc scenario, repeat int) error {
	if sc.bareFiles && f.loss == 0 {
		b.floor(f, sc, repeat, "bare files", bareFiles)
	}
	if sc.bareUDP {
		b.floor(f, sc, repeat, "bare UDP", bareUDP)
	}
	for _, c := range sc.contenders {
		if b.stopped() {
			return errInterrupted
		}
		if b.broken[c.name()] {
			continue
		}
		if err := f.clear(); err != nil {
			return err
		}
		if !b.turn(f, sc, c, first, repeat) || !c.syncs() {
			continue
		}
		if err := b.secondPushes(f, sc, c, repeat); err != nil {
			return err
		}
	}
	return f.clear()
}

// secondPushes pushes again, with and without changes.
func (b *bench) secondPushes(f *field, sc scenario, c contender, repeat int) error {
	if sc.second {
		if !b.turn(f, sc, c, unchanged, repeat) {
			return nil
		}
		if err := b.changed(f, 10); err != nil {
			return err
		}
		if !b.turn(f, sc, c, tenFiles, repeat) {
			return nil
		}
	}
	if sc.all {
		if err := b.changed(f, f.size.Files); err != nil {
			return err
		}
		b.turn(f, sc, c, allFiles, repeat)
	}
	return nil
}

func (b *bench) changed(f *field, count int) error {
	if err := changeFiles(f.origin.Base(treeName), f.size.Files, count); err != nil {
		return err
	}
	return f.treeChanged()
}

// turn is one push by one contender, measured and checked. It says whether it
// came out right.
func (b *bench) turn(f *field, sc scenario, c contender, kind string, repeat int) bool {
	r := b.newResult(f, sc, c.name(), kind, repeat)
	if missing := lacks(c); missing != "" {
		r.fail(fmt.Errorf("left out: not installed: %s", missing))
	} else if err := guard(func() { b.measure(f, r, c.push) }); err != nil {
		r.fail(err)
	}
	if r.good() {
		if err := b.check(f, r, c); err != nil {
			r.fail(err)
		}
	}
	b.done(r)
	if !r.good() {
		b.broken[c.name()] = true
	}
	return r.good()
}

// floor is one turn of bare system calls.
func (b *bench) floor(f *field, sc scenario, repeat int, name string, run func(*field, time.Duration) (outcome, error)) {
	r := b.newResult(f, sc, name, floorRun, repeat)
	err := f.clear()
	if err == nil {
		err = guard(func() { b.measure(f, r, run) })
	}
	if err != nil {
		r.fail(err)
	}
	b.done(r)
}

func (b *bench) newResult(f *field, sc scenario, name, kind string, repeat int) *result {
	r := &result{
		Scenario: sc.name, Contender: name, Kind: kind, Tree: sc.tree.String(), Repeat: repeat,
		Files: f.size.Files, Content: f.size.Bytes,
		Hosts: f.spec.Hosts, RateMbit: f.spec.RateMbit, Loss: f.loss,
	}
	b.results = append(b.results, r)
	return r
}

func (b *bench) measure(f *field, r *result, push func(*field, time.Duration) (outcome, error)) {
	before := f.counters()
	o, err := push(f, b.limit)
	r.take(o)
	f.wire(r, before, f.counters())
	if err != nil {
		r.fail(err)
		r.TooLong = errors.Is(err, errTooLong)
	}
}

// check compares the trees. makuo has to carry everything; of the others only
// contents are demanded, and differences in metadata are counted.
func (b *bench) check(f *field, r *result, c contender) error {
	e, err := f.compare()
	if err != nil {
		return err
	}
	r.Equal = len(e.content) == 0
	r.MetadataDiffs = len(e.metadata)
	all := append(e.content, e.metadata...)
	r.Differences = all[:min(len(all), 3)]
	_, ours := c.(makuo)
	if !r.Equal || ours && len(e.metadata) > 0 {
		return fmt.Errorf("the trees differ: %s", strings.Join(r.Differences, "; "))
	}
	return nil
}

// done tells of a turn as soon as it is over.
func (b *bench) done(r *result) {
	if b.stopped() && !r.good() { // it says nothing about the contender
		b.results = b.results[:len(b.results)-1]
		return
	}
	if r.good() {
		fmt.Fprintf(b.out, "  %-14s %-18s loss %g %%: %.2f s\n", r.Contender, r.Kind, r.Loss, r.Seconds)
		return
	}
	fmt.Fprintf(b.out, "  %-14s %-18s loss %g %%: after %.2f s: %s\n", r.Contender, r.Kind, r.Loss, r.Seconds, r.Error)
}

// estimate is the size of the tree before it is made, in bytes, roughly.
func (t treeSpec) estimate(goroot string) int64 {
	switch t.kind {
	case "file":
		return int64(t.n) << 20
	case "small":
		return int64(t.n) * 8192
	case "many", "flat":
		return int64(t.n) * 1024
	}
	path := t.path
	if t.kind == "go" {
		path = goroot
	}
	s, _ := measureTree(path)
	return s.Bytes * 2
}
