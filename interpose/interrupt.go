//go:build linux && (amd64 || arm64)

package interpose

import (
	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/interpose/internal/procfs"
)

// interrupt sends SIGINT, as Ctrl-C does, to every process that holds a packet socket. If
// none is found, because they may not be inspected, all processes of the program get it.
func (s *session) interrupt() {
	if len(s.sockets.open) == 0 {
		return
	}
	s.reports.interrupted = true
	all := procfs.Descendants(s.root)
	found := false
	for _, pid := range all {
		found = interruptIf(pid, func() bool { return s.holdsSocket(pid) }) || found
	}
	if found {
		return
	}
	for _, pid := range all {
		interruptIf(pid, func() bool { return true })
	}
}

func (s *session) holdsSocket(pid int) (holds bool) {
	s.packetSocketsOf(pid, func(int32, *packetSocket, bool) { holds = true })
	return holds
}

// interruptIf sends SIGINT to a process if cond holds, and reports whether it did. The
// pidfd keeps the signal from a process that gets the number meanwhile.
func interruptIf(pid int, cond func() bool) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return cond() && unix.PidfdSendSignal(fd, unix.SIGINT, nil, 0) == nil
}
