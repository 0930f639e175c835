//go:build linux && (amd64 || arm64)

package interpose

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// A signal ends a trapped call that has not been received, and WAIT_KILLABLE_RECV
// keeps it from doing so afterwards. So the time from the trap until the call is
// received should be short: one thread waits for calls in the ioctl that receives
// them, and for nothing else. What else there is to wait for, serve does.

// receive serves trapped calls until the last process under the filter has ended.
func (s *session) receive() {
	runtime.LockOSThread() // as in serve
	maskSignals()
	for {
		n, err := s.l.receive()
		switch {
		case err == nil:
			s.mu.Lock()
			s.answer(&n, s.handle(&n))
			if s.sleepsTooLong() {
				s.news.Wake()
			}
			s.mu.Unlock()
		case !errors.Is(err, unix.ENOENT) || s.l.hungUp():
			return
		}
	}
}

// sleepsTooLong says whether something is due before serve's poll ends. Guarded by
// mu.
func (s *session) sleepsTooLong() bool {
	if s.sleeps < 0 {
		return !s.idle()
	}
	return s.waitingCalls() > s.waiting || s.holding || s.sleeps > int(s.sweepEvery().Milliseconds())+1
}

// waitingCalls is how many calls serve has to watch the time and signals for.
func (s *session) waitingCalls() int { return len(s.parked) + len(s.sends) }

// hungUp says whether no process is under the filter any more.
func (l *listener) hungUp() bool {
	fds := []unix.PollFd{{Fd: int32(l.fd)}}
	unix.Poll(fds, 0)
	return fds[0].Revents&unix.POLLHUP != 0
}

// wakesReceiver says whether SECCOMP_IOCTL_NOTIF_RECV ends when the last process
// under the filter does. On Linux before 6.11 it waits for ever.
func wakesReceiver() bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	release, _, _ := bytes.Cut(u.Release[:], []byte{0})
	var major, minor int
	if n, _ := fmt.Sscanf(string(release), "%d.%d", &major, &minor); n != 2 {
		return false
	}
	return major > 6 || major == 6 && minor >= 11
}
