package push

import (
	"net/netip"
	"time"

	"makuo/protocol"
)

// Request describes a push that is to be run.
type Request struct {
	Header        protocol.PushHeader // Roster is filled from Roster below
	Roster        []RosterMember
	Absent        []Absent // members that should take part and cannot
	IgnoreMissing bool     // absent members do not make the push fail
	AllOrNone     bool
	Wait          time.Duration // for locks
	Timeout       time.Duration // of a member's silence
	Verbose       int           // 0: no path lines, 1: update, delete, 2: skip too
	UID           int           // of the caller, -1 if not known
}

// lacking counts the absent members without which the push is not complete.
func (r *Request) lacking() int {
	n := 0
	for _, a := range r.Absent {
		if !a.Missing || !r.IgnoreMissing {
			n++
		}
	}
	return n
}

// Absent is a member that is known and cannot be pushed to.
type Absent struct {
	Name, Addr string
	Missing    bool // not there; otherwise Text says why it is left out
	Away       bool // with Missing: it left, at Since; otherwise it vanished
	LastHeard  time.Time
	Since      time.Time
	Text       string
}

// Note is something a push tells whoever asked for it.
type Note any

// The notes of a push, in the order in which they come. NoteSummary is the
// last.
type (
	// NoteStart: the push has an id and is announced.
	NoteStart struct{ ID protocol.PushID }
	// NoteWaiting: another push holds the paths.
	NoteWaiting struct{ Holder Holder }
	// NoteProgress says where the push stands.
	NoteProgress struct{ Status }
	// NoteParked: a member holds the others back and is served after them.
	NoteParked struct{ Member, Why string }
	// NoteProblem: an error or warning; an empty member is the origin.
	NoteProblem struct {
		Member, Path, Text string
		Warning            bool
	}
	// NoteDecided: the decision to commit is on disk.
	NoteDecided struct{}
	// NotePath: what became (or would become) of a path at a member.
	NotePath struct{ Action, Member, Path string }
	// NoteMember: how the push ended at a roster member.
	NoteMember struct {
		MemberResult
		Delay time.Duration // MemberLate: behind the others
	}
	// NoteSummary ends the push.
	NoteSummary struct{ Summary }
)

// Actions of NotePath.
const (
	ActionUpdate = "update"
	ActionDelete = "delete"
	ActionSkip   = "skip"
)

// Ending says how a push ended.
type Ending uint8

// Endings.
const (
	EndedDone    Ending = iota // every member is in the pushed state
	EndedPartial               // some member or path is not
	EndedAborted               // nothing was changed anywhere
)

// Summary holds the figures of a push.
type Summary struct {
	Ending        Ending
	Reason        string // of EndedAborted
	Done          int    // members in the pushed state, with the others
	Late          int    // members in the pushed state, after the others
	Failed        int    // members with errors, or that gave up or refused
	Lost          int
	Missing       int
	Away          int
	Entries       uint64 // of the manifest
	Updated       uint64 // names that some member made or changed, or would
	Deleted       uint64 // names that the member with the most of them removed, or would
	Files         uint64 // regular files that some member made or changed
	Bytes         uint64 // of content, before compression
	SentBytes     uint64 // on the wire: UDP payload of data packets
	RepairedBytes uint64 // of these, repairs
	Took          time.Duration
	Skew          time.Duration
	Differing     uint64 // members' entries that differ, on a dry run
}

// Status says where a push stands, seen from its origin.
type Status struct {
	ID         protocol.PushID
	Module     string
	Paths      []string
	Stage      Stage
	DryRun     bool
	Decided    bool   // it can no longer be aborted
	Waiting    string // stage wait: the origin of the push in the way
	UID        int    // of the caller, -1 if not known
	Started    time.Time
	Entries    uint64
	Content    uint64 // bytes of content sent, before compression
	Total      uint64 // bytes wanted so far
	TotalKnown bool
	Sent       uint64 // bytes on the wire
	Repaired   uint64
	Rate       float64       // bytes a second on the wire, in the last second
	Percent    float64       // -1: not known yet
	Left       time.Duration // until all content is sent; -1: not known
	Members    []MemberStatus
	Awaited    []Awaited // whom it waits for; while data is sent, nobody
	More       int       // others it waits for too
}

// MemberStatus is one roster member of a push in progress.
type MemberStatus struct {
	Name  string
	Addr  netip.AddrPort
	State MemberState
	Text  string // why it refused, failed, was parked or lost
}

// Receiving describes a push this daemon takes part in as a member.
type Receiving struct {
	ID      protocol.PushID
	Origin  string
	Module  string
	Paths   []string
	DryRun  bool
	Stage   string      // the member's own word for what it does
	State   MemberState // MemberActive or MemberStaged, as the origin counts it
	Text    string      // what keeps it, for people
	Decided bool        // it is known here that the push is to be committed
	// What came so far, and bytes of it a second, in the last one.
	Entries, Bytes uint64
	Rate           float64
}
