package main

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"makuo/internal/control"
)

// progressEvery is the shortest time between two progress lines on a terminal,
// plainEvery that between two elsewhere.
const (
	progressEvery = 100 * time.Millisecond
	plainEvery    = 5 * time.Second
)

// progress redraws the progress line, at most ten times a second. Without a
// terminal it writes a line of its own now and then, if that was asked for.
func (s *screen) progress(text string) {
	now := s.now()
	width := s.width()
	if width < 2 {
		if s.plain && now.Sub(s.last) >= plainEvery {
			io.WriteString(s.stderr, clean(text)+"\n")
			s.last = now
		}
		return
	}
	if s.shown > 0 && now.Sub(s.last) < progressEvery {
		return
	}
	s.unwrap(width)
	line, columns := cut(clean(text), width-1) // the last column would wrap
	pad := max(s.shown-columns, 0)
	io.WriteString(s.stderr, "\r"+line+strings.Repeat(" ", pad)+strings.Repeat("\b", pad))
	s.shown, s.last = columns, now
}

// erase removes the progress line.
func (s *screen) erase() {
	if s.shown == 0 {
		return
	}
	s.unwrap(s.width())
	if s.shown > 0 {
		io.WriteString(s.stderr, "\r"+strings.Repeat(" ", s.shown)+"\r")
		s.shown = 0
	}
}

// unwrap leaves a progress line behind that is wider than the terminal has
// become: where it stands now, only the terminal knows.
func (s *screen) unwrap(width int) {
	if s.shown > 0 && width > 0 && s.shown >= width {
		io.WriteString(s.stderr, "\n")
		s.shown = 0
	}
}

// cut returns as much of text as fits into so many columns, and its width.
func cut(text string, columns int) (string, int) {
	used := 0
	for i, c := range text {
		w := runeWidth(c)
		if used+w > columns {
			return text[:i], used
		}
		used += w
	}
	return text, used
}

// textWidth is how many columns of a terminal text takes.
func textWidth(text string) int {
	used := 0
	for _, c := range text {
		used += runeWidth(c)
	}
	return used
}

// wide holds the ranges of characters that take two columns (Unicode's East
// Asian Width W and F), in short.
var wide = &unicode.RangeTable{
	R16: []unicode.Range16{{Lo: 0x1100, Hi: 0x115f, Stride: 1}, {Lo: 0x231a, Hi: 0x231b, Stride: 1}, {Lo: 0x2e80, Hi: 0x303e, Stride: 1},
		{Lo: 0x3041, Hi: 0xa4cf, Stride: 1}, {Lo: 0xa960, Hi: 0xa97f, Stride: 1}, {Lo: 0xac00, Hi: 0xd7a3, Stride: 1},
		{Lo: 0xf900, Hi: 0xfaff, Stride: 1}, {Lo: 0xfe30, Hi: 0xfe6f, Stride: 1}, {Lo: 0xff01, Hi: 0xff60, Stride: 1},
		{Lo: 0xffe0, Hi: 0xffe6, Stride: 1}},
	R32: []unicode.Range32{{Lo: 0x16fe0, Hi: 0x18aff, Stride: 1}, {Lo: 0x1b000, Hi: 0x1b2ff, Stride: 1}, {Lo: 0x1f300, Hi: 0x1f64f, Stride: 1},
		{Lo: 0x1f680, Hi: 0x1f6ff, Stride: 1}, {Lo: 0x1f900, Hi: 0x1faff, Stride: 1}, {Lo: 0x20000, Hi: 0x3fffd, Stride: 1}},
}

func runeWidth(c rune) int {
	switch {
	case c < 0x300:
		return 1
	case unicode.In(c, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	case unicode.Is(wide, c):
		return 2
	}
	return 1
}

// doings are the API's words for how far a push is, and a member's own, as
// people say it.
var doings = map[string]string{control.StageLock: "asking the members", control.StageWait: "waiting", control.StageSend: "sending",
	control.StageFlush: "writing to disk", control.StageCommit: "committing", control.StageReport: "collecting reports", control.StageAbort: "aborting",
	"learn": "asked", "stream": "receiving", "stage": "writing to disk", "staged": "ready to commit",
	"undecided": "ready to commit, and not told yet whether to"}

func doing(stage string) string {
	if text := doings[stage]; text != "" {
		return text
	}
	return clean(stage)
}

func progressLine(ev *control.Progress) string {
	line := doing(ev.Stage)
	if ev.Late {
		line = "late members: " + line
	}
	if ev.Percent >= 0 {
		line += fmt.Sprintf(" %3.0f%%", ev.Percent)
	}
	line += " " + control.Bytes(ev.Bytes)
	if ev.BytesTotal > 0 {
		line += " of " + control.Bytes(ev.BytesTotal)
	}
	line += fmt.Sprintf(", %s, %.0f Mbit/s", control.Count(ev.Entries, "entry", "entries"), ev.RateMbit)
	if ev.LeftS >= 1 && ev.Stage == control.StageSend {
		line += ", " + ago(time.Duration(ev.LeftS*float64(time.Second))) + " left"
	}
	return line + awaited(ev) + memberCounts(&ev.Members)
}

// awaited names up to three members that are waited for.
func awaited(ev *control.Progress) string {
	text := ""
	for i, a := range ev.WaitingFor {
		switch {
		case i == 0:
			text = ", waiting for "
		case i == waitLimit:
			return text + fmt.Sprintf(" and %d more", len(ev.WaitingFor)-waitLimit+ev.WaitingN)
		default:
			text += ", "
		}
		text += clean(a.Name) + " (" + clean(a.Doing) + ")"
	}
	return text
}

// memberCounts lists the states in which there are members.
func memberCounts(c *control.MemberCounts) string {
	var text string
	for _, x := range []struct {
		n    int
		word string
	}{{c.Active, "active"}, {c.Parked, "parked"}, {c.Staged, "staged"}, {c.Done, "done"}, {c.Late, "late"},
		{c.Failed, "failed"}, {c.Lost, "lost"}, {c.Refused, "refused"}} {
		if x.n > 0 {
			text += fmt.Sprintf(", %d %s", x.n, x.word)
		}
	}
	return text
}
