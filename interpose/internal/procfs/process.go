//go:build linux

package procfs

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/proc"
)

// Denied reports whether err means that we may not inspect a process. Some seccomp
// profiles use ENOSYS for that.
func Denied(err error) bool {
	return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOSYS)
}

// Tasks lists the threads of a process.
func Tasks(pid int) []int {
	tids, _ := proc.Numbers(fmt.Sprintf("/proc/%d/task", pid))
	return tids
}

// IsTask reports whether tid is a thread of process pid.
func IsTask(pid, tid int) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/%d/task/%d", pid, tid))
	return err == nil
}

// Descendants lists the processes below pid, without pid itself.
func Descendants(pid int) []int {
	all := proc.Children(pid)
	for i := 0; i < len(all); i++ {
		for _, c := range proc.Children(all[i]) {
			if !slices.Contains(all, c) {
				all = append(all, c)
			}
		}
	}
	return all
}

// ThreadGroup is the process that a thread belongs to; 0 if the thread has ended.
func ThreadGroup(tid int) int { return statusNumber(tid, "Tgid:") }

// Parent is the parent process of a thread's process.
func Parent(tid int) int { return statusNumber(tid, "PPid:") }

// OwnID is the number that a thread's process has for itself, in the innermost PID
// namespace that it is in.
func OwnID(tid int) int { return statusNumber(tid, "NStgid:") }

// FSUID is the user whose rights a thread's file accesses have.
func FSUID(tid int) int { return statusNumber(tid, "Uid:") }

// statusNumber is the last number in a line of /proc/TID/status, 0 when there is
// none.
func statusNumber(tid int, key string) int {
	b, _ := proc.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, key); ok {
			if f := strings.Fields(v); len(f) > 0 {
				n, _ := strconv.Atoi(f[len(f)-1])
				return n
			}
		}
	}
	return 0
}

// HasMemory reports whether a process has not ended. A zombie has no memory, and may
// not be inspected either.
func HasMemory(pid int) bool {
	b, _ := proc.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	return len(b) > 0 && b[0] != '0'
}

// Name is how a thread's process is called in messages: its command and number.
func Name(tid int) string {
	name, _ := proc.ReadFile(fmt.Sprintf("/proc/%d/comm", tid))
	return fmt.Sprintf("%q (process %d)", strings.TrimSpace(string(name)), ThreadGroup(tid))
}

// Executable is the path of the program that a process runs.
func Executable(pid int) (string, error) {
	return os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
}

// SignalState is what /proc says about the signals that a thread may have to handle.
type SignalState struct {
	Killable bool // the thread sleeps, and only a fatal signal wakes it (state D)
	Thread   bool // an unblocked signal is pending for this thread
	Process  bool // one is pending for the process, and this thread does not block it
	Threads  int  // the number of threads of the process
}

// Signals reads the SignalState of a thread from /proc/TID/status.
func Signals(tid int) (s SignalState) {
	masks := make(map[string]uint64)
	b, _ := proc.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	for line := range strings.Lines(string(b)) {
		key, v, _ := strings.Cut(line, ":")
		switch v = strings.TrimSpace(v); key {
		case "State":
			s.Killable = strings.HasPrefix(v, "D")
		case "SigPnd", "ShdPnd", "SigBlk":
			masks[key], _ = strconv.ParseUint(v, 16, 64)
		case "Threads":
			s.Threads, _ = strconv.Atoi(v)
		}
	}
	s.Thread = masks["SigPnd"]&^masks["SigBlk"] != 0
	s.Process = masks["ShdPnd"]&^masks["SigBlk"] != 0
	return s
}

// OpenMemory opens a process's memory for reading and writing. The file stays that of
// the process's address space, even if the process ends and another one gets its
// number (seccomp_unotify(2)).
func OpenMemory(tid int) (fd int, err error) {
	return unix.Open(fmt.Sprintf("/proc/%d/mem", tid), unix.O_RDWR|unix.O_CLOEXEC, 0)
}
