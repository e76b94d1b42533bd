package main

import (
	"fmt"
	"strings"

	"makuo/internal/spell"
)

// split brings an argument list into the form the library reads: letters
// that stand together and values that stand at their letter, both of which
// makuosan took (-rs, -p5000), are taken apart. It refuses options that
// makuosan had and makuod has not, and letters that nobody knows.
func split(args []string) ([]string, error) {
	var out []string
	for i := 0; i < len(args); i++ {
		a := args[i]
		if a == "--" || a == "-" || !strings.HasPrefix(a, "-") {
			return append(out, args[i:]...), nil
		}
		parts, wantsNext, err := splitOne(a)
		if err != nil {
			return nil, err
		}
		out = append(out, parts...)
		if !wantsNext {
			continue
		}
		if i++; i == len(args) {
			return nil, fmt.Errorf("%s needs a value; see makuod --help", a)
		}
		// Joined with '=', so that a value may begin with '-'.
		out[len(out)-1] += "=" + args[i]
	}
	return out, nil
}

// splitOne splits one argument that begins with '-'. wantsNext says that its
// last option takes the next argument as its value.
func splitOne(a string) (parts []string, wantsNext bool, err error) {
	if long, ok := strings.CutPrefix(a, "--"); ok {
		name, _, hasValue := strings.Cut(long, "=")
		for _, r := range retiredOptions {
			if name == r.long && name != "" {
				return nil, false, fmt.Errorf("--%s: %s", r.long, r.instead)
			}
		}
		switch name {
		case "help":
			return nil, false, errHelp
		case "version":
			return nil, false, errVersion
		}
		o := find(func(o *option) bool { return o.long == name })
		if o == nil {
			return nil, false, fmt.Errorf("there is no option --%s; %s", name, hint(name))
		}
		return []string{a}, o.value != "" && !hasValue, nil
	}
	for letters := a[1:]; letters != ""; {
		letter := letters[:1]
		letters = letters[1:]
		for _, r := range retiredOptions {
			if letter == r.letter {
				return nil, false, fmt.Errorf("-%s: %s", r.letter, r.instead)
			}
		}
		o := find(func(o *option) bool { return o.letter == letter })
		switch {
		case letter == "h":
			return nil, false, errHelp
		case letter == "V":
			return nil, false, errVersion
		case letter == "n": // makuosan's "stay in the foreground": makuod always does
		case o == nil:
			return nil, false, fmt.Errorf("there is no option -%s; see the list in makuod --help", letter)
		case o.value == "":
			parts = append(parts, "-"+letter)
		case letters == "":
			return append(parts, "-"+letter), true, nil
		default:
			return append(parts, "-"+letter+"="+strings.TrimPrefix(letters, "=")), false, nil
		}
	}
	return parts, false, nil
}

// hint says what may have been meant by a name that no option has.
func hint(name string) string {
	var known []string
	for i := range options {
		known = append(known, options[i].long)
	}
	if near := spell.Nearest(name, known); near != "" {
		return "did you mean --" + near + "?"
	}
	return "see the list in makuod --help"
}

// find returns the option that match picks, or nil.
func find(match func(*option) bool) *option {
	for i := range options {
		if match(&options[i]) {
			return &options[i]
		}
	}
	return nil
}
