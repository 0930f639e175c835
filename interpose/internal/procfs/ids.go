//go:build linux

package procfs

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/proc"
)

// IDs are a user and a group.
//
// A process that has changed its user and then executed a program may be inspected
// again, by that user. Root that has CAP_SETUID and CAP_SETGID can take its identity:
// Linux checks accesses to /proc against the file system's user and group
// (PTRACE_MODE_FSCREDS), and each thread has its own.
type IDs struct{ UID, GID int }

// Own is this process's.
func Own() IDs { return IDs{os.Getuid(), os.Getgid()} }

// IDsOf reads a thread's effective ids.
func IDsOf(tid int) (ids IDs, ok bool) {
	b, _ := proc.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	found := 0
	for line := range strings.Lines(string(b)) {
		for key, id := range map[string]*int{"Uid:": &ids.UID, "Gid:": &ids.GID} {
			if v, ok := strings.CutPrefix(line, key); ok {
				var realID int
				if _, err := fmt.Sscan(v, &realID, id); err == nil {
					found++
				}
			}
		}
	}
	return ids, found == 2
}

// Do runs f with the file system's user and group of this thread set to ids, and
// returns f's error.
func (ids IDs) Do(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	dumpable, _ := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	defer unix.Prctl(unix.PR_SET_DUMPABLE, uintptr(dumpable), 0, 0, 0) // the calls below clear it
	defer unix.Setfsgid(os.Getgid())
	unix.Setfsgid(ids.GID)
	defer unix.Setfsuid(os.Getuid())
	unix.Setfsuid(ids.UID)
	return f()
}
