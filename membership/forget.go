package membership

import (
	"time"

	"makuo/protocol"
)

// A member that was forgotten is forgotten by all, also by those that are not
// there when it is said:
//
//  1. Who forgets members says so to all, several times.
//  2. Everybody keeps for a week, on disk too, who was forgotten and when.
//  3. When a member appears or returns, the others say it again, at times drawn
//     by chance; who hears that all it would say has been said does not.
//  4. A word counts only for a session that is not there and was not heard since.
//     One that is heard again is there again, and its word is dropped.
const (
	keepForgotten = 7 * 24 * time.Hour
	maxForgotten  = 1000
	forgetSkew    = time.Minute // between members' clocks
)

// forgetGaps are the pauses between the first words.
var forgetGaps = [...]time.Duration{300 * time.Millisecond, time.Second, 3 * time.Second}

// forgets is what a table knows of members that were forgotten.
type forgets struct {
	set    map[protocol.Session]protocol.Forgotten
	tellAt time.Duration // never: nothing to say
	tells  int           // to come, of this member's own word
}

// Forget drops the members with the given name that are missing or away, here
// and everywhere, and reports whether there were any. A member that is there
// cannot be forgotten.
func (t *Table) Forget(now time.Time, name string) bool {
	at := t.enter(now)
	any := false
	for i := len(t.list) - 1; i >= 0; i-- {
		m := t.list[i]
		if m.name != name || m.live() {
			continue
		}
		any = true
		t.noteForgotten(protocol.Forgotten{Session: m.session, At: t.base.Add(at).UnixNano(), Name: m.name})
		t.drop(m)
	}
	if any {
		t.forgets.tellAt, t.forgets.tells = at, len(forgetGaps)
	}
	return any
}

// HandleForget takes another member's word that members were forgotten.
func (t *Table) HandleForget(now time.Time, f protocol.Forget) []Event {
	at := t.enter(now)
	for _, x := range f.Members {
		wall, said := t.base.Add(at), time.Unix(0, x.At)
		if x.Session == t.cfg.Self.Session || said.After(wall.Add(forgetSkew)) || wall.Sub(said) >= keepForgotten {
			continue
		}
		m := t.byID[x.Session]
		if m != nil && (m.live() || m.name != x.Name || t.base.Add(m.heard).After(said.Add(forgetSkew))) {
			continue
		}
		t.noteForgotten(x)
		if m != nil {
			t.drop(m)
			t.emit(EventForgotten, m, Member{})
		}
	}
	if t.forgets.tells == 0 && t.allSaid(&f) {
		t.forgets.tellAt = never
	}
	return t.flush()
}

func (t *Table) allSaid(f *protocol.Forget) bool {
	n := 0
	for _, x := range f.Members {
		if _, ok := t.forgets.set[x.Session]; ok {
			n++
		}
	}
	return n == len(t.forgets.set)
}

func (t *Table) noteForgotten(f protocol.Forgotten) {
	if t.forgets.set == nil {
		t.forgets.set = make(map[protocol.Session]protocol.Forgotten)
	}
	if _, known := t.forgets.set[f.Session]; known || len(t.forgets.set) >= maxForgotten {
		return
	}
	t.forgets.set[f.Session] = f
	t.changed = true
}

// appeared drops the word about a session that is there, and has the others'
// said again soon.
func (t *Table) appeared(at time.Duration, s protocol.Session) {
	if _, ok := t.forgets.set[s]; ok {
		delete(t.forgets.set, s)
		t.changed = true
	}
	if len(t.forgets.set) > 0 {
		spread := max(2*time.Second, t.share(protocol.MaxForgotten*80, shareProbes))
		t.forgets.tellAt = min(t.forgets.tellAt, at+time.Second+t.upTo(spread))
	}
}

// pollForgets says who was forgotten.
func (t *Table) pollForgets(at time.Duration, out []Out) []Out {
	g := &t.forgets
	if at < g.tellAt {
		return out
	}
	g.tellAt = never
	if g.tells > 0 {
		g.tellAt = at + forgetGaps[len(forgetGaps)-g.tells]
		g.tells--
	}
	var f protocol.Forget
	flush := func() {
		if len(f.Members) > 0 {
			out = append(out, Out{Type: protocol.TypeForget, Body: f.Append(nil)})
			f.Members = f.Members[:0]
		}
	}
	for s, x := range g.set {
		if t.base.Add(at).Sub(time.Unix(0, x.At)) >= keepForgotten {
			delete(g.set, s)
			t.changed = true
			continue
		}
		if f.Members = append(f.Members, x); len(f.Members) == protocol.MaxForgotten {
			flush()
		}
	}
	flush()
	return out
}
