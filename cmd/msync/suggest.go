package main

import (
	"strings"

	"makuo/internal/spell"
)

// notHere are options of makuosan's msync and of rsync that are not here, with
// what to do instead.
var notHere = map[string]string{
	"--sync":    "it is makuosan's; --delete-missing removes a named path that is not here on the members, -r --delete what is missing below a directory",
	"-f":        "it is makuosan's; run msync once for each command",
	"-g":        "it is makuosan's; the group of the source is pushed as it is: use chgrp first",
	"-K":        "it is makuosan's; the socket's mode and group say who may push",
	"-a":        "it is rsync's; msync -r keeps modes, owners, times and links always",
	"--archive": "it is rsync's; msync -r keeps modes, owners, times and links always",
	"-z":        "it is rsync's; what can be compressed always is",

	"--delete-missing-args": "it is rsync's; here it is --delete-missing",
}

// unknown is the error of an option that does not exist, with the one that may
// have been meant.
func unknown(as string) error {
	if why := notHere[as]; why != "" {
		return usagef("there is no option %s: %s", brief(as), why)
	}
	if near := nearest(as); near != "" {
		return usagef("unknown option %s; did you mean %s?", brief(as), near)
	}
	return usagef("unknown option %s", brief(as))
}

// nearest is the option whose name is most like that of as; "": none is.
func nearest(as string) string {
	name := strings.TrimLeft(as, "-")
	if len(name) == 1 {
		for _, p := range table {
			if p.short != 0 && strings.EqualFold(string(p.short), name) {
				return "-" + string(p.short)
			}
		}
		return ""
	}
	best, least := "", 1+len(name)/3
	for _, p := range table {
		d := spell.Distance(strings.ToLower(name), p.long)
		if strings.HasPrefix(p.long, name) {
			d = 0
		}
		if d < least {
			best, least = "--"+p.long, d
		}
	}
	return best
}
