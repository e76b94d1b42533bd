//go:build linux

package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// The names of the scenarios that targets are judged by.
const (
	link100  = "link100"
	link1000 = "link1000"
	goTree   = "gotree"
	smalls   = "small"
	manyHost = "hosts"
	bare     = "bare"
	memory   = "memory"
)

// targetScenarios are the scenarios of all targets, at full size.
func targetScenarios() []scenario {
	multicast := []contender{makuo{}, udpcast{}, uftp{}, rsync{}, rsync{inTurn: true}}
	tree := []contender{makuo{}, rsync{}, rsync{zip: true}, rsync{inTurn: true}, udpcast{}, udpcast{zip: true}, uftp{}}
	ours := []contender{makuo{}}
	out := []scenario{
		{name: link100, spec: fieldSpec{Hosts: 4, RateMbit: 100}, tree: treeSpec{kind: "file", n: 128}, losses: []float64{0, 1, 5}, contenders: multicast, repeats: 1},
		{name: link1000, spec: fieldSpec{Hosts: 4, RateMbit: 1000}, tree: treeSpec{kind: "file", n: 512}, losses: []float64{0, 1}, contenders: multicast, repeats: 3},
		{name: goTree, spec: fieldSpec{Hosts: 4, RateMbit: 1000}, tree: treeSpec{kind: "go"}, losses: []float64{0, 1}, contenders: tree, second: true, all: true, repeats: 3},
		{name: smalls, spec: fieldSpec{Hosts: 4, RateMbit: 1000}, tree: treeSpec{kind: "small", n: 100_000}, losses: []float64{0}, contenders: tree, second: true, bareFiles: true, repeats: 3},
	}
	for _, n := range []int{1, 2, 4, 8, 16} {
		out = append(out, scenario{name: manyHost, spec: fieldSpec{Hosts: n, RateMbit: 100}, tree: treeSpec{kind: "file", n: 128}, losses: []float64{1}, contenders: ours, repeats: 1})
	}
	return append(out,
		scenario{name: bare, spec: fieldSpec{Hosts: 1, Whole: true}, tree: treeSpec{kind: "file", n: 2048}, losses: []float64{0}, contenders: ours, bareUDP: true, repeats: 3},
		scenario{name: memory, spec: fieldSpec{Hosts: 1}, tree: treeSpec{kind: "many", n: 2_000_000}, losses: []float64{0}, contenders: ours, second: true, repeats: 1},
		scenario{name: memory, spec: fieldSpec{Hosts: 1}, tree: treeSpec{kind: "flat", n: 1_000_000}, losses: []float64{0}, contenders: ours, second: true, repeats: 1},
	)
}

// quickScenarios are a subset that takes about two minutes: smaller trees, the
// peers that are nearest, each turn once.
func quickScenarios() []scenario {
	var out []scenario
	for _, sc := range targetScenarios() {
		sc.repeats = 1
		sc.contenders = slices.DeleteFunc(slices.Clone(sc.contenders), func(c contender) bool {
			return c == contender(rsync{inTurn: true}) || c == contender(uftp{}) || c == contender(udpcast{zip: true}) || c == contender(rsync{zip: true})
		})
		switch sc.name {
		case link100:
			sc.tree.n, sc.losses = 32, []float64{0, 1}
			sc.contenders = []contender{makuo{}, udpcast{}}
		case link1000:
			sc.tree.n, sc.contenders = 128, []contender{makuo{}, udpcast{}}
		case goTree:
			sc.losses = []float64{0}
		case smalls:
			sc.tree.n = 20_000
		case manyHost:
			if sc.spec.Hosts != 1 && sc.spec.Hosts != 8 {
				continue
			}
			sc.tree.n = 32
		case bare:
			sc.tree.n = 512
		case memory:
			continue
		}
		out = append(out, sc)
	}
	return out
}

// verdict is one target beside the figure that was measured for it.
type verdict struct {
	What   string  `json:"what"`
	Target string  `json:"target"`
	Got    string  `json:"got"`
	Value  float64 `json:"value"`
	State  string  `json:"state"` // pass, short or not measured
}

const (
	pass        = "pass"
	short       = "falls short"
	notMeasured = "not measured"
)

// atLeast and atMost judge a figure that is ok, or was not measured.
func atLeast(what string, want, got float64, ok bool, unit string) verdict {
	return judge(what, fmt.Sprintf("at least %g%s", want, unit), got, ok, got >= want, unit)
}

func atMost(what string, want, got float64, ok bool, unit string) verdict {
	return judge(what, fmt.Sprintf("at most %g%s", want, unit), got, ok, got <= want, unit)
}

func judge(what, want string, got float64, ok, good bool, unit string) verdict {
	v := verdict{What: what, Target: want, Value: got, Got: fmt.Sprintf("%.3g%s", got, unit), State: short}
	switch {
	case !ok:
		v.Got, v.Value, v.State = "-", 0, notMeasured
	case good:
		v.State = pass
	}
	return v
}

// turns are the results of one contender's turns in a scenario.
func (rs results) turns(scenario, name, kind string, loss float64) results {
	return rs.where(func(r *result) bool {
		return r.Scenario == scenario && r.Contender == name && r.Kind == kind && r.Loss == loss
	})
}

// best is the shortest median of some peers' first pushes, and whose it is.
// Peers that did not come through do not count.
func (rs results) best(scenario string, loss float64, peers ...string) (v float64, name string, ok bool) {
	for _, p := range peers {
		if got, good := rs.turns(scenario, p, first, loss).median(seconds); good && (!ok || got < v) {
			v, name, ok = got, p, true
		}
	}
	return v, name, ok
}

var (
	plainPeers = []string{"rsync", "rsync-in-turn", "udpcast", "uftp"}
	zipPeers   = []string{"rsync-zstd", "udpcast-zstd"}
)

// judgeAll judges every target whose scenario was run.
func judgeAll(rs results) []verdict {
	var out []verdict
	ran := map[string]bool{}
	for _, r := range rs {
		ran[r.Scenario] = true
	}
	for _, j := range []struct {
		name  string
		judge func(results) []verdict
	}{
		{link100, func(rs results) []verdict {
			return rs.shares(link100, map[float64]float64{0: .93, 1: .90, 5: .85})
		}},
		{link1000, func(rs results) []verdict {
			return append(rs.shares(link1000, map[float64]float64{0: .90, 1: .87}), rs.processor()...)
		}},
		{goTree, results.judgeGoTree},
		{smalls, results.judgeSmall},
		{manyHost, results.judgeHosts},
		{bare, results.judgeBare},
		{memory, results.judgeMemory},
	} {
		if ran[j.name] {
			out = append(out, j.judge(rs)...)
		}
	}
	return out
}

// shares judges shares of the link by loss.
func (rs results) shares(scenario string, want map[float64]float64) []verdict {
	var out []verdict
	for _, loss := range []float64{0, 1, 5} {
		least, asked := want[loss]
		if !asked {
			continue
		}
		ours := rs.turns(scenario, "makuo", first, loss)
		got, ok := ours.median(func(r *result) float64 { return r.Share })
		tree := "file"
		if len(ours) > 0 {
			tree = ours[0].Tree
		}
		out = append(out, atLeast(fmt.Sprintf("%s, %s, loss %g %%: share of the link", scenario, tree, loss), least, got, ok, ""))
	}
	return out
}

// processor judges processor seconds per GB of incompressible content.
func (rs results) processor() []verdict {
	var out []verdict
	for _, loss := range []float64{0, 1} {
		ours := rs.turns(link1000, "makuo", first, loss)
		perGB := func(cpu func(*result) float64) func(*result) float64 {
			return func(r *result) float64 { return cpu(r) / (float64(r.Content) / 1e9) }
		}
		send, ok := ours.median(perGB(func(r *result) float64 { return r.SenderCPU }))
		out = append(out, atMost(fmt.Sprintf("processor of the sender, loss %g %%", loss), 2, send, ok, " s/GB"))
		receive, ok := ours.median(perGB(func(r *result) float64 { return r.ReceiverCPU }))
		out = append(out, atMost(fmt.Sprintf("processor of a receiver, loss %g %%", loss), 3, receive, ok, " s/GB"))
	}
	return out
}

// faster judges how many times faster than the best peer a first push is.
func (rs results) faster(scenario string, loss, want float64, kind string, peers []string) verdict {
	ours, ok := rs.turns(scenario, "makuo", first, loss).median(seconds)
	peer, name, found := rs.best(scenario, loss, peers...)
	what := fmt.Sprintf("%s, loss %g %%, first push: times faster than the best peer%s", scenario, loss, kind)
	if !ok || !found || ours == 0 {
		return atLeast(what, want, 0, false, "")
	}
	v := atLeast(what, want, peer/ours, true, "")
	v.Got += fmt.Sprintf(" (%.2f s; %s %.2f s)", ours, name, peer)
	return v
}

// fasterThanAll judges against the plain peers, and on a line of its own
// against those that compress, if they were in the run.
func (rs results) fasterThanAll(scenario string, loss, want float64) []verdict {
	out := []verdict{rs.faster(scenario, loss, want, "", plainPeers)}
	if _, _, ok := rs.best(scenario, loss, zipPeers...); ok {
		out = append(out, rs.faster(scenario, loss, want, " that compresses", zipPeers))
	}
	return out
}

func (rs results) judgeGoTree() []verdict {
	var out []verdict
	for _, loss := range []float64{0, 1} {
		out = append(out, rs.fasterThanAll(goTree, loss, 3)...)
	}
	out = append(out, rs.judgeUnchanged(goTree))
	same, ok1 := rs.turns(goTree, "makuo", unchanged, 0).median(seconds)
	ten, ok2 := rs.turns(goTree, "makuo", tenFiles, 0).median(seconds)
	out = append(out, atMost("gotree, 10 files changed: more than the unchanged push", 0.2, ten-same, ok1 && ok2, " s"))
	skew, ok := rs.turns(goTree, "makuo", allFiles, 0).median(func(r *result) float64 { return r.SkewMS })
	return append(out, atMost("gotree, all files changed: commit skew", 20, skew, ok, " ms"))
}

func (rs results) judgeSmall() []verdict {
	ours, ok := rs.turns(smalls, "makuo", first, 0).median(seconds)
	floor, found := rs.turns(smalls, "bare files", floorRun, 0).median(seconds)
	v := atMost("small, first push: times the bare system calls", 1.5, ours/max(floor, 1e-9), ok && found, "")
	if ok && found {
		v.Got += fmt.Sprintf(" (%.2f s; %.2f s)", ours, floor)
	}
	return append(rs.fasterThanAll(smalls, 0, 1.8), v, rs.judgeUnchanged(smalls))
}

// judgeUnchanged compares the second push with rsync's, all at once.
func (rs results) judgeUnchanged(scenario string) verdict {
	ours, ok := rs.turns(scenario, "makuo", unchanged, 0).median(seconds)
	peer, found := rs.turns(scenario, "rsync", unchanged, 0).median(seconds)
	v := atMost(scenario+", unchanged, second push: times rsync all at once", 1, ours/max(peer, 1e-9), ok && found, "")
	if ok && found {
		v.Got += fmt.Sprintf(" (%.2f s; %.2f s)", ours, peer)
	}
	return v
}

func (rs results) judgeHosts() []verdict {
	most := 1
	at := func(hosts int) (float64, bool) {
		return rs.where(func(r *result) bool { return r.Scenario == manyHost && r.Hosts == hosts }).median(seconds)
	}
	for _, r := range rs {
		if r.Scenario == manyHost {
			most = max(most, r.Hosts)
		}
	}
	one, ok1 := at(1)
	all, ok2 := at(most)
	v := atMost(fmt.Sprintf("hosts, time at %d receiving hosts by that at 1", most), 1.05, all/max(one, 1e-9), ok1 && ok2 && most > 1, "")
	return []verdict{v}
}

func (rs results) judgeBare() []verdict {
	ours, ok := rs.turns(bare, "makuo", first, 0).median(seconds)
	floor, found := rs.turns(bare, "bare UDP", floorRun, 0).median(seconds)
	v := atLeast("bare, one file, no rate limit: share of a bare sender's and receiver's speed", 0.5, floor/max(ours, 1e-9), ok && found, "")
	if ok && found {
		v.Got += fmt.Sprintf(" (%.2f s; %.2f s)", ours, floor)
	}
	return []verdict{v}
}

func (rs results) judgeMemory() []verdict {
	var out []verdict
	for _, row := range rs.where(func(r *result) bool { return r.Scenario == memory }).rows() {
		r := row.all[0]
		peak, ok := row.all.median(func(r *result) float64 { return float64(max(r.SenderPeak, r.ReceiverPeak)) / 1e6 })
		out = append(out, atMost(fmt.Sprintf("%s, %s: peak memory", r.Tree, r.Kind), 100, peak, ok, " MB"))
		if r.Kind == first && r.Files >= 2_000_000 {
			at, ok := row.all.median(func(r *result) float64 { return r.FirstData })
			out = append(out, atMost(fmt.Sprintf("%s: first data after", r.Tree), 0.3, at, ok && at > 0, " s"))
		}
	}
	return out
}

func writeVerdicts(out io.Writer, vs []verdict) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\ntarget\twanted\tmeasured\t")
	for _, v := range vs {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", v.What, v.Target, v.Got, v.State)
	}
	w.Flush()
}
