package tree

import (
	"encoding/binary"

	"makuo/protocol"
)

// The group bits of the mode of an entry with an ACL are the ACL's mask: the
// most that anybody named in it gets, and often more than the group itself.
// Where the ACL is not set these bits would be given to the group, so they are
// cut down to what the ACL says of it.

// Tags of the entries of an ACL, linux/posix_acl_xattr.h.
const (
	aclGroupObj = 0x04
	aclMask     = 0x10
)

// groupOfACL returns what an ACL gives to the owning group; nothing if it can't
// be read.
func groupOfACL(acl []byte) (perm uint32) {
	mask := uint32(7)
	if len(acl) < 4 || (len(acl)-4)%8 != 0 {
		return 0
	}
	for acl = acl[4:]; len(acl) > 0; acl = acl[8:] {
		p := uint32(binary.LittleEndian.Uint16(acl[2:])) & 7
		switch binary.LittleEndian.Uint16(acl) {
		case aclGroupObj:
			perm = p
		case aclMask:
			mask = p
		}
	}
	return perm & mask
}

// withoutACL cuts e's mode down for want of its ACL.
func withoutACL(e *protocol.Entry, acl []byte) { e.Mode &^= 0o070 &^ (groupOfACL(acl) << 3) }

// narrow is withoutACL for an entry whose ACL can't be held here.
func (h *holdable) narrow(e *protocol.Entry) {
	for _, x := range e.Xattrs {
		if x.Name != aclAccess || e.Type == protocol.EntrySymlink {
			continue
		}
		if !h.has(aclAccess) || h.unfit(h.ofKinds(e))[aclAccess] != nil {
			withoutACL(e, x.Value)
		}
	}
}
