package main

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"makuo/internal/control"
)

// options is the command line, read but not yet applied to a base directory.
type options struct {
	req     control.PushRequest // all but Paths
	paths   []string
	target  string // of the daemon
	mode    mode
	forget  string
	json    bool
	quiet   bool     // nothing but errors
	told    bool     // progress is told without a terminal too
	sources []source // where rules come from, in the order of the command line
}

// mode is what msync is to do.
type mode int

const (
	modePush mode = iota
	modeStatus
	modeMembers
	modeForget
	modeVersion
	modeHelp
)

// source is one --include, --exclude or --exclude-from.
type source struct {
	rule control.Rule
	file string // --exclude-from: its name; rule is not used
}

// option is one line of the table that the command line is read by and the
// help text is made from.
type option struct {
	short byte // 0: none
	long  string
	arg   string // what the help calls the argument; "": takes none
	help  string
	set   func(o *options, arg string) error
}

// usageError is wrong use: it is followed by a hint at --help.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

func flag(field func(*options) *bool) func(*options, string) error {
	return func(o *options, _ string) error { *field(o) = true; return nil }
}

func setMode(m mode) func(*options, string) error {
	return func(o *options, arg string) error {
		if o.mode != modePush && o.mode != m && m < modeVersion && o.mode < modeVersion {
			return usagef("only one of --status, --members and --forget can be asked for")
		}
		if m > o.mode {
			o.mode = m
		}
		if m == modeForget {
			o.forget = arg
		}
		return nil
	}
}

func number(low, high int, set func(o *options, n int)) func(*options, string) error {
	return func(o *options, arg string) error {
		n, err := strconv.Atoi(arg)
		if err != nil || n < low || n > high {
			return usagef("%q is not a whole number from %d to %d", arg, low, high)
		}
		set(o, n)
		return nil
	}
}

func seconds(low float64, set func(o *options, s float64)) func(*options, string) error {
	return func(o *options, arg string) error {
		s, err := strconv.ParseFloat(arg, 64)
		if err != nil || !(s >= low && s <= control.MaxSeconds) {
			return usagef("%q is not a number of seconds from %v to %d", arg, low, control.MaxSeconds)
		}
		set(o, s)
		return nil
	}
}

func rule(include bool) func(*options, string) error {
	return func(o *options, arg string) error {
		if arg == "" || len(arg) > control.MaxPattern {
			return usagef("a pattern must have 1 to %d bytes", control.MaxPattern)
		}
		o.sources = append(o.sources, source{rule: control.Rule{Include: include, Pattern: control.Text(arg)}})
		return nil
	}
}

func connect(scheme string) func(*options, string) error {
	return func(o *options, arg string) error {
		if arg == "" {
			return usagef("it needs the path of a socket")
		}
		o.target = scheme + arg
		return nil
	}
}

// table lists all options in the order of the help text.
var table = []option{
	{'r', "recursive", "", "push directories with all that is in them", flag(func(o *options) *bool { return &o.req.Recursive })},
	{0, "delete", "", "remove on the members what is not here; needs -r", flag(func(o *options) *bool { return &o.req.Delete })},
	{'n', "dry-run", "", "show what would happen on every member, change nothing", flag(func(o *options) *bool { return &o.req.DryRun })},
	{0, "check", "", "compare contents on every member, change nothing", flag(func(o *options) *bool { return &o.req.Check })},
	{'v', "verbose", "", "show updates and deletions; -vv: what is skipped too", func(o *options, _ string) error {
		o.req.Verbose = min(o.req.Verbose+1, 2)
		return nil
	}},
	{'t', "target", "MEMBER", "push to this member only; may be repeated", func(o *options, arg string) error {
		if len(arg) == 0 || len(arg) > control.MaxName {
			return usagef("%q is no name of a member", arg)
		}
		o.req.Targets = append(o.req.Targets, arg)
		return nil
	}},
	{0, "include", "PATTERN", "do push what matches; rules are tried in their order", rule(true)},
	{0, "exclude", "PATTERN", "do not push what matches, nor delete it on members", rule(false)},
	{0, "exclude-from", "FILE", "take patterns from FILE, one a line; - is standard input", func(o *options, arg string) error {
		if arg == "" {
			return usagef("it needs the name of a file, or - for standard input")
		}
		o.sources = append(o.sources, source{file: arg})
		return nil
	}},
	{0, "checksum", "", "compare files by content, not by size and time", flag(func(o *options) *bool { return &o.req.Checksum })},
	{0, "devices", "", "push device nodes too (root)", flag(func(o *options) *bool { return &o.req.Devices })},
	{0, "max-delete", "N", "a member that would delete more than N names deletes none", number(0, 1<<31-1, func(o *options, n int) { o.req.MaxDelete = &n })},
	{0, "force-empty", "", "let an empty source empty the whole base directory", flag(func(o *options) *bool { return &o.req.ForceEmpty })},
	{0, "delete-missing", "", "remove on the members each PATH that does not exist here", flag(func(o *options) *bool { return &o.req.DeleteMissing })},
	{0, "expect", "N", "send nothing unless there are N members to push to", number(0, 10000, func(o *options, n int) { o.req.Expect = n })},
	{0, "ignore-missing", "", "members that are not there do not make the push fail", flag(func(o *options) *bool { return &o.req.IgnoreMissing })},
	{0, "all-or-none", "", "commit only if every member is ready", flag(func(o *options) *bool { return &o.req.AllOrNone })},
	{0, "wait", "SECONDS", "wait so long for an overlapping push to end", seconds(0, func(o *options, s float64) { o.req.WaitSeconds = &s })},
	{0, "timeout", "SECONDS", "a member silent for so long is lost (default 30)", seconds(1, func(o *options, s float64) { o.req.TimeoutSeconds = s })},
	{'c', "connect", "TARGET", "socket of the daemon to talk to: unix:PATH or PATH", connect("")},
	{0, "socket", "PATH", "the same as -c unix:PATH", connect("unix:")},
	{0, "status", "", "show the daemon, the members and the pushes in progress", setMode(modeStatus)},
	{0, "members", "", "list the members", setMode(modeMembers)},
	{0, "forget", "NAME", "take a missing member out of the list", setMode(modeForget)},
	{'q', "quiet", "", "show nothing but errors", flag(func(o *options) *bool { return &o.quiet })},
	{0, "progress", "", "without a terminal: a line of progress every 5 seconds", flag(func(o *options) *bool { return &o.told })},
	{0, "json", "", "write JSON, one object a line", flag(func(o *options) *bool { return &o.json })},
	{'l', "loglevel", "N", "verbosity by number: 0, 1 is -v, 2 and more -vv", number(0, 9, func(o *options, n int) { o.req.Verbose = min(n, 2) })},
	{'V', "version", "", "show the version", setMode(modeVersion)},
	{'h', "help", "", "show this text", setMode(modeHelp)},
}

// parse reads a command line. Options and paths may be mixed; "--" ends the
// options. Its errors are *usageError.
func parse(args []string) (*options, error) {
	o := &options{}
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		var err error
		switch {
		case arg == "--":
			o.paths = append(o.paths, args...)
			args = nil
		case strings.HasPrefix(arg, "--"):
			args, err = o.long(arg, args)
		case strings.HasPrefix(arg, "-") && arg != "-":
			args, err = o.bundle(arg, args)
		default:
			o.paths = append(o.paths, arg)
		}
		if err != nil {
			return nil, err
		}
		if o.mode >= modeVersion {
			return o, nil
		}
	}
	return o, o.check()
}

func (o *options) long(arg string, rest []string) ([]string, error) {
	name, value, joined := strings.Cut(arg[2:], "=")
	for i := range table {
		p := &table[i]
		if p.long != name {
			continue
		}
		if p.arg == "" && joined {
			return nil, usagef("--%s takes no argument", name)
		}
		return o.apply(p, "--"+name, value, joined, rest)
	}
	return nil, unknown("--" + name)
}

// bundle reads short options: -rv, -tweb1, -rt web1.
func (o *options) bundle(arg string, rest []string) ([]string, error) {
	for i := 1; i < len(arg); i++ {
		p := findShort(arg[i])
		if p == nil {
			return nil, unknownShort(arg, i)
		}
		value, joined := "", false
		if p.arg != "" && i+1 < len(arg) {
			value, joined = arg[i+1:], true
			i = len(arg)
		}
		var err error
		if rest, err = o.apply(p, "-"+string(p.short), value, joined, rest); err != nil {
			return nil, err
		}
	}
	return rest, nil
}

func findShort(c byte) *option {
	for i := range table {
		if table[i].short == c {
			return &table[i]
		}
	}
	return nil
}

// unknownShort is the error of the letter at i in a bundle. A long name with
// one dash (-delete) is told as such.
func unknownShort(arg string, i int) error {
	if near := nearest(arg); i == 1 && len(arg) > 3 && near != "" {
		return usagef("unknown option %s; did you mean %s?", brief(arg), near)
	}
	_, n := utf8.DecodeRuneInString(arg[i:])
	return unknown("-" + arg[i:i+n])
}

// apply sets one option, taking its argument from rest if it is not joined.
func (o *options) apply(p *option, as, value string, joined bool, rest []string) ([]string, error) {
	if p.arg != "" && !joined {
		if len(rest) == 0 {
			return nil, usagef("%s needs an argument: %s %s", as, as, p.arg)
		}
		value, rest = rest[0], rest[1:]
	}
	err := p.set(o, value)
	var u *usageError
	if errors.As(err, &u) && p.arg != "" {
		err = usagef("%s: %s", as, u.text)
	}
	return rest, err
}

// check refuses what does not go together.
func (o *options) check() error {
	switch {
	case o.mode != modePush && (len(o.paths) > 0 || len(o.sources) > 0 || !reflect.DeepEqual(o.req, control.PushRequest{Verbose: o.req.Verbose})):
		return usagef("--status, --members and --forget do not go with a push or its options")
	case o.quiet && (o.told || o.req.Verbose > 0):
		return usagef("--quiet does not go with --verbose or --progress")
	case o.mode == modeForget && o.forget == "":
		return usagef("--forget needs the name of a member")
	case o.mode != modePush:
		return nil
	case o.req.Delete && !o.req.Recursive:
		return usagef("--delete works only with --recursive (-r)")
	case o.req.MaxDelete != nil && !o.req.Delete:
		return usagef("--max-delete does nothing without --delete")
	case o.req.ForceEmpty && !o.req.Delete:
		return usagef("--force-empty does nothing without --delete")
	case len(o.paths) == 0 && !o.req.Recursive:
		return usagef("nothing to push: name a path, or use -r for all that is below the current directory")
	case len(o.paths) == 0 && o.req.DeleteMissing:
		return usagef("--delete-missing needs the paths that it may remove")
	}
	for _, p := range o.paths {
		if p == "" {
			return usagef("a path is empty")
		}
	}
	return nil
}

// rules reads the files of --exclude-from and returns all rules in order.
func (o *options) rules(stdin io.Reader, open func(string) (io.ReadCloser, error)) ([]control.Rule, error) {
	var all []control.Rule
	for _, s := range o.sources {
		if s.file == "" {
			all = append(all, s.rule)
			continue
		}
		in, name := io.NopCloser(stdin), "standard input"
		if s.file != "-" {
			f, err := open(s.file)
			if err != nil {
				return nil, fmt.Errorf("--exclude-from: %w", err)
			}
			in, name = f, s.file
		}
		text, err := io.ReadAll(io.LimitReader(in, maxRuleFile+1))
		in.Close()
		if err != nil {
			return nil, fmt.Errorf("--exclude-from: reading %s: %w", name, err)
		}
		if len(text) > maxRuleFile {
			return nil, fmt.Errorf("--exclude-from: %s is longer than %d bytes", name, maxRuleFile)
		}
		if all, err = appendRules(all, name, string(text)); err != nil {
			return nil, err
		}
	}
	if len(all) > control.MaxRules {
		return nil, fmt.Errorf("%d patterns; at most %d", len(all), control.MaxRules)
	}
	return all, nil
}

const maxRuleFile = 1 << 20 // bytes

// appendRules reads patterns, one a line. As in rsync's files, a line that
// starts with "+ " is an include, "- " an exclude, and "!" drops the rules so
// far; empty lines and those that start with # or ; are skipped.
func appendRules(all []control.Rule, name, text string) ([]control.Rule, error) {
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSuffix(line, "\r")
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		if line == "!" {
			all = nil
			continue
		}
		pattern, include := strings.CutPrefix(line, "+ ")
		if !include {
			pattern = strings.TrimPrefix(line, "- ")
		}
		if pattern == "" || len(pattern) > control.MaxPattern || strings.IndexByte(pattern, 0) >= 0 {
			return nil, fmt.Errorf("--exclude-from: %s, line %d: a pattern must have 1 to %d bytes without NUL", name, i+1, control.MaxPattern)
		}
		all = append(all, control.Rule{Include: include, Pattern: control.Text(pattern)})
	}
	return all, nil
}

// usage is the text of --help.
func usage() string {
	var b strings.Builder
	b.WriteString("Usage: msync [OPTION]... [PATH]...\n" +
		"       msync --status | --members | --forget NAME\n\n" +
		"Makes each PATH on all members what it is here. A PATH is absolute, or relative\n" +
		"to the current directory if that is inside the base directory; from outside it\n" +
		"may be relative to the base directory too. -r without PATH pushes the current\n" +
		"directory, or from outside the base directory all of that.\n\nOptions:\n")
	for _, p := range table {
		short := "    "
		if p.short != 0 {
			short = "-" + string(p.short) + ", "
		}
		arg := ""
		if p.arg != "" {
			arg = " " + p.arg
		}
		fmt.Fprintf(&b, "  %s%-24s %s\n", short, "--"+p.long+arg, p.help)
	}
	b.WriteString("\nMSYNC_TARGET names the daemon if -c and --socket do not.\n\n" +
		"Exit status: 0 every member is in the pushed state; 1 wrong use, or the daemon\n" +
		"cannot be reached; 2 some member or path failed, was lost or is missing;\n" +
		"3 nobody to push to, or fewer than --expect, nothing sent; 4 aborted, nothing\n" +
		"changed anywhere.\n")
	return b.String()
}
