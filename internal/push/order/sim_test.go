package order

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"makuo/internal/tree"
	"makuo/protocol"
)

// simPush is a push of the simulation, on its way to each member.
type simPush struct {
	layer Layer
}

// simMember is a member: its tree says which push made each path what it is.
type simMember struct {
	dir  string
	h    *History
	tree map[string]protocol.PushID
	wait []*simPush // parked, undecided or staged here
	away bool
}

var simPaths = []string{"a", "a/b", "a/b/c", "a/d", "a/d/e", "f", "f/g", "f/h", "i"}

// apply commits a push as a member does: what newer ones have decided stays.
func (m *simMember) apply(t *testing.T, seed uint64, p *simPush, check bool) bool {
	n := m.h.Newer(p.layer.Place, p.layer.Paths)
	if err := m.h.Decide(p.layer); err != nil {
		t.Fatal(err)
	}
	v := p.layer.view()
	for _, path := range simPaths {
		if v.decided(path) != tree.ScopePath {
			continue
		}
		if n != nil && check {
			if s, _ := n.Decided(path); s == tree.ScopePath {
				continue
			}
		}
		if p.layer.Place.Less(m.tree[path]) {
			if check {
				t.Errorf("MAKUO_SEED=%d: push %v came over %v at %q", seed, p.layer.Place, m.tree[path], path)
			}
			return false
		}
		m.tree[path] = p.layer.Place
	}
	if err := m.h.Tidy(p.layer.Place); err != nil {
		t.Fatal(err)
	}
	return true
}

// simulate lets pushes of three origins, whose clocks differ by up to a minute, reach
// four members in any order: at once, late, after a restart, or after they were
// away, when another member tells what has happened since. It reports whether
// no path ever went back.
func simulate(t *testing.T, seed uint64, check bool) bool {
	r := rand.New(rand.NewPCG(seed, 3))
	var members []*simMember
	for range 4 {
		m := &simMember{tree: make(map[string]protocol.PushID)}
		if seed%20 == 0 { // with a disk
			m.dir = t.TempDir()
		}
		m.open(t)
		members = append(members, m)
	}
	skew := [3]int64{0, r.Int64N(60), -r.Int64N(60)}
	ok := true
	for now := int64(100); now < 400; now += 1 + r.Int64N(20) {
		o := r.IntN(3)
		p := randomPush(r, protocol.PushID{Start: now + skew[o], Origin: protocol.Session(o + 1)})
		for _, m := range members {
			switch {
			case m.away:
				m.away = r.IntN(3) > 0
				if !m.away {
					m.told(t, members)
				}
			case r.IntN(10) == 0:
				m.away = true
				m.wait = append(m.wait, p) // staged, and the decision is missed
			case r.IntN(4) == 0:
				m.wait = append(m.wait, p)
			default:
				ok = m.apply(t, seed, p, check) && ok
			}
			if !m.away && len(m.wait) > 0 && r.IntN(3) == 0 {
				k := r.IntN(len(m.wait))
				ok = m.apply(t, seed, m.wait[k], check) && ok
				m.wait = append(m.wait[:k], m.wait[k+1:]...)
			}
			if m.dir != "" && r.IntN(5) == 0 {
				m.open(t)
			}
		}
	}
	for _, m := range members { // every push ends
		for _, p := range m.wait {
			ok = m.apply(t, seed, p, check) && ok
		}
	}
	return ok
}

func (m *simMember) open(t *testing.T) {
	b := New()
	if m.dir != "" {
		var err error
		if b, err = Open(m.dir, writeFile); err != nil {
			t.Fatal(err)
		}
	}
	m.h = b.Module("m")
}

// told hears from the others what was decided after each push that is staged
// here.
func (m *simMember) told(t *testing.T, members []*simMember) {
	for _, p := range m.wait {
		for _, o := range members {
			if o == m || o.away {
				continue
			}
			for _, n := range o.h.Since(p.layer.Place, o.h.Paths(p.layer.Place), 200) {
				if err := m.h.Heard(Layer{Place: n.Place, Name: n.Name, Paths: n.Paths, Whole: true}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

func randomPush(r *rand.Rand, place protocol.PushID) *simPush {
	top := simPaths[r.IntN(len(simPaths))]
	h := &protocol.PushHeader{Name: "h", Paths: []string{top}, Options: protocol.OptRecursive}
	if r.IntN(2) == 0 {
		h.Options |= protocol.OptDelete
		return &simPush{layer: Of(place, h, nil)}
	}
	e := new(Entries)
	for _, p := range simPaths {
		if protocol.Within(p, top) && r.IntN(2) == 0 {
			e.Add(Entry{p, r.IntN(2) == 0})
		}
	}
	return &simPush{layer: Of(place, h, e)}
}

// TestNeverOlderAfterNewer runs 2,000 simulations; MAKUO_SEED repeats one. The
// same runs without the question what is newer must fail.
func TestNeverOlderAfterNewer(t *testing.T) {
	first, count := rand.Uint64N(1<<40)*20, uint64(2000)
	if s := os.Getenv("MAKUO_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		first, count = n, 1
	}
	t.Logf("MAKUO_SEED=%d and the %d after it", first, count-1)
	blind := 0
	for seed := first; seed < first+count && !t.Failed(); seed++ {
		simulate(t, seed, true)
		if seed%20 != 0 && !simulate(t, seed, false) {
			blind++
		}
	}
	if count > 1 && blind < int(count)/20 {
		t.Errorf("only %d of %d runs go wrong without the question: the simulation is too tame", blind, count)
	}
}
