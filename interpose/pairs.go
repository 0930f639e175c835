//go:build linux && (amd64 || arm64)

package interpose

import (
	"fmt"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// pairs watches our ends of the socket pairs that stand in for sockets of the program.
// It is an epoll set, edge-triggered: an end is writable when the program has read
// something from its end, and readable when the program has written something there,
// neither of which is trapped.
type pairs struct{ fd int }

func newPairs() (pairs, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return pairs{-1}, fmt.Errorf("interpose: epoll: %w", err)
	}
	return pairs{fd}, nil
}

func (ps pairs) add(end int) error { return ps.ctl(unix.EPOLL_CTL_ADD, end) }

// rearm reports once more what is still so at an end.
func (ps pairs) rearm(end int) { ps.ctl(unix.EPOLL_CTL_MOD, end) }

func (ps pairs) ctl(op, end int) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLET, Fd: int32(end)}
	return unix.EpollCtl(ps.fd, op, end, &ev)
}

// remove must be called before an end is closed. While this process is starting
// another one, that one has a copy of the end, which would stay in the set and report
// events for whatever has the number next.
func (ps pairs) remove(end int) { unix.EpollCtl(ps.fd, unix.EPOLL_CTL_DEL, end, nil) }

// handle attends to the ends with events.
func (ps pairs) handle(s *session) {
	var evs [32]unix.EpollEvent
	n, _ := unix.EpollWait(ps.fd, evs[:], 0)
	for _, ev := range evs[:max(n, 0)] {
		end := int(ev.Fd)
		for _, r := range s.rtnl.open {
			if r.end == end {
				r.event(ev.Events)
				break
			}
		}
		i := slices.IndexFunc(s.sockets.open, func(p *packetSocket) bool { return p.waker.end == end })
		if i < 0 {
			continue
		}
		p := s.sockets.open[i]
		p.sendWritten()
		if p.staged && !p.disarmed && !p.readable() {
			p.refresh()
		}
	}
}

// blockForks keeps this process from starting others until the returned function is
// called. Until it executes its program, a new process holds copies of all our
// descriptors. One of a program's end would delay the hang-up that shows that the
// program has closed it.
func blockForks() (unblock func()) {
	syscall.ForkLock.RLock()
	return syscall.ForkLock.RUnlock
}
