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

// ids are the user and group that a thread's file accesses are judged by.
type ids struct{ uid, gid int }

// asUser runs f on this thread with the file system's user and group of the thread
// tid, and returns f's error, or why it was not run.
func (s *session) asUser(tid int, f func() error) error {
	if !s.recording {
		return unix.EPERM
	}
	if known, ok := s.users[tid]; ok {
		if err := known.run(f); !denied(err) {
			return err
		}
	}
	now, ok := idsOf(tid)
	if !ok || now == (ids{os.Getuid(), os.Getgid()}) {
		return unix.EPERM
	}
	err := now.run(f)
	if err == nil {
		if len(s.users) >= maxThreads {
			clear(s.users) // of threads long gone, nearly all
		}
		s.users[tid] = now
	}
	return err
}

// run runs f with the ids.
func (i ids) run(f func() error) error {
	dumpable, _ := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	defer unix.Prctl(unix.PR_SET_DUMPABLE, uintptr(dumpable), 0, 0, 0) // the calls below clear it
	defer unix.Setfsgid(os.Getgid())
	unix.Setfsgid(i.gid)
	defer unix.Setfsuid(os.Getuid())
	unix.Setfsuid(i.uid)
	return f()
}

// idsOf reads a thread's effective ids.
func idsOf(tid int) (i ids, ok bool) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	found := 0
	for line := range strings.Lines(string(b)) {
		for key, id := range map[string]*int{"Uid:": &i.uid, "Gid:": &i.gid} {
			if v, ok := strings.CutPrefix(line, key); ok {
				var real int
				if _, err := fmt.Sscan(v, &real, id); err == nil {
					found++
				}
			}
		}
	}
	return i, found == 2
}
