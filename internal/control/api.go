// Package control is the daemon's local API: HTTP with JSON over a unix
// socket, a push being a stream of events, one JSON object a line. It holds
// the types, the server that calls a Backend, and the client that msync uses.
// docs/api.md describes it for users of curl.
package control

import (
	"context"
	"time"
)

// Backend is what the server calls; the daemon implements it. Its methods are
// called from many goroutines at once.
type Backend interface {
	// Status describes this daemon, the members it knows and the pushes in
	// progress.
	Status(ctx context.Context) (*Status, error)
	// Forget drops a missing member from the table. ErrNotFound: no such
	// member. An *Error with CodeConflict: the member is there.
	Forget(ctx context.Context, name string) error
	// Push runs one push and returns when it is over. It calls emit with each
	// event, first Start and last Summary, from any goroutine but never after
	// it has returned; emit may block for as long as the client does not read,
	// so it must not be called with locks held that other pushes need, and
	// keeps nothing of the event. The end of ctx means that the caller is gone
	// or has cancelled: the push is aborted if the decision to commit is not
	// taken yet, and goes on to its end otherwise. Decided is emitted when the
	// decision is on disk, before the first commit is sent.
	//
	// An error is for pushes that end without a Summary. One that wraps
	// context.Canceled promises that nothing was changed anywhere; an *Error
	// chooses code and exit status; any other is CodeInternal.
	Push(ctx context.Context, req *PushRequest, emit func(Event)) error
}

// DefaultModule is the module of the base directory.
const DefaultModule = "default"

// Limits of a request. What is beyond them is refused with 400.
const (
	MaxRequest = 1 << 20 // bytes of a request's body
	MaxPaths   = 10000   // pushed paths
	MaxPath    = 4096    // bytes of a path
	MaxRules   = 10000   // filter rules
	MaxPattern = 4096    // bytes of a pattern
	MaxTargets = 10000   // targets
	MaxName    = 64      // bytes of a member's or module's name
	MaxSeconds = 7 * 24 * 3600
)

// Rule is one include or exclude pattern with rsync's meaning.
type Rule struct {
	Include bool `json:"include"`
	Pattern Text `json:"pattern"`
}

// PushRequest asks for a push. Its zero values are msync's defaults, except
// Paths, which must not be empty.
type PushRequest struct {
	Module        string   `json:"module,omitempty"`    // "": DefaultModule
	Paths         []Text   `json:"paths"`               // relative to the module, clean; "." for all of it
	Recursive     bool     `json:"recursive,omitempty"` // directories with their contents
	Delete        bool     `json:"delete,omitempty"`    // remove on members what is not here; needs Recursive
	DryRun        bool     `json:"dry_run,omitempty"`   // report, change nothing
	Checksum      bool     `json:"checksum,omitempty"`  // compare regular files by content
	Check         bool     `json:"check,omitempty"`     // a dry run by content that reports ok and differs
	Devices       bool     `json:"devices,omitempty"`   // carry device nodes
	Rules         []Rule   `json:"rules,omitempty"`     // in the order of the command line; the first match counts
	MaxDelete     *int     `json:"max_delete,omitempty"`
	ForceEmpty    bool     `json:"force_empty,omitempty"`    // an empty directory may empty that of members
	DeleteMissing bool     `json:"delete_missing,omitempty"` // paths that are not here are removed on members
	Targets       []string `json:"targets,omitempty"`        // names of members; none: all
	Expect        int      `json:"expect,omitempty"`         // fewer members than this: nothing is sent; 0 to 10,000
	IgnoreMissing bool     `json:"ignore_missing,omitempty"` // missing members do not make the push fail
	AllOrNone     bool     `json:"all_or_none,omitempty"`    // commit only if the whole roster is staged
	// WaitSeconds is how long to wait for pushes that overlap. nil: the
	// daemon's default; 0: not at all.
	WaitSeconds *float64 `json:"wait_seconds,omitempty"`
	// TimeoutSeconds is the silence after which a member is lost. 0: the
	// daemon's default.
	TimeoutSeconds float64 `json:"timeout_seconds,omitempty"`
	// Verbose: 0 no Path events (a dry run has update and delete, a check has
	// differs), 1 update, delete and ok, 2 skip too.
	Verbose int `json:"verbose,omitempty"`
	// UID is the user at the other end of the socket, -1 if it is not known
	// (TCP). It is set by the server, never by the request.
	UID int `json:"-"`
}

// Event is one line of a push's stream. The types are Accepted, Start, Waiting,
// Progress, Path, Problem, Member, Decided, Summary and Failed, as pointers.
// Clients skip types that they do not know.
type Event interface {
	// Kind is the value of the line's "type" field.
	Kind() string
}

// Accepted is the first line, written by the server: the name by which
// DELETE /v1/pushes/NAME cancels this push before its Start is known.
type Accepted struct {
	Request string `json:"request"`
}

// Peer names a member of a push.
type Peer struct {
	Name string `json:"name"`
	Addr string `json:"addr,omitempty"`
}

// Start says what the push is and who takes part.
type Start struct {
	Push    string `json:"push"`
	Module  string `json:"module"`
	Origin  string `json:"origin"`
	DryRun  bool   `json:"dry_run"`
	Roster  []Peer `json:"roster"`
	Missing []Peer `json:"missing"`
}

// Waiting says that an older push on overlapping paths is in the way. It may
// be repeated when the holder changes; it is over with the next Progress.
type Waiting struct {
	For   string `json:"for"`            // member whose push it is
	Push  string `json:"push,omitempty"` // that push
	Paths []Text `json:"paths,omitempty"`
}

// Stages of a push, as Progress and PushStatus name them.
const (
	StageLock   = "lock"   // asking for locks
	StageWait   = "wait"   // another push is in the way
	StageSend   = "send"   // scan, compare and data, all at once
	StageFlush  = "flush"  // all is sent: members verify and sync
	StageCommit = "commit" // the decision is taken: members rename
	StageReport = "report" // results are fetched
	StageAbort  = "abort"  // members are told to discard
)

// MemberCounts says how many members of the roster are in each state; a
// member is in one of them.
type MemberCounts struct {
	Active  int `json:"active"` // taking part, not staged yet
	Parked  int `json:"parked"`
	Staged  int `json:"staged"`
	Done    int `json:"done"`
	Late    int `json:"late"`
	Failed  int `json:"failed"`
	Lost    int `json:"lost"`
	Refused int `json:"refused"`
}

// Progress says where a push stands; it comes about five times a second.
type Progress struct {
	Stage      string       `json:"stage"`
	Late       bool         `json:"late,omitempty"`         // parked members are served: bytes and percent are theirs
	Entries    uint64       `json:"entries"`                // scanned so far
	Bytes      uint64       `json:"bytes"`                  // content sent so far, before compression
	BytesTotal uint64       `json:"bytes_total,omitempty"`  // content wanted; 0: not known yet
	Sent       uint64       `json:"sent"`                   // bytes on the wire
	Repaired   uint64       `json:"repaired"`               // of these, sent again
	RateMbit   float64      `json:"rate_mbit"`              // on the wire, in the last second
	Percent    float64      `json:"percent"`                // 0 to 100; -1: not known yet
	LeftS      float64      `json:"left_seconds,omitempty"` // until all content is sent; 0: not known
	Members    MemberCounts `json:"members"`
	WaitingFor []Awaited    `json:"waiting_for,omitempty"`  // at most ten of those the push waits for; none while data is sent
	WaitingN   int          `json:"waiting_more,omitempty"` // others
}

// Awaited is a member that a push waits for, and what it is at, for people.
type Awaited struct {
	Name  string `json:"name"`
	Doing string `json:"doing"`
}

// What happened, or with DryRun would happen, to a path.
const (
	ActionUpdate  = "update"
	ActionDelete  = "delete"
	ActionSkip    = "skip"
	ActionOK      = "ok"      // --check: content and attributes are the same
	ActionDiffers = "differs" // --check: they are not, or one side lacks it
)

// Path is what became of one path at one member.
type Path struct {
	Action string `json:"action"`
	Member string `json:"member"`
	Path   Text   `json:"path"` // relative to the module
	DryRun bool   `json:"dry_run,omitempty"`
}

// Severities of a Problem.
const (
	SeverityError   = "error"
	SeverityWarning = "warning"
)

// Problem is something that went wrong, or might have.
type Problem struct {
	Severity string `json:"severity"`
	Member   string `json:"member,omitempty"` // "": at the origin
	Path     Text   `json:"path,omitempty"`   // "": not about one path
	Message  Text   `json:"message"`          // what was attempted and why it failed, without member and path
}

// Outcomes of a member in a push.
const (
	OutcomeDone    = "done"    // is in the pushed state
	OutcomeLate    = "late"    // is in the pushed state, but came later than the others
	OutcomeFailed  = "failed"  // has paths in error, or gave up
	OutcomeLost    = "lost"    // was not heard from any more
	OutcomeMissing = "missing" // was not there at all, or came too late for the push
	OutcomeAway    = "away"    // was not there: it had been stopped
	OutcomeRefused = "refused" // takes no part: says so (--no-receive, another version, the same name twice)
	OutcomeAborted = "aborted" // the push was aborted, nothing was changed there
)

// Counts are one member's totals.
type Counts struct {
	Changed  uint64 `json:"changed"` // entries made or changed
	Deleted  uint64 `json:"deleted"`
	Errors   uint64 `json:"errors"` // paths in error
	Warnings uint64 `json:"warnings"`
	Bytes    uint64 `json:"bytes"` // content wanted
}

// Member is how the push ended at one member.
type Member struct {
	Name      string    `json:"name"`
	Addr      string    `json:"addr,omitempty"`
	Outcome   string    `json:"outcome"`
	Message   Text      `json:"message,omitempty"`   // for people: why it is not done
	Ignored   bool      `json:"ignored,omitempty"`   // missing or away, and --ignore-missing: no failure
	Since     time.Time `json:"since,omitzero"`      // away
	How       string    `json:"how,omitempty"`       // away: how it went
	LastHeard time.Time `json:"last_heard,omitzero"` // lost, missing
	Stage     string    `json:"stage,omitempty"`     // lost: the stage it was in
	Counts    Counts    `json:"counts"`
	CommitMS  float64   `json:"commit_ms"` // length of its renames
	DelayMS   float64   `json:"delay_ms"`  // late: behind the others
}

// Decided says that the decision to commit is on disk: from here on the push
// cannot be aborted.
type Decided struct {
	Push string `json:"push"`
}

// Exit statuses of msync.
const (
	ExitOK       = 0 // every member is in the pushed state
	ExitUsage    = 1 // wrong use, or the daemon can't be reached
	ExitPartial  = 2 // a member or path failed, was lost, or is missing or away
	ExitNobody   = 3 // nobody to push to, or fewer than expected; nothing was sent
	ExitAborted  = 4 // aborted, nothing changed anywhere
	maxExitValue = 4
)

// Summary ends a push.
type Summary struct {
	DryRun        bool    `json:"dry_run"`
	Check         bool    `json:"check,omitempty"` // updated and deleted names are those that differ
	Done          int     `json:"done"`            // members
	Late          int     `json:"late"`
	Failed        int     `json:"failed"` // with refused ones
	Lost          int     `json:"lost"`
	Missing       int     `json:"missing"`
	Away          int     `json:"away,omitempty"`
	Entries       uint64  `json:"entries"` // in the manifest
	Updated       uint64  `json:"updated"` // names made or changed at some member, or that would be
	Deleted       uint64  `json:"deleted"` // names removed, or that would be, at the member with the most of them
	Files         uint64  `json:"files"`   // regular files made or changed at some member
	Bytes         uint64  `json:"bytes"`   // of content sent, once however many members there are
	BytesSent     uint64  `json:"bytes_sent"`
	BytesRepaired uint64  `json:"bytes_repaired"`
	Seconds       float64 `json:"seconds"`
	CommitSkewMS  float64 `json:"commit_skew_ms"` // between the first and last member's commit
	Exit          int     `json:"exit"`
	Reason        Text    `json:"reason,omitempty"` // why nothing was sent or changed, in one sentence
	Text          Text    `json:"text"`             // the line for people; the server fills it if it is empty
}

// Failed ends a push that came to no Summary.
type Failed struct {
	Code    string `json:"code"`
	Message Text   `json:"message"`
	Exit    int    `json:"exit"`
}

// Kind implements Event.
func (*Accepted) Kind() string { return "accepted" }

// Kind implements Event.
func (*Start) Kind() string { return "start" }

// Kind implements Event.
func (*Waiting) Kind() string { return "waiting" }

// Kind implements Event.
func (*Progress) Kind() string { return "progress" }

// Kind implements Event.
func (*Path) Kind() string { return "path" }

// Kind implements Event.
func (*Problem) Kind() string { return "problem" }

// Kind implements Event.
func (*Member) Kind() string { return "member" }

// Kind implements Event.
func (*Decided) Kind() string { return "decided" }

// Kind implements Event.
func (*Summary) Kind() string { return "summary" }

// Kind implements Event.
func (*Failed) Kind() string { return "failed" }
