package membership

import (
	"cmp"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"makuo/protocol"
)

// MaxMembers is the largest number of sessions a table holds, those that are
// missing or away included. More are refused, so that strangers cannot exhaust memory.
const MaxMembers = 20000

const (
	maxSameName    = 16       // sessions under one name
	maxDetailBytes = 16 << 20 // of all details held
	maxDead        = 4096     // ended sessions remembered, for graveTime
)

// Bytes on the wire of a packet beside its body: Ethernet header and frame
// check (18), IPv4 (20), UDP (8), prefix and check.
const wireOverhead = 46 + protocol.PrefixLen + protocol.CheckLen

const (
	graveTime   = 10 * time.Second // a session that ended and is heard after that has not ended
	never       = time.Duration(1<<63 - 1)
	lateLimit   = 2 * time.Second  // a Poll that comes later than asked for by this means that this process stood still
	settleTime  = 2 * time.Second  // see Settled
	loadedTime  = 6 * time.Second  // until a member known from disk only is reported missing
	maxInterval = 60 * time.Second // of beacons; the wire can say 65
)

// Self is what a table tells of its own daemon.
type Self struct {
	Session protocol.Session
	Name    string // protocol.ValidName
	Port    uint16 // UDP port of the unicast socket
	Started time.Time
	Flags   uint8           // see SetFlags
	Detail  protocol.Detail // see SetDetail; Digest is computed by the table
}

// Config configures a table. Zero values stand for the defaults.
type Config struct {
	Self      Self
	Interval  time.Duration // between beacons in a small cluster; default 1 s, 20 ms to 60 s
	Forget    time.Duration // after which a member that is missing or away is dropped; default a week
	Bandwidth int           // bytes a second that all members' messages together should stay below; default 50,000
	Rand      *rand.Rand    // source of jitter; default: seeded by Self.Session
}

// Table is one daemon's view of the cluster. It is not safe for concurrent
// use. Every time given to it should carry a monotonic reading; one that lies
// before an earlier one counts as no time passing.
type Table struct {
	cfg    Config
	rnd    *rand.Rand
	base   time.Time
	flags  uint8
	detail protocol.Detail

	list  []*member
	byID  map[protocol.Session]*member
	names map[string][]*member
	addrs map[netip.AddrPort]*member
	dead  graves

	live        int // members alive or foreign, without this one
	liveBytes   int // on the wire, of one beacon of each, with this one's
	detailBytes int
	selfDup     bool
	changed     bool
	stopped     bool

	announced time.Duration // since when the others can hear this member at its present address
	last      time.Duration // latest time seen
	promised  time.Duration // when Poll asked to be called
	floor     time.Duration // silence before this is not held against anybody
	sweepAt   time.Duration // no member needs a look before this
	refused   time.Duration // last EventRefused
	events    []Event       // not handed out yet
	queue     []Out         // answers to single members, not handed out yet

	beacons beaconClock
	details detailClock
	wanted  []*member
	forgets forgets
}

// New returns a table that knows the members in saved, which counts them as
// missing until they are heard. Its first Poll is due at once.
func New(cfg Config, now time.Time, saved []Saved) *Table {
	if cfg.Interval == 0 {
		cfg.Interval = time.Second
	}
	cfg.Interval = min(max(cfg.Interval, 20*time.Millisecond), maxInterval)
	if cfg.Forget <= 0 {
		cfg.Forget = 7 * 24 * time.Hour
	}
	if cfg.Bandwidth <= 0 {
		cfg.Bandwidth = 50000
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.New(rand.NewPCG(uint64(cfg.Self.Session), uint64(cfg.Self.Started.UnixNano())))
	}
	t := &Table{cfg: cfg, rnd: cfg.Rand, base: now, sweepAt: never, refused: -time.Hour,
		byID: make(map[protocol.Session]*member), names: make(map[string][]*member), addrs: make(map[netip.AddrPort]*member),
		liveBytes: beaconBytes(cfg.Self.Name)}
	t.SetFlags(cfg.Self.Flags)
	t.detail = withDigest(cfg.Self.Detail)
	t.forgets.tellAt = never
	t.details = detailClock{sendAt: settleTime, sent: -never / 2, askAt: never}
	for _, s := range saved {
		t.load(s)
	}
	return t
}

func beaconBytes(name string) int { return wireOverhead + 20 + len(name) }

// enter turns a time given by the caller into the table's own, and notices
// when this process stood still (stopped, suspended): nobody is judged by
// silence that it could not have heard.
func (t *Table) enter(now time.Time) time.Duration {
	at := max(now.Sub(t.base), t.last)
	if at-max(t.last, t.promised) > lateLimit {
		t.floor = at
		t.sweepAt = at
	}
	t.last = at
	return at
}

func (t *Table) emit(kind EventKind, m *member, old Member) {
	t.events = append(t.events, Event{Kind: kind, Member: t.view(m), Old: old})
}

func (t *Table) flush() []Event {
	e := t.events
	t.events = nil
	return e
}

func (t *Table) insert(m *member) {
	m.index = len(t.list)
	t.list = append(t.list, m)
	t.byID[m.session] = m
	t.names[m.name] = append(t.names[m.name], m)
	t.addrs[m.addr] = m
	if m.live() {
		t.count(m, 1)
	}
	t.changed = true
	t.sweepAt = min(t.sweepAt, t.due(m))
}

func (t *Table) count(m *member, n int) {
	t.live += n
	t.liveBytes += n * beaconBytes(m.name)
}

func (t *Table) drop(m *member) {
	last := t.list[len(t.list)-1]
	t.list[m.index] = last
	last.index = m.index
	t.list = t.list[:len(t.list)-1]
	delete(t.byID, m.session)
	if t.addrs[m.addr] == m {
		delete(t.addrs, m.addr)
	}
	same := slices.DeleteFunc(t.names[m.name], func(o *member) bool { return o == m })
	if t.names[m.name] = same; len(same) == 0 {
		delete(t.names, m.name)
	}
	if m.live() {
		t.count(m, -1)
	}
	t.detailBytes -= m.detailSize
	m.wanted = false
	t.changed = true
	t.refreshName(m.name)
}

// SetFlags sets the flags of the beacons from now on.
func (t *Table) SetFlags(flags uint8) { t.flags = flags &^ protocol.FlagSolicit }

// Self returns this daemon's own entry, which Members does not hold. Its
// address has no IP.
func (t *Table) Self() Member {
	d := t.detail
	return Member{Session: t.cfg.Self.Session, Name: t.cfg.Self.Name, Addr: netip.AddrPortFrom(netip.Addr{}, t.cfg.Self.Port),
		State: Alive, Since: t.base, LastHeard: t.base.Add(t.last), Started: t.cfg.Self.Started, Flags: t.flags, MinVersion: protocol.Version,
		MaxVersion: protocol.Version, Interval: t.interval(), Detail: &d, DuplicateName: t.selfDup}
}

// Members returns a copy of the table without this daemon itself, sorted by
// name, then address.
func (t *Table) Members() []Member {
	ms := make([]Member, len(t.list))
	for i, m := range t.list {
		ms[i] = t.view(m)
	}
	slices.SortFunc(ms, func(a, b Member) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), a.Addr.Compare(b.Addr), cmp.Compare(a.Session, b.Session))
	})
	return ms
}

// Lookup returns the member with the given session.
func (t *Table) Lookup(s protocol.Session) (Member, bool) {
	m := t.byID[s]
	if m == nil {
		return Member{}, false
	}
	return t.view(m), true
}

// ByName returns all members with the given name, sorted by address.
func (t *Table) ByName(name string) []Member {
	var ms []Member
	for _, m := range t.names[name] {
		ms = append(ms, t.view(m))
	}
	slices.SortFunc(ms, func(a, b Member) int { return a.Addr.Compare(b.Addr) })
	return ms
}

// Moved says that this member is at another address, or at the first one after
// it had none, and which port it has there. It makes itself known as at the
// start, and nobody's silence up to now counts.
func (t *Table) Moved(now time.Time, port uint16) {
	at := t.enter(now)
	t.cfg.Self.Port = port
	t.announced, t.floor = at, at
	t.beacons.at, t.beacons.sent = at, 0
	t.sweepAt = at
}

// Settled reports whether every member that is there had time to be heard: 2 s
// after the start or the last Moved, and in a large cluster a little over its longest interval.
func (t *Table) Settled(now time.Time) bool {
	at := now.Sub(t.base) - t.announced
	if at < settleTime {
		return false
	}
	longest := time.Duration(0)
	if at < 2*maxInterval {
		for _, m := range t.list {
			if m.state == Alive {
				longest = max(longest, m.interval)
			}
		}
	}
	return longest <= settleTime || at >= longest*11/10+settleTime/4
}

// Changed reports whether what Saved returns has changed since it was last
// called; what only says when somebody was heard does not count.
func (t *Table) Changed() bool { return t.changed }

// Saved returns what is to be kept on disk, for New.
func (t *Table) Saved() []Saved {
	t.changed = false
	out := make([]Saved, 0, len(t.list))
	for _, m := range t.list {
		out = append(out, Saved{Session: m.session, Name: m.name, Addr: m.addr, Missing: m.state == Missing && !m.loaded, Away: m.state == Away,
			Since: t.base.Add(m.since).Round(0), LastHeard: t.base.Add(m.heard).Round(0)})
	}
	for _, f := range t.forgets.set {
		out = append(out, Saved{Session: f.Session, Name: f.Name, Forgotten: true, Since: time.Unix(0, f.At)})
	}
	slices.SortFunc(out, func(a, b Saved) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Session, b.Session))
	})
	return out
}

// load takes in a member known from disk. One that was alive when it was
// saved is missing since the start of this daemon, which cannot know more.
func (t *Table) load(s Saved) {
	if s.Forgotten && protocol.ValidName(s.Name) && s.Session != 0 {
		t.noteForgotten(protocol.Forgotten{Session: s.Session, At: s.Since.UnixNano(), Name: s.Name})
		return
	}
	if !protocol.ValidName(s.Name) || s.Session == 0 || s.Session == t.cfg.Self.Session || s.Name == t.cfg.Self.Name ||
		!s.Addr.IsValid() || t.byID[s.Session] != nil || len(t.list) >= MaxMembers || len(t.names[s.Name]) >= maxSameName {
		return
	}
	m := &member{session: s.Session, name: s.Name, addr: s.Addr, state: Missing, loaded: !s.Missing,
		heard: min(s.LastHeard.Sub(t.base), 0), interval: t.cfg.Interval}
	if s.Away {
		m.state, m.loaded = Away, false
	}
	if s.Missing || s.Away {
		m.since = min(s.Since.Sub(t.base), 0)
	}
	t.insert(m)
}

// graves remembers for a while the sessions that said that they end or whose
// place was taken, so that a packet of theirs that was long on its way does not
// bring them back. One that is heard later lives: the word was forged, or wrong.
type graves struct {
	set  map[protocol.Session]time.Duration // since when
	ring []protocol.Session
	next int
}

func (g *graves) has(at time.Duration, s protocol.Session) bool {
	since, ok := g.set[s]
	return ok && at-since < graveTime
}

func (g *graves) add(at time.Duration, s protocol.Session) {
	if g.set == nil {
		g.set = make(map[protocol.Session]time.Duration)
	}
	if _, ok := g.set[s]; ok {
		g.set[s] = at
		return
	}
	if len(g.ring) < maxDead {
		g.ring = append(g.ring, s)
	} else {
		delete(g.set, g.ring[g.next])
		g.ring[g.next] = s
		g.next = (g.next + 1) % maxDead
	}
	g.set[s] = at
}
