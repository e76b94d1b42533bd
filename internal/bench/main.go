//go:build linux

package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"makuo/integration/lab"
)

func main() {
	if len(os.Args) > 1 {
		if run, ok := map[string]func([]string) error{
			bareFilesCommand: makeBareFiles, bareSendCommand: sendBare, bareReceiveCommand: receiveBare,
		}[os.Args[1]]; ok && len(os.Args) == 4 {
			exit(run(os.Args[2:]))
		}
	}
	exit(run(os.Args[1:]))
}

func exit(err error) {
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "scripts/bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// options are what the user asked for.
type options struct {
	scenarios []scenario
	targets   bool
	json      string
	limit     time.Duration
	total     time.Duration
	goroot    string
}

const usageText = `Usage: scripts/bench [OPTION]...            compare on one tree, or a few
       scripts/bench targets [OPTION]...    everything the promised figures are judged by
       scripts/bench quick [OPTION]...      a part of that, in about two minutes

Measures makuo beside rsync, udpcast and uftp on hosts in network namespaces
(root). docs/performance.md says how it measures and how to read the table.

`

// parse reads the command line. Relative paths are relative to cwd.
func parse(args []string, cwd string) (*options, error) {
	preset := ""
	if len(args) > 0 && (args[0] == "targets" || args[0] == "quick") {
		preset, args = args[0], args[1:]
	}
	f := flag.NewFlagSet("scripts/bench", flag.ContinueOnError)
	f.Usage = func() {
		fmt.Fprint(f.Output(), usageText)
		f.PrintDefaults()
	}
	o := &options{}
	var treeArgs []string
	f.Func("tree", "`TREE` to push: "+treeHelp+"; may be repeated (default go)", func(s string) error {
		treeArgs = append(treeArgs, s)
		return nil
	})
	hosts := f.String("hosts", "4", "receiving hosts, `N,...`")
	rate := f.Int("rate", 1000, "link rate in `MBIT`/s; 0: none")
	loss := f.String("loss", "0", "loss at each host in `PERCENT,...`")
	peers := f.String("peers", strings.Join(contenderNames()[1:], ","), "`NAMES` of the others to measure, or none")
	repeats := f.Int("repeats", 0, "turns of each (default 1; of the presets: their own)")
	second := f.Bool("second", false, "push again, unchanged and with 10 files changed, where the program can")
	all := f.Bool("changed", false, "push again with all files changed")
	whole := f.Bool("whole", false, "let trains of packets cross the switch whole")
	floors := f.Bool("floor", false, "measure the bare system calls for the same files too")
	only := f.String("only", "", "of a preset, only the scenarios with these `NAMES`")
	f.StringVar(&o.json, "json", "", "write all figures to `FILE`")
	f.DurationVar(&o.limit, "limit", 3*time.Minute, "longest `TIME` of one turn")
	f.DurationVar(&o.total, "total", 3*time.Hour, "longest `TIME` of all")
	f.StringVar(&o.goroot, "goroot", "", "the Go toolchain's `DIR` (default: what go env says)")
	f.Bool("no-install", false, "do not install what is missing")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("there is no argument %q; scripts/bench --help says what there is", f.Arg(0))
	}
	if o.json != "" && !filepath.IsAbs(o.json) {
		o.json = filepath.Join(cwd, o.json)
	}
	o.targets = preset != ""
	switch preset {
	case "targets":
		o.scenarios = targetScenarios()
	case "quick":
		o.scenarios = quickScenarios()
	}
	if o.targets {
		return o, o.narrow(f, *only, *repeats)
	}
	base := scenario{name: "compare", spec: fieldSpec{RateMbit: *rate, Whole: *whole}, second: *second, all: *all, bareFiles: *floors, repeats: max(1, *repeats)}
	if err := errors.Join(base.setLosses(*loss), base.setPeers(*peers)); err != nil {
		return nil, err
	}
	if len(treeArgs) == 0 {
		treeArgs = []string{"go"}
	}
	return o, o.expand(base, treeArgs, *hosts, cwd)
}

// narrow keeps the named scenarios of a preset. The options that say what is
// compared do not go with a preset.
func (o *options) narrow(f *flag.FlagSet, only string, repeats int) (err error) {
	f.Visit(func(g *flag.Flag) {
		switch g.Name {
		case "only", "json", "limit", "total", "goroot", "no-install", "repeats":
		default:
			err = fmt.Errorf("--%s does not go with targets or quick, which have their own", g.Name)
		}
	})
	if err != nil {
		return err
	}
	var kept []scenario
	for _, sc := range o.scenarios {
		if only == "" || strings.Contains(","+only+",", ","+sc.name+",") {
			if repeats > 0 {
				sc.repeats = repeats
			}
			kept = append(kept, sc)
		}
	}
	if len(kept) == 0 {
		return fmt.Errorf("there is no scenario %q; there are link100, link1000, gotree, small, hosts, bare, memory", only)
	}
	o.scenarios = kept
	return nil
}

func (sc *scenario) setLosses(s string) error {
	for part := range strings.SplitSeq(s, ",") {
		v, err := strconv.ParseFloat(part, 64)
		if err != nil || v < 0 || v > 50 {
			return fmt.Errorf("the loss %q: is not a percentage from 0 to 50", part)
		}
		sc.losses = append(sc.losses, v)
	}
	return nil
}

func (sc *scenario) setPeers(s string) error {
	sc.contenders = []contender{makuo{}}
	if s == "none" {
		return nil
	}
	for name := range strings.SplitSeq(s, ",") {
		c, ok := findContender(name)
		if !ok {
			return fmt.Errorf("there is no peer %q; there are %s", name, strings.Join(contenderNames()[1:], ", "))
		}
		if name != (makuo{}).name() {
			sc.contenders = append(sc.contenders, c)
		}
	}
	return nil
}

// expand makes a scenario for each tree and number of hosts.
func (o *options) expand(base scenario, treeArgs []string, hosts, cwd string) error {
	for _, arg := range treeArgs {
		tree, err := parseTree(arg, cwd)
		if err != nil {
			return err
		}
		for part := range strings.SplitSeq(hosts, ",") {
			n, err := strconv.Atoi(part)
			if err != nil || n < 1 || n > 199 {
				return fmt.Errorf("the number of hosts %q: is not a number from 1 to 199", part)
			}
			sc := base
			sc.tree, sc.spec.Hosts = tree, n
			sc.bareUDP = base.bareFiles && tree.kind == "file" && n == 1 && base.spec.RateMbit == 0 && base.spec.Whole
			sc.bareFiles = base.bareFiles && tree.kind != "file"
			o.scenarios = append(o.scenarios, sc)
		}
	}
	return nil
}

func run(args []string) error {
	cwd := os.Getenv("BENCH_CWD") // where the user is; the program runs at the sources
	o, err := parse(args, cwd)
	if err != nil {
		return err
	}
	probe := &shell{out: os.Stderr}
	if err := guard(func() { lab.Need(probe) }); err != nil {
		return fmt.Errorf("nothing measured: %w", err)
	}
	if err := o.findGo(); err != nil {
		return err
	}
	defer func() { // the commands that package lab built
		guard(func() { os.RemoveAll(filepath.Dir(lab.Binary(probe, "makuod"))) })
	}()
	if err := guard(func() { lab.Binary(probe, "makuod") }); err != nil {
		return err
	}
	b := &bench{out: os.Stdout, goroot: o.goroot, limit: o.limit, stop: stopAfter(o.total)}
	m := thisMachine()
	fmt.Println(m)
	for _, sc := range o.scenarios {
		if err := b.run(sc); err != nil {
			if errors.Is(err, errInterrupted) || b.stopped() {
				fmt.Printf("! ended early: what follows is what was measured until then\n")
				break
			}
			fmt.Printf("! %s: %v\n", sc.name, err)
		}
	}
	return b.report(o, m)
}

// report writes the table, the verdicts and the JSON.
func (b *bench) report(o *options, m machine) error {
	writeTable(os.Stdout, b.results)
	r := report{Machine: m, Results: b.results}
	if o.targets {
		r.Targets = judgeAll(b.results)
		writeVerdicts(os.Stdout, r.Targets)
	}
	if o.json != "" {
		if err := writeJSON(o.json, r); err != nil {
			return fmt.Errorf("writing the figures: %w", err)
		}
	}
	for _, r := range b.results {
		if r.Contender == (makuo{}).name() && !r.good() {
			return fmt.Errorf("a push of makuo's own went wrong: %s", r.Error)
		}
	}
	if b.stopped() {
		return errInterrupted
	}
	return nil
}

// stopAfter returns a channel that is closed at the first signal to end, or
// when the time is over.
func stopAfter(limit time.Duration) <-chan struct{} {
	stop := make(chan struct{})
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() { // ends with the program
		select {
		case <-signals:
		case <-time.After(limit):
		}
		close(stop)
	}()
	return stop
}
