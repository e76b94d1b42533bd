package membership

import (
	"net/netip"
	"time"

	"makuo/protocol"
)

// State tells whether a member is there.
type State uint8

// States of a member.
const (
	Alive   State = 1 // heard within its silence limit
	Missing State = 2 // vanished without a leave message and not back yet
	Foreign State = 3 // there, but speaks no protocol version of ours
	Away    State = 4 // said that it ends, and is not back yet
)

var stateNames = [...]string{"", "alive", "missing", "other version", "away"}

// String returns the word shown to people.
func (s State) String() string {
	if int(s) < len(stateNames) && s != 0 {
		return stateNames[s]
	}
	return "unknown"
}

// Member is a copy of what the table knows of one member.
type Member struct {
	Session    protocol.Session
	Name       string
	Addr       netip.AddrPort // of its unicast socket
	State      State
	Since      time.Time // when it came into State, as seen here
	LastHeard  time.Time // any packet counts
	Started    time.Time // of its daemon, by its own clock; zero when not known
	Flags      uint8     // of its last beacon: protocol.FlagNoReceive and so on
	MinVersion uint8     // lowest and highest protocol version it speaks;
	MaxVersion uint8     // 0 when known only from disk
	Interval   time.Duration
	Detail     *protocol.Detail // nil while not known; shared, not to be changed

	// DuplicateName says that another member that is there, or this one's own
	// daemon, has the same name.
	DuplicateName bool
	// Superseded says that a newer session appeared under this name and this
	// one has not been heard since: most likely it is the newer one's earlier
	// run. Within its silence limit it is heard, or replaced.
	Superseded bool
}

// EventKind tells what happened.
type EventKind uint8

// Kinds of events.
const (
	EventJoined    EventKind = 1  // a member that was not known, or known from disk only
	EventReturned  EventKind = 2  // was missing or away, is heard again in the same session
	EventRestarted EventKind = 3  // Member took the place of Old, whose session is gone
	EventLeft      EventKind = 4  // said that it ends
	EventMissing   EventKind = 5  // silent over its limit
	EventForgotten EventKind = 6  // was missing or away for so long that it is dropped
	EventDuplicate EventKind = 7  // its name is in use twice from now on
	EventUnique    EventKind = 8  // its name is no longer in use twice
	EventMoved     EventKind = 9  // same session, another address; Old has the one before
	EventDetail    EventKind = 10 // its details are new
	EventRefused   EventKind = 11 // not taken into the full table; at most one a minute
)

var eventNames = [...]string{"", "joined", "returned", "restarted", "left", "missing", "forgotten", "duplicate name", "name unique again", "moved", "details", "table full"}

// String returns the word used in logs.
func (k EventKind) String() string {
	if int(k) < len(eventNames) && k != 0 {
		return eventNames[k]
	}
	return "unknown"
}

// Event says what happened to a member. Whenever Old.Session is set and
// differs from Member.Session, that session will not be heard of again.
type Event struct {
	Kind   EventKind
	Member Member
	Old    Member // EventRestarted, EventMoved
}

// Out is one message to send.
type Out struct {
	To   netip.AddrPort // the zero value means the group
	Type protocol.Type
	Body []byte // without prefix and check; owned by the receiver of Out
}

// Saved is what is kept on disk of one member, so that one that vanished or
// left is still known after this daemon was restarted.
type Saved struct {
	Session   protocol.Session `json:"session"`
	Name      string           `json:"name"`
	Addr      netip.AddrPort   `json:"addr"`
	Missing   bool             `json:"missing"`
	Away      bool             `json:"away,omitempty"`
	Forgotten bool             `json:"forgotten,omitempty"` // since Since: no member, but what others are to be told
	Since     time.Time        `json:"since"`               // of being missing, away or alive
	LastHeard time.Time        `json:"last_heard"`
}

// member is the table's own record. Times are durations since Table.base and
// may be negative for what is known from disk.
type member struct {
	session protocol.Session
	name    string
	addr    netip.AddrPort
	state   State
	foreign bool // speaks another version, in states Missing and Away too
	loaded  bool // known from disk only, and was alive when saved
	dup     bool
	index   int // in Table.list

	since    time.Duration
	heard    time.Duration
	interval time.Duration
	started  uint32
	flags    uint8
	minVer   uint8
	maxVer   uint8
	probes   uint8 // sent since it was heard last

	doubted bool          // a newer session has its name and it was not heard since
	doubtAt time.Duration // when that one appeared

	digest     uint64
	detail     *protocol.Detail
	detailSize int
	wanted     bool          // in Table.wanted
	askAt      time.Duration // not before
	askWait    time.Duration // until the ask after
}

func (m *member) live() bool { return m.state != Missing && m.state != Away }

// limit is the silence after which m is missing: five beacons, each at most
// an interval after the one before, must have failed to arrive, and half an
// interval is left for delays. At one second that is 5.5 s.
func (m *member) limit() time.Duration { return m.interval * 11 / 2 }

func (t *Table) view(m *member) Member {
	v := Member{Session: m.session, Name: m.name, Addr: m.addr, State: m.state, Since: t.base.Add(m.since),
		LastHeard: t.base.Add(m.heard), Flags: m.flags, MinVersion: m.minVer, MaxVersion: m.maxVer, Interval: m.interval,
		Detail: m.detail, DuplicateName: m.dup, Superseded: m.doubted}
	if m.started != 0 {
		v.Started = time.Unix(int64(m.started), 0)
	}
	return v
}
