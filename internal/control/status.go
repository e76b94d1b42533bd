package control

import "time"

// Status describes one daemon, the members it knows and its pushes.
type Status struct {
	Version     string         `json:"version"`  // of the program
	Protocol    int            `json:"protocol"` // of its packets
	Name        string         `json:"name"`
	Cluster     string         `json:"cluster"`
	Session     string         `json:"session"`
	PID         int            `json:"pid"`
	Started     time.Time      `json:"started"`
	Base        Text           `json:"base"`                  // absolute, without symbolic links, as at the start
	BaseNamed   Text           `json:"base_named,omitempty"`  // as it was given, absolute, with its links
	BaseDevice  uint64         `json:"base_device,omitempty"` // of the directory that is held open
	BaseInode   uint64         `json:"base_inode,omitempty"`
	StageDir    Text           `json:"stage_dir,omitempty"`
	StateDir    Text           `json:"state_dir,omitempty"`
	Group       string         `json:"group"` // multicast address
	Port        int            `json:"port"`  // of the group
	UnicastPort int            `json:"unicast_port"`
	Interface   string         `json:"interface"`         // name
	Address     string         `json:"address"`           // this daemon's on the interface
	Waiting     string         `json:"waiting,omitempty"` // for what, before the other members can be reached, for people
	TTL         int            `json:"ttl"`
	MTU         int            `json:"mtu"`       // bytes of an IP packet
	RateMbit    float64        `json:"rate_mbit"` // cap; 0: none
	Receive     bool           `json:"receive"`
	Send        bool           `json:"send"`
	Key         bool           `json:"key"`
	Buffers     Buffers        `json:"buffers"`
	Warnings    []string       `json:"warnings"` // about this daemon, for people
	Members     []MemberStatus `json:"members"`  // sorted by name, this daemon included
	Pushes      []PushStatus   `json:"pushes"`   // in progress, oldest first
}

// Buffers are the sizes of the sockets' buffers in bytes.
type Buffers struct {
	ReceiveAsked int `json:"receive_asked"`
	ReceiveGot   int `json:"receive_got"`
	SendAsked    int `json:"send_asked"`
	SendGot      int `json:"send_got"`
}

// States of a member in the table.
const (
	StateAlive     = "alive"
	StateMissing   = "missing"   // vanished without a leave message
	StateAway      = "away"      // left with one: it was stopped
	StateDuplicate = "duplicate" // another one has the same name
	StateForeign   = "foreign"   // speaks another version of the protocol
)

// MemberStatus is one member as this daemon sees it.
type MemberStatus struct {
	Name     string    `json:"name"`
	Addr     string    `json:"addr"` // without port
	Port     int       `json:"port"`
	Version  string    `json:"version,omitempty"` // of the program, "" if it is not known
	Protocol int       `json:"protocol"`
	State    string    `json:"state"`
	Since    time.Time `json:"since,omitzero"` // in this state
	How      string    `json:"how,omitempty"`  // away: how it went
	Self     bool      `json:"self,omitempty"`
	Receive  bool      `json:"receive"`
	Send     bool      `json:"send"`
	Message  Text      `json:"message,omitempty"` // about the state, for people
	LastPush *LastPush `json:"last_push,omitempty"`
}

// LastPush is the last push that a member took part in and how it ended there.
type LastPush struct {
	Push    string    `json:"push"`
	Origin  string    `json:"origin"`
	Module  string    `json:"module"`
	At      time.Time `json:"at"`
	Outcome string    `json:"outcome"`
	Message Text      `json:"message,omitempty"`
}

// Roles of this daemon in a push.
const (
	RoleOrigin = "origin"
	RoleMember = "member"
)

// PushStatus is a push in progress.
type PushStatus struct {
	Push    string       `json:"push"`
	Origin  string       `json:"origin"`
	Role    string       `json:"role"`
	Module  string       `json:"module"`
	Paths   []Text       `json:"paths"`
	DryRun  bool         `json:"dry_run"`
	Started time.Time    `json:"started"`
	UID     int          `json:"uid"`               // of the caller at the origin; -1: not known
	Decided bool         `json:"decided"`           // the decision to commit is taken
	Waiting string       `json:"waiting,omitempty"` // stage wait: the member whose push is in the way
	Now     Progress     `json:"progress"`
	Members []PushMember `json:"members"` // of the roster; a member's daemon knows only itself
}

// PushMember is one member of a push in progress. State is "active", "parked",
// "staged" or one of the outcomes.
type PushMember struct {
	Name    string `json:"name"`
	Addr    string `json:"addr,omitempty"`
	State   string `json:"state"`
	Message Text   `json:"message,omitempty"`
}

// Members is the answer to GET /v1/members.
type Members struct {
	Members []MemberStatus `json:"members"`
	Total   int            `json:"total"`
}

// Pushes is the answer to GET /v1/pushes.
type Pushes struct {
	Pushes []PushStatus `json:"pushes"`
}
