//go:build !linux

package fsroot

import (
	"errors"
	"time"
)

const (
	renameNoReplace uint = 1
	renameExchange  uint = 2
)

var (
	errRange = errors.New("the buffer is too small")

	// ErrNoXattr: the entry has no such attribute.
	ErrNoXattr = errors.New("there is no such attribute")
)

func isUnsupported(err error) bool { return errors.Is(err, ErrUnsupported) }

// FileClock returns the time that a file changed now would get at the
// earliest, in nanoseconds since 1970.
func FileClock() int64 { return 0 }

// ClockOffset returns how far the clock is ahead of the time since the start of
// the machine.
func ClockOffset() time.Duration { return 0 }

func sysCtimeMoves(int) bool { return false }

func openat2Missing(error) bool                              { return false }
func sysClose(int) error                                     { return ErrUnsupported }
func sysOpenRoot(string) (int, error)                        { return -1, ErrUnsupported }
func sysOpenSelf(int) (int, error)                           { return -1, ErrUnsupported }
func sysOpenBeneath(int, string) (int, bool, error)          { return -1, false, ErrUnsupported }
func sysOpenStep(int, string, uint64) (int, bool, error)     { return -1, false, ErrUnsupported }
func sysStat(int, string, *Stat) error                       { return ErrUnsupported }
func sysRewind(int) error                                    { return ErrUnsupported }
func sysGetdents(int, []byte) (int, error)                   { return 0, ErrUnsupported }
func sysReadlink(int, string) (string, error)                { return "", ErrUnsupported }
func sysOpenRead(int, string) (int, error)                   { return -1, ErrUnsupported }
func sysOpenPath(int, string) (int, error)                   { return -1, ErrUnsupported }
func sysOpenWrite(int, string) (int, error)                  { return -1, ErrUnsupported }
func sysCreate(int, string, uint32) (int, error)             { return -1, ErrUnsupported }
func sysWritable(int) error                                  { return ErrUnsupported }
func sysUnnamed(int) (int, error)                            { return -1, ErrUnsupported }
func sysWrite(int, []byte) (int, error)                      { return 0, ErrUnsupported }
func sysMkdir(int, string, uint32) error                     { return ErrUnsupported }
func sysSymlink(string, int, string) error                   { return ErrUnsupported }
func sysMknod(int, string, uint32, uint64) error             { return ErrUnsupported }
func sysUnlink(int, string) error                            { return ErrUnsupported }
func sysRmdir(int, string) error                             { return ErrUnsupported }
func sysLink(int, string, int, string) error                 { return ErrUnsupported }
func sysRename(int, string, int, string, uint) error         { return ErrUnsupported }
func sysFsync(int) error                                     { return ErrUnsupported }
func sysSyncFS(int) error                                    { return ErrUnsupported }
func sysStatfs(int) (Space, error)                           { return Space{}, ErrUnsupported }
func sysChmod(int, string, uint32) error                     { return ErrUnsupported }
func sysChmodSelf(int, bool, uint32) error                   { return ErrUnsupported }
func sysChown(int, string, int, int) error                   { return ErrUnsupported }
func sysUtimes(int, string, int64, uint32) error             { return ErrUnsupported }
func sysUtimesSelf(int, bool, int64, uint32) error           { return ErrUnsupported }
func sysListXattr(int, string, []byte) (int, error)          { return 0, ErrUnsupported }
func sysGetXattr(int, string, string, []byte) (int, error)   { return 0, ErrUnsupported }
func sysSetXattr(int, string, string, []byte) error          { return ErrUnsupported }
func sysRemoveXattr(int, string, string) error               { return ErrUnsupported }
func sysListXattrSelf(int, bool, []byte) (int, error)        { return 0, ErrUnsupported }
func sysGetXattrSelf(int, bool, string, []byte) (int, error) { return 0, ErrUnsupported }
func sysSetXattrSelf(int, bool, string, []byte) error        { return ErrUnsupported }
func sysRemoveXattrSelf(int, bool, string) error             { return ErrUnsupported }
