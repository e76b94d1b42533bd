package fsroot

// File types, as in the mode of Linux.
const (
	TypeMask    uint32 = 0o170000
	TypeFIFO    uint32 = 0o010000
	TypeChar    uint32 = 0o020000
	TypeDir     uint32 = 0o040000
	TypeBlock   uint32 = 0o060000
	TypeRegular uint32 = 0o100000
	TypeSymlink uint32 = 0o120000
	TypeSocket  uint32 = 0o140000
)

// Stat is what the kernel says of one entry.
type Stat struct {
	Dev    uint64
	Ino    uint64
	Nlink  uint64
	Mode   uint32 // type and permissions
	UID    uint32
	GID    uint32
	Size   int64
	Sec    int64 // mtime
	Nsec   uint32
	CSec   int64 // ctime
	CNsec  uint32
	Rdev   uint64
	Blocks int64 // of 512 bytes
	Mount  bool  // a file system is mounted here (known from Linux 5.8 on)

	Immutable  bool // chattr +i
	AppendOnly bool // chattr +a
}

// Type returns the file type, one of the Type constants.
func (s *Stat) Type() uint32 { return s.Mode & TypeMask }

// Perm returns permissions, setuid, setgid and sticky.
func (s *Stat) Perm() uint32 { return s.Mode & 0o7777 }

// IsDir reports whether the entry is a directory.
func (s *Stat) IsDir() bool { return s.Type() == TypeDir }

// IsRegular reports whether the entry is a regular file.
func (s *Stat) IsRegular() bool { return s.Type() == TypeRegular }

// IsSymlink reports whether the entry is a symbolic link.
func (s *Stat) IsSymlink() bool { return s.Type() == TypeSymlink }
