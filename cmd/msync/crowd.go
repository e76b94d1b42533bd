package main

import (
	"fmt"
	"strings"

	"makuo/internal/control"
)

// crowdShown is how many problems of one kind are shown before the rest is
// only counted.
const crowdShown = 10

// crowds counts problems of one kind: the same message, but for numbers in it,
// at different paths of a member.
type crowds struct {
	kinds map[crowd]*crowdCount
	order []crowd // of first sight
}

type crowd struct{ severity, member, message string }

type crowdCount struct {
	seen    int
	example string // a message of the kind
}

// admit counts a problem and reports whether it is to be shown.
func (c *crowds) admit(ev *control.Problem) bool {
	if ev.Path == "" {
		return true
	}
	k := crowd{ev.Severity, ev.Member, withoutNumbers(string(ev.Message))}
	n := c.kinds[k]
	if n == nil {
		if c.kinds == nil {
			c.kinds = make(map[crowd]*crowdCount)
		}
		n = &crowdCount{example: string(ev.Message)}
		c.kinds[k] = n
		c.order = append(c.order, k)
	}
	n.seen++
	return n.seen <= crowdShown
}

// rest returns a line for each kind of a member, or of all of them if it is
// nil, of which some were not shown, and forgets these kinds.
func (c *crowds) rest(member *string) (lines []string) {
	var kept []crowd
	for _, k := range c.order {
		if member != nil && k.member != *member {
			kept = append(kept, k)
			continue
		}
		n := c.kinds[k]
		delete(c.kinds, k)
		if n.seen <= crowdShown {
			continue
		}
		head := severity(k.severity)
		if k.member != "" {
			head += clean(k.member) + ": "
		}
		lines = append(lines, fmt.Sprintf("%s... and %d more like this: %s", head, n.seen-crowdShown, clean(n.example)))
	}
	c.order = kept
	return lines
}

// severity is how a line of a problem begins.
func severity(s string) string {
	if s == control.SeverityWarning {
		return "warning: "
	}
	return "error: "
}

// withoutNumbers replaces each run of digits by one 0.
func withoutNumbers(s string) string {
	var b strings.Builder
	for i := range len(s) {
		digit := s[i] >= '0' && s[i] <= '9'
		switch {
		case !digit:
			b.WriteByte(s[i])
		case i == 0 || s[i-1] < '0' || s[i-1] > '9':
			b.WriteByte('0')
		}
	}
	return b.String()
}
