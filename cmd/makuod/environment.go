package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"makuo/internal/spell"
)

// environment has the variables of the process's environment.
type environment map[string]string

// readEnvironment reads what os.Environ returns.
func readEnvironment(list []string) environment {
	env := make(environment, len(list))
	for _, s := range list {
		name, value, _ := strings.Cut(s, "=")
		env[name] = value
	}
	return env
}

const prefix = "MAKUOD_"

// check refuses variables that look as if they meant something and do not: a
// name that no option has, and a base without a value, as a variable that
// was to be filled in leaves it.
func (env environment) check() error {
	var known []string
	for i := range options {
		known = append(known, options[i].env())
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if !strings.HasPrefix(name, prefix) || slices.Contains(known, name) {
			continue
		}
		hint := "makuod --help lists the options, of which --no-receive is " + prefix + "NO_RECEIVE, and so on; unset it"
		if near := env.nearest(name, known); near != "" {
			hint = "did you mean " + near + "? If not, unset it"
		}
		errs = append(errs, fmt.Errorf("environment variable %s: no option has this name; %s", name, hint))
	}
	for _, name := range []string{prefix + "BASE", "MAKUOSAN_BASE"} {
		if v, set := env[name]; set && v == "" {
			errs = append(errs, fmt.Errorf("environment variable %s is empty: set it to the directory to serve, or unset it", name))
		}
	}
	return errors.Join(errs...)
}

func (environment) nearest(name string, known []string) string {
	bare := strings.TrimPrefix(name, prefix)
	for _, k := range known {
		if k := strings.TrimPrefix(k, prefix); len(k) > 3 && len(bare) > 3 && (strings.HasPrefix(bare, k) || strings.HasPrefix(k, bare)) {
			return prefix + k
		}
	}
	var words []string
	for _, k := range known {
		words = append(words, strings.TrimPrefix(k, prefix))
	}
	if near := spell.Nearest(bare, words); near != "" {
		return prefix + near
	}
	return ""
}
