package protocol

import (
	"encoding/binary"
	"time"
)

// Limits of the membership messages.
const (
	MaxName    = 64  // bytes of a member's name
	MaxText    = 512 // bytes of a sentence for people
	MaxDetail  = 900 // bytes of a base directory or similar in Detail
	MaxModules = 16
)

// Beacon flags.
const (
	FlagNoReceive uint8 = 1 << iota // takes no pushes
	FlagNoSend                      // starts no pushes
	FlagSolicit                     // "I am new: answer with a beacon, spread over time"
	FlagPushing                     // is the origin of a push now
	FlagReceiving                   // is a member of a push now
)

// Beacon announces a member. Name, Port, MinVersion and MaxVersion are the
// first fields in every version of the protocol.
type Beacon struct {
	Name       string // 1..MaxName bytes, see ValidName
	Port       uint16 // UDP port of the member's unicast socket
	MinVersion uint8
	MaxVersion uint8
	Flags      uint8
	Interval   time.Duration // until the next beacon; milliseconds on the wire, at most 65 s
	Started    uint32        // Unix seconds of the daemon's start
	Digest     uint64        // of the member's details; a change asks for them anew
}

// ValidName reports whether s can name a member: 1 to MaxName bytes of
// printable ASCII without space, '/', ':' and '@'.
func ValidName(s string) bool {
	if len(s) == 0 || len(s) > MaxName {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '/' || c == ':' || c == '@' {
			return false
		}
	}
	return true
}

// Append appends the body of the beacon to dst.
func (m *Beacon) Append(dst []byte) []byte {
	dst = appendString(dst, m.Name)
	dst = binary.BigEndian.AppendUint16(dst, m.Port)
	dst = append(dst, m.MinVersion, m.MaxVersion, m.Flags)
	dst = binary.BigEndian.AppendUint16(dst, uint16(min(m.Interval/time.Millisecond, 65535)))
	dst = binary.BigEndian.AppendUint32(dst, m.Started)
	return binary.BigEndian.AppendUint64(dst, m.Digest)
}

// ParseBeacon parses the body of a beacon of this version.
func ParseBeacon(b []byte) (Beacon, error) {
	r := reader{b: b}
	m := r.beaconHead()
	m.Flags = r.u8("flags")
	m.Interval = time.Duration(r.u16("interval")) * time.Millisecond
	m.Started = r.u32("started")
	m.Digest = r.u64("digest")
	if err := r.done("beacon"); err != nil {
		return Beacon{}, err
	}
	return m, nil
}

// ParseForeignBeacon parses what all versions' beacons have in common: Name,
// Port and the versions spoken.
func ParseForeignBeacon(b []byte) (Beacon, error) {
	r := reader{b: b}
	m := r.beaconHead()
	r.b = nil
	if err := r.done("foreign beacon"); err != nil {
		return Beacon{}, err
	}
	return m, nil
}

func (r *reader) beaconHead() Beacon {
	m := Beacon{Name: r.str(MaxName, "name"), Port: r.u16("port"),
		MinVersion: r.u8("lowest version"), MaxVersion: r.u8("highest version")}
	if r.err == nil && !ValidName(m.Name) {
		r.fail("name %q", m.Name)
	}
	if r.err == nil && m.Port == 0 {
		r.fail("port is 0")
	}
	if r.err == nil && m.MinVersion > m.MaxVersion {
		r.fail("versions %d to %d", m.MinVersion, m.MaxVersion)
	}
	return m
}

// Leave says that the sender's session ends now. Its body is empty in every
// version; further bytes are ignored.
type Leave struct{}

// Append appends nothing.
func (Leave) Append(dst []byte) []byte { return dst }

// Ask requests a Detail. Its body is empty.
type Ask struct{}

// Append appends nothing.
func (Ask) Append(dst []byte) []byte { return dst }

// ModuleDetail is what a member says of one module it serves.
type ModuleDetail struct {
	Name     string // MaxName bytes
	LastPush PushID // last committed push, zero if none
	At       int64  // Unix nanoseconds of that commit at this member
}

// Detail is what a member tells of itself on request.
type Detail struct {
	Digest  uint64 // as in the beacon
	Version string // of the program, MaxName bytes
	Base    string // directory of the module default, MaxDetail bytes
	Modules []ModuleDetail
}

// Append appends the body of the detail to dst.
func (m *Detail) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, m.Digest)
	dst = appendString(dst, m.Version)
	dst = appendString(dst, m.Base)
	dst = binary.AppendUvarint(dst, uint64(len(m.Modules)))
	for _, d := range m.Modules {
		dst = appendString(dst, d.Name)
		dst = d.LastPush.Append(dst)
		dst = binary.BigEndian.AppendUint64(dst, uint64(d.At))
	}
	return dst
}

// ParseDetail parses the body of a detail.
func ParseDetail(b []byte) (Detail, error) {
	r := reader{b: b}
	m := Detail{Digest: r.u64("digest"), Version: r.str(MaxName, "version"), Base: r.str(MaxDetail, "base")}
	n := r.count(MaxModules, 25, "modules")
	for range n {
		m.Modules = append(m.Modules, ModuleDetail{Name: r.str(MaxName, "module"), LastPush: r.pushID(), At: int64(r.u64("commit time"))})
	}
	if err := r.done("detail"); err != nil {
		return Detail{}, err
	}
	return m, nil
}
