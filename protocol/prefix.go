package protocol

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

// Version is the protocol version this package speaks.
const Version = 1

// PrefixLen is the length of the prefix that opens every packet of every
// version. Its layout never changes.
//
//	0      4       5    6     8         12        20
//	| MAKU | vers. | ty | key | cluster | session | body ... | check (4) |
const PrefixLen = 20

// CheckLen is the length of the check that ends every packet while no key is
// in use: the low 32 bits of the xxhash64 of all bytes before it.
const CheckLen = 4

// MaxPacket is the largest UDP payload that is ever sent or accepted.
const MaxPacket = 9000 - 28

// DefaultPayload is the UDP payload that fits an Ethernet frame of 1500
// bytes: 1500 - 20 (IPv4) - 8 (UDP).
const DefaultPayload = 1472

var magic = [4]byte{'M', 'A', 'K', 'U'}

// Type tells what the body of a packet is.
type Type uint8

// The message types of version 1. Beacon, Leave and their first fields keep
// their numbers in all versions, so that strangers can be named.
const (
	TypeBeacon   Type = 1  // multicast: presence
	TypeLeave    Type = 2  // multicast: this session ends
	TypeAsk      Type = 3  // unicast: tell me your details
	TypeDetail   Type = 4  // multicast: after a change, and as answer to Ask
	TypeState    Type = 5  // multicast or unicast: where a push stands
	TypeData     Type = 6  // multicast: one symbol of a block
	TypeFeedback Type = 7  // unicast: consumed, received, NAKs
	TypeReport   Type = 8  // unicast: numbered records of a member
	TypeFetch    Type = 9  // unicast: the origin asks for a result page
	TypePage     Type = 10 // unicast: a result page
	TypeQuery    Type = 11 // multicast: how did this push end?
	TypeAnswer   Type = 12 // unicast: how it ended here
	TypeForget   Type = 13 // multicast: members that nobody is to expect back
)

var typeNames = [...]string{"", "beacon", "leave", "ask", "detail", "state", "data", "feedback", "report", "fetch", "page", "query", "answer", "forget"}

// String returns the name used in logs and documentation.
func (t Type) String() string {
	if int(t) < len(typeNames) && t != 0 {
		return typeNames[t]
	}
	return "unknown"
}

// Session names one run of one daemon; random, never 0.
type Session uint64

// Prefix opens every packet.
type Prefix struct {
	Version uint8
	Type    Type
	Key     uint16  // id of the key that seals the packet; 0 is none
	Cluster uint32  // ClusterID of the cluster name
	Session Session // of the sender
}

// ClusterID returns the number that stands for a cluster name in packets.
func ClusterID(name string) uint32 { return uint32(xxhash.Sum64String("makuo cluster " + name)) }

// Append appends the prefix to dst.
func (p Prefix) Append(dst []byte) []byte {
	dst = append(dst, magic[:]...)
	dst = append(dst, p.Version, byte(p.Type))
	dst = binary.BigEndian.AppendUint16(dst, p.Key)
	dst = binary.BigEndian.AppendUint32(dst, p.Cluster)
	return binary.BigEndian.AppendUint64(dst, uint64(p.Session))
}

// ParsePrefix reads the prefix of a packet of any version and returns the
// bytes behind it. The version and type are not judged here.
func ParsePrefix(b []byte) (Prefix, []byte, error) {
	r := reader{b: b}
	m := r.take(4, "magic")
	if m != nil && [4]byte(m) != magic {
		r.fail("not a makuo packet")
	}
	p := Prefix{Version: r.u8("version"), Type: Type(r.u8("type")), Key: r.u16("key"),
		Cluster: r.u32("cluster"), Session: Session(r.u64("session"))}
	if r.err == nil && p.Session == 0 {
		r.fail("session is 0")
	}
	if r.err != nil {
		return Prefix{}, nil, r.err
	}
	return p, r.b, nil
}

// AppendCheck appends the check over all of b.
func AppendCheck(b []byte) []byte {
	return binary.BigEndian.AppendUint32(b, uint32(xxhash.Sum64(b)))
}

// OpenCheck verifies the check at the end of b and returns what is before it.
func OpenCheck(b []byte) ([]byte, error) {
	n := len(b) - CheckLen
	if n < PrefixLen {
		return nil, malformed("%d bytes are too short for a packet", len(b))
	}
	if binary.BigEndian.Uint32(b[n:]) != uint32(xxhash.Sum64(b[:n])) {
		return nil, malformed("check does not match")
	}
	return b[:n], nil
}
