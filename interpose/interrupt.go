//go:build linux && (amd64 || arm64)

package interpose

import "golang.org/x/sys/unix"

// interrupt sends SIGINT, as Ctrl-C does, to every process that holds a packet socket.
// Where none of them can be found, because they may not be looked into, all of the
// program's processes get it.
func (s *session) interrupt() {
	s.interrupts.silence()
	if len(s.sockets) == 0 {
		return
	}
	s.interrupted = true
	all := descendants(s.root)
	found := false
	for _, pid := range all {
		found = signalIf(pid, func() bool { return s.holdsSocket(pid) }) || found
	}
	if found {
		return
	}
	for _, pid := range all {
		signalIf(pid, func() bool { return true })
	}
}

func (s *session) holdsSocket(pid int) (holds bool) {
	s.descriptors(pid, func(int32, *socket, bool) { holds = true })
	return holds
}

// signalIf sends SIGINT to a process if want says so of it, and reports that. The pidfd
// keeps the signal from a process that got the number meanwhile.
func signalIf(pid int, want func() bool) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return want() && unix.PidfdSendSignal(fd, unix.SIGINT, nil, 0) == nil
}
