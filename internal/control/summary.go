package control

import (
	"fmt"
	"strings"
)

// NothingSent reports whether the push ended before anything was sent, because
// there was nobody who could take it.
func (s *Summary) NothingSent() bool {
	return s.Exit == ExitNobody || s.Exit == ExitPartial && s.Reason != ""
}

// Line returns the line for people that ends a push.
func (s *Summary) Line() string {
	var b strings.Builder
	switch {
	case s.NothingSent():
		b.WriteString("nothing sent: " + or(string(s.Reason), "there is nobody to push to"))
		return b.String()
	case s.Exit == ExitAborted:
		b.WriteString("aborted, nothing was changed anywhere")
		if s.Reason != "" {
			b.WriteString(": " + string(s.Reason))
		}
		return b.String()
	case s.DryRun && !s.Check:
		b.WriteString("(dryrun) ")
	}
	fmt.Fprintf(&b, "members: %d done, %d late, %d failed, %d lost, %d missing", s.Done, s.Late, s.Failed, s.Lost, s.Missing)
	if s.Away > 0 {
		fmt.Fprintf(&b, ", %d away", s.Away)
	}
	b.WriteString("; ")
	files, content := Count(s.Files, "file", "files"), Bytes(s.Bytes)
	switch {
	case s.Check:
		b.WriteString(Count(s.Updated+s.Deleted, "path differs", "paths differ") + "; ")
	case s.DryRun:
		fmt.Fprintf(&b, "%s would be updated, %d deleted; %s, %s of content would be sent; ", Count(s.Updated, "name", "names"), s.Deleted, files, content)
	default:
		fmt.Fprintf(&b, "%s updated, %d deleted; %s, %s of content; ", Count(s.Updated, "name", "names"), s.Deleted, files, content)
	}
	fmt.Fprintf(&b, "sent %s, repaired %s; %.2f seconds", Bytes(s.BytesSent), Bytes(s.BytesRepaired), s.Seconds)
	return b.String()
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// Count writes a number with the word for what is counted.
func Count[N int | uint64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// Bytes writes a number of bytes for people: exact below 10,000, with three
// digits and a binary unit above.
func Bytes(n uint64) string {
	if n < 10000 {
		return Count(n, "byte", "bytes")
	}
	v, unit := float64(n)/1024, 0
	for v >= 999.5 && unit < 5 {
		v /= 1024
		unit++
	}
	digits := 2
	if v >= 99.95 {
		digits = 0
	} else if v >= 9.995 {
		digits = 1
	}
	return fmt.Sprintf("%.*f %ciB", digits, v, "KMGTPE"[unit])
}
