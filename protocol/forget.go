package protocol

import "encoding/binary"

// MaxForgotten is the largest number of members in one Forget.
const MaxForgotten = 12

// Forget names members that are not there and that nobody is to expect back.
type Forget struct{ Members []Forgotten }

// Forgotten is one session that was forgotten.
type Forgotten struct {
	Session Session
	At      int64  // when, in Unix nanoseconds
	Name    string // ValidName
}

// Append appends the body to dst.
func (m *Forget) Append(dst []byte) []byte {
	dst = append(dst, byte(len(m.Members)))
	for i := range m.Members {
		f := &m.Members[i]
		dst = binary.BigEndian.AppendUint64(dst, uint64(f.Session))
		dst = binary.BigEndian.AppendUint64(dst, uint64(f.At))
		dst = appendString(dst, f.Name)
	}
	return dst
}

// ParseForget parses the body.
func ParseForget(b []byte) (Forget, error) {
	r := reader{b: b}
	n := int(r.u8("members"))
	if r.err == nil && (n == 0 || n > MaxForgotten) {
		r.fail("%d members", n)
	}
	var m Forget
	for i := 0; i < n && r.err == nil; i++ {
		f := Forgotten{Session: Session(r.u64("session")), At: int64(r.u64("time")), Name: r.str(MaxName, "name")}
		if r.err == nil && (f.Session == 0 || !ValidName(f.Name)) {
			r.fail("member %d is none", i)
		}
		m.Members = append(m.Members, f)
	}
	if err := r.done("forget"); err != nil {
		return Forget{}, err
	}
	return m, nil
}
