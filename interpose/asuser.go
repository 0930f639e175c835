//go:build linux && (amd64 || arm64)

package interpose

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// A process that has changed its user and then executed a program may be inspected
// again, by that user. Root that has CAP_SETUID and CAP_SETGID can be it for a
// moment: the file system's user and group are what /proc goes by
// (PTRACE_MODE_FSCREDS), and they are a thread's own.

// asUser runs f on this thread with the file system's user and group of the thread
// tid, and returns f's error, or why it was not run.
func (s *session) asUser(tid int, f func() error) error {
	if !s.recording {
		return unix.EPERM
	}
	uid, ok1 := effective(tid, "Uid:")
	gid, ok2 := effective(tid, "Gid:")
	if !ok1 || !ok2 || uid == os.Getuid() && gid == os.Getgid() {
		return unix.EPERM
	}
	dumpable, _ := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	defer unix.Prctl(unix.PR_SET_DUMPABLE, uintptr(dumpable), 0, 0, 0) // the calls below clear it
	defer unix.Setfsgid(os.Getgid())
	unix.Setfsgid(gid)
	defer unix.Setfsuid(os.Getuid())
	unix.Setfsuid(uid)
	return f()
}

// effective is the effective id in a line of /proc/TID/status.
func effective(tid int, key string) (int, bool) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, key); ok {
			var real, id int
			_, err := fmt.Sscan(v, &real, &id)
			return id, err == nil
		}
	}
	return 0, false
}
