package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"makuo/internal/daemon"
)

// What configure returns when something else than a daemon was asked for.
var (
	errHelp    = errors.New("help was asked for")
	errVersion = errors.New("the version was asked for")
)

// configure makes a valid configuration of the command line and the
// environment. The command line wins over MAKUOD_ variables, these over
// MAKUOSAN_ ones; an empty variable is as good as none, but for the base.
func configure(args []string, env environment) (daemon.Config, error) {
	cfg := daemon.Defaults()
	args, err := split(args)
	if err != nil {
		return daemon.Config{}, err
	}
	app := &cli.App{
		Name:                      "makuod",
		HideHelp:                  true,
		HideHelpCommand:           true,
		HideVersion:               true,
		DisableSliceFlagSeparator: true,
		Writer:                    io.Discard,
		ErrWriter:                 io.Discard,
		Flags:                     flags(),
		OnUsageError:              func(_ *cli.Context, err error, _ bool) error { return fmt.Errorf("%w; see makuod --help", err) },
		ExitErrHandler:            func(*cli.Context, error) {},
		Action:                    func(ctx *cli.Context) error { return apply(&cfg, ctx, env) },
	}
	if err := app.Run(append([]string{"makuod"}, args...)); err != nil {
		return daemon.Config{}, err
	}
	return cfg, cfg.Validate()
}

// flags returns what the library is to look for. The value types are its
// simplest: the values are read by the options, whose errors are sentences.
func flags() []cli.Flag {
	var fs []cli.Flag
	for _, o := range options {
		var aliases []string
		if o.letter != "" {
			aliases = []string{o.letter}
		}
		switch {
		case o.many:
			fs = append(fs, &cli.StringSliceFlag{Name: o.long, Aliases: aliases})
		case o.value == "":
			fs = append(fs, &cli.BoolFlag{Name: o.long, Aliases: aliases})
		default:
			fs = append(fs, &cli.StringFlag{Name: o.long, Aliases: aliases})
		}
	}
	return fs
}

// apply sets every option that was given. It reports all values that are
// wrong, not only the first.
func apply(cfg *daemon.Config, ctx *cli.Context, env environment) error {
	if ctx.Args().Present() {
		return fmt.Errorf("%q: makuod takes no arguments besides options; name the directory to serve with --base DIR", ctx.Args().First())
	}
	errs := []error{env.check()}
	for i := range options {
		o := &options[i]
		source, values := given(o, ctx, env)
		for _, v := range values {
			if v == "" {
				errs = append(errs, fmt.Errorf("%s needs a value, and got an empty one; leave it out for the default", source))
			} else if err := o.set(cfg, v); err != nil {
				errs = append(errs, fmt.Errorf("%s %q: %w", source, v, err))
			}
		}
	}
	return errors.Join(errs...)
}

// given returns the values of an option and where they were given.
func given(o *option, ctx *cli.Context, env environment) (source string, values []string) {
	if ctx.IsSet(o.long) {
		switch {
		case o.many:
			return "--" + o.long, ctx.StringSlice(o.long)
		case o.value == "":
			return "--" + o.long, []string{fmt.Sprint(ctx.Bool(o.long))}
		default:
			return "--" + o.long, []string{ctx.String(o.long)}
		}
	}
	for _, name := range []string{o.env(), o.old} {
		v := env[name]
		switch {
		case name == "" || v == "":
		case o.many:
			return name, strings.Fields(v)
		default:
			return name, []string{v}
		}
	}
	return "", nil
}

// helpText is what --help prints.
func helpText() string {
	var b strings.Builder
	b.WriteString("Usage: makuod [OPTION]...\n\nServe a directory, and make it what it is on another member when msync there says so.\n" +
		"Runs in the foreground. All that is needed on most hosts is --base.\n\n")
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, o := range options {
		letter := "    "
		if o.letter != "" {
			letter = "-" + o.letter + ", "
		}
		fmt.Fprintf(w, "  %s--%s %s\t%s\n", letter, o.long, o.value, o.help)
	}
	fmt.Fprint(w, "  -V, --version\tprint the version\n  -h, --help\tprint this\n")
	w.Flush()
	b.WriteString("\nEvery option can also be given in the environment, --no-receive as MAKUOD_NO_RECEIVE=yes;\n" +
		"makuosan's variables are understood:")
	for _, o := range options {
		if o.old != "" {
			fmt.Fprintf(&b, "\n  %-16s %s", o.old, "--"+o.long)
		}
	}
	b.WriteString("\n\nSignals: TERM and INT stop, another a second later stops at once; USR1 logs more, USR2 less.\n" +
		"Exit status: 0 stopped, 1 wrong use, 2 could not start or go on.\n")
	return b.String()
}
