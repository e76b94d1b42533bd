package protocol

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

// EntryType is the type of a manifest entry.
type EntryType uint8

// Types of entries.
const (
	EntryRegular   EntryType = 1
	EntryDirectory EntryType = 2
	EntrySymlink   EntryType = 3
	EntryHardlink  EntryType = 4 // a further name of the regular file (or other non-directory) Link
	EntryFIFO      EntryType = 5
	EntryChar      EntryType = 6
	EntryBlock     EntryType = 7
	EntryAbsent    EntryType = 8 // a pushed path that is not at the origin: with OptDelete it goes
	EntryFailed    EntryType = 9 // is there but could not be read: leave alone whatever members have at and below it
)

// Entry flags.
const (
	EntryRecurse    uint8 = 1 << iota // directory: its contents follow; what is not listed is not at the origin
	EntryIncomplete                   // directory: could not be listed completely: delete nothing directly in it
	EntryImplied                      // parent of a pushed path: made with these attributes where absent, else untouched
	EntryLinked                       // hard links to this entry follow
	entryHasSum
	entryHasXattrs
	entryHasHoles
	EntrySomeXattrs // there are attributes that are not carried: those that are not listed stay as they are
)

// Limits of entries.
const (
	MaxXattrs     = 9362     // as many as Linux lists: 64 KiB of names of 7 bytes with their NUL
	MaxXattrName  = 255      // XATTR_NAME_MAX of Linux
	MaxXattrValue = 64 << 10 // XATTR_SIZE_MAX of Linux
	// MaxXattrBytes bounds the attributes of one entry together (XattrSize), so
	// that with the longest path and link target it fits a block uncompressed.
	MaxXattrBytes = 140 << 10
	MaxOwnerName  = 255
	MaxMode       = 0o7777
)

// Xattr is one extended attribute; ACLs are attributes too.
type Xattr struct {
	Name  string
	Value []byte
}

// XattrSize is what an attribute counts in MaxXattrBytes: its name, its value
// and their lengths.
func XattrSize(name string, value []byte) int { return len(name) + len(value) + 5 }

// Owner is a user or group: the name counts, the id where the name is unknown.
type Owner struct {
	ID   uint32
	Name string // may be empty
}

// Entry is one entry of a manifest.
type Entry struct {
	Path   string
	Type   EntryType
	Flags  uint8
	Mode   uint32 // permission, setuid, setgid, sticky
	User   Owner
	Group  Owner
	Sec    int64  // mtime
	Nsec   uint32 // below 1e9
	Size   uint64 // regular files
	Holes  uint64 // bytes of these that are known to be holes, less than Size or 0; see Content
	Link   string // symlink: target; hardlink: path of the first name
	Rdev   uint64 // devices, as Linux's makedev
	HasSum bool
	Sum    uint64  // xxhash64 of a regular file's content, with OptChecksum
	Xattrs []Xattr // sorted by name
}

// Batch is a run of consecutive entries.
type Batch struct {
	Number  uint32
	First   uint32 // index of Entries[0] in the manifest
	Entries []Entry
}

// owners interns the owners of a batch.
type owners struct {
	index map[Owner]int
	list  []Owner
}

func (o *owners) add(w Owner) {
	if n := len(o.list); n > 0 && o.list[n-1] == w {
		return
	}
	if _, ok := o.index[w]; !ok {
		o.index[w] = len(o.list)
		o.list = append(o.list, w)
	}
}

// Append appends the content of the batch's block.
//
//	number (4) first (4) | owners: count, (id, name)* | entries: count, entry*
//
// A path is written as the length it shares with the path before, no less than
// it does, and the rest. Owners are listed once, in order of their first use
// (User before Group). So a batch has one encoding.
func (m *Batch) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, m.Number)
	dst = binary.BigEndian.AppendUint32(dst, m.First)
	o := owners{index: make(map[Owner]int)}
	for i := range m.Entries {
		if e := &m.Entries[i]; e.hasAttributes() {
			o.add(e.User)
			o.add(e.Group)
		}
	}
	dst = binary.AppendUvarint(dst, uint64(len(o.list)))
	for _, w := range o.list {
		dst = binary.AppendUvarint(dst, uint64(w.ID))
		dst = appendString(dst, w.Name)
	}
	dst = binary.AppendUvarint(dst, uint64(len(m.Entries)))
	prev := ""
	for i := range m.Entries {
		dst = m.Entries[i].append(dst, prev, &o)
		prev = m.Entries[i].Path
	}
	return dst
}

// Content returns how many bytes of a regular file are sent and stored, about:
// its size without what is known to be holes.
func (e *Entry) Content() uint64 { return e.Size - e.Holes }

// hasAttributes reports whether mode, owners and so on are sent.
func (e *Entry) hasAttributes() bool { return e.Type < EntryAbsent && e.Type != EntryHardlink }

func shared(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

func (e *Entry) append(dst []byte, prev string, o *owners) []byte {
	flags := e.Flags &^ (entryHasSum | entryHasXattrs | entryHasHoles)
	if e.Holes > 0 {
		flags |= entryHasHoles
	}
	if e.HasSum {
		flags |= entryHasSum
	}
	if len(e.Xattrs) > 0 {
		flags |= entryHasXattrs
	}
	dst = append(dst, byte(e.Type), flags)
	n := shared(prev, e.Path)
	dst = binary.AppendUvarint(dst, uint64(n))
	dst = appendString(dst, e.Path[n:])
	if e.Type >= EntryAbsent {
		return dst
	}
	if e.Type == EntryHardlink {
		return appendString(dst, e.Link)
	}
	dst = binary.AppendUvarint(dst, uint64(e.Mode))
	dst = binary.AppendUvarint(dst, uint64(o.index[e.User]))
	dst = binary.AppendUvarint(dst, uint64(o.index[e.Group]))
	dst = binary.BigEndian.AppendUint64(dst, uint64(e.Sec))
	dst = binary.BigEndian.AppendUint32(dst, e.Nsec)
	switch e.Type {
	case EntryRegular:
		dst = binary.AppendUvarint(dst, e.Size)
		if e.Holes > 0 {
			dst = binary.AppendUvarint(dst, e.Holes)
		}
	case EntrySymlink:
		dst = appendString(dst, e.Link)
	case EntryChar, EntryBlock:
		dst = binary.AppendUvarint(dst, e.Rdev)
	}
	if e.HasSum {
		dst = binary.BigEndian.AppendUint64(dst, e.Sum)
	}
	if len(e.Xattrs) > 0 {
		dst = binary.AppendUvarint(dst, uint64(len(e.Xattrs)))
		for _, x := range e.Xattrs {
			dst = appendString(dst, x.Name)
			dst = appendBytes(dst, x.Value)
		}
	}
	return dst
}

// ParseBatch parses the content of a manifest block. Nothing aliases the
// input. Entries are in strict order and every path is valid.
func ParseBatch(b []byte) (*Batch, error) {
	r := reader{b: b}
	m := Batch{Number: r.u32("batch"), First: r.u32("first entry")}
	own := ownerList{list: r.owners()}
	n := r.count(MaxBatch, 4, "entries")
	if r.err == nil && n == 0 {
		r.fail("no entries")
	}
	if r.err == nil && uint64(m.First)+uint64(n) > 1<<32-1 {
		r.fail("entry numbers overflow")
	}
	if r.err == nil {
		m.Entries = make([]Entry, n)
	}
	prev := ""
	for i := range m.Entries {
		e := &m.Entries[i]
		if r.entry(e, prev, &own); r.err != nil {
			break
		}
		prev = e.Path
	}
	if r.err == nil && own.used != len(own.list) {
		r.fail("%d of %d owners are used", own.used, len(own.list))
	}
	if err := r.done("manifest batch"); err != nil {
		return nil, err
	}
	return &m, nil
}

// ownerList is the list of owners of a batch that is parsed; the first used
// of them have been referred to.
type ownerList struct {
	list []Owner
	used int
}

func (r *reader) owners() []Owner {
	n := r.count(2*MaxBatch, 2, "owners")
	if n == 0 {
		return nil
	}
	list := make([]Owner, 0, n)
	seen := make(map[Owner]bool, n)
	for i := range n {
		w := Owner{ID: uint32(r.uvarint(1<<32-1, "owner id")), Name: r.str(MaxOwnerName, "owner name")}
		if r.err == nil && seen[w] {
			r.fail("owner %d is a repetition", i)
		}
		if r.err != nil {
			return nil
		}
		seen[w] = true
		list = append(list, w)
	}
	return list
}

func (r *reader) entry(e *Entry, prev string, own *ownerList) {
	e.Type = EntryType(r.u8("entry type"))
	flags := r.u8("entry flags")
	if e.Path = r.path(prev); r.err != nil {
		return
	}
	switch {
	case e.Type < EntryRegular || e.Type > EntryFailed:
		r.fail("entry type %d", e.Type)
	case e.Type != EntryDirectory && flags&(EntryRecurse|EntryIncomplete|EntryImplied) != 0,
		e.Type != EntryRegular && flags&(entryHasSum|entryHasHoles) != 0,
		e.Path == "." && e.Type != EntryDirectory && e.Type != EntryFailed,
		e.Type >= EntryAbsent && flags&(entryHasXattrs|EntrySomeXattrs) != 0,
		e.Type == EntryHardlink && flags != 0:
		r.fail("entry of type %d with flags %#x", e.Type, flags)
	}
	e.Flags = flags &^ (entryHasSum | entryHasXattrs | entryHasHoles)
	e.HasSum = flags&entryHasSum != 0
	switch {
	case r.err != nil:
	case e.hasAttributes():
		r.attributes(e, own, flags)
	case e.Type == EntryHardlink:
		e.Link = r.str(MaxPath, "link")
		if r.err == nil && (!ValidPath(e.Link) || ComparePaths(e.Link, e.Path) >= 0) {
			r.fail("hard link %q to %q", e.Path, e.Link)
		}
	}
}

// path reads a path that follows prev.
func (r *reader) path(prev string) string {
	n := int(r.uvarint(uint64(len(prev)), "shared path"))
	rest := r.bytes(MaxPath, "path")
	if r.err != nil {
		return ""
	}
	path := prev[:n] + string(rest)
	switch {
	case n < len(prev) && len(rest) > 0 && rest[0] == prev[n]:
		r.fail("path %q shares more than %d bytes with the one before", path, n)
	case !ValidPath(path):
		r.fail("path %q", path)
	case prev != "" && ComparePaths(prev, path) >= 0:
		r.fail("path %q does not come after %q", path, prev)
	}
	return path
}

func (r *reader) attributes(e *Entry, own *ownerList, flags uint8) {
	e.Mode = uint32(r.uvarint(MaxMode, "mode"))
	e.User = r.owner(own)
	e.Group = r.owner(own)
	e.Sec = int64(r.u64("mtime"))
	e.Nsec = r.u32("mtime")
	if r.err == nil && e.Nsec >= 1e9 {
		r.fail("mtime of %d ns", e.Nsec)
	}
	switch e.Type {
	case EntryRegular:
		e.Size = r.uvarint(1<<63-1, "size")
		if flags&entryHasHoles != 0 {
			if e.Holes = r.uvarint(1<<63-1, "holes"); r.err == nil && (e.Holes == 0 || e.Holes >= e.Size) {
				r.fail("%d bytes of holes in a file of %d", e.Holes, e.Size)
			}
		}
	case EntrySymlink:
		e.Link = r.str(MaxPath, "link")
		if r.err == nil && (e.Link == "" || hasNUL(e.Link)) {
			r.fail("symbolic link to %q", e.Link)
		}
	case EntryChar, EntryBlock:
		e.Rdev = r.uvarint(1<<64-1, "device number")
	}
	if e.HasSum {
		e.Sum = r.u64("sum")
	}
	if flags&entryHasXattrs != 0 {
		e.Xattrs = r.xattrs()
	}
}

func hasNUL(s string) bool {
	for i := range len(s) {
		if s[i] == 0 {
			return true
		}
	}
	return false
}

func (r *reader) owner(own *ownerList) Owner {
	i := int(r.uvarint(2*MaxBatch, "owner"))
	switch {
	case r.err != nil:
	case i >= len(own.list):
		r.fail("owner %d of %d", i, len(own.list))
	case i > own.used:
		r.fail("owner %d before %d", i, own.used)
	default:
		own.used = max(own.used, i+1)
		return own.list[i]
	}
	return Owner{}
}

func (r *reader) xattrs() []Xattr {
	n := r.count(MaxXattrs, 2, "xattrs")
	if r.err == nil && n == 0 {
		r.fail("empty list of xattrs")
	}
	var xs []Xattr
	total := 0
	for range n {
		x := Xattr{Name: r.str(MaxXattrName, "xattr name")}
		x.Value = append([]byte(nil), r.bytes(MaxXattrValue, "xattr value")...)
		total += XattrSize(x.Name, x.Value)
		switch {
		case r.err != nil:
			return nil
		case x.Name == "" || hasNUL(x.Name) || (len(xs) > 0 && xs[len(xs)-1].Name >= x.Name):
			r.fail("xattr name %q", x.Name)
		case total > MaxXattrBytes:
			r.fail("more than %d bytes of xattrs", MaxXattrBytes)
		}
		xs = append(xs, x)
	}
	return xs
}

// EncodedSize returns an upper bound of the bytes e takes in a batch.
func (e *Entry) EncodedSize() int {
	n := 64 + len(e.Path) + len(e.Link) + len(e.User.Name) + len(e.Group.Name)
	for _, x := range e.Xattrs {
		n += XattrSize(x.Name, x.Value)
	}
	return n
}

// ChainDigest returns the manifest digest after a further batch: the
// xxhash64 of the digest before (0 at first) and the batch's content.
func ChainDigest(before uint64, content []byte) uint64 {
	var d xxhash.Digest
	d.Reset()
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], before)
	d.Write(b[:])
	d.Write(content)
	return d.Sum64()
}
