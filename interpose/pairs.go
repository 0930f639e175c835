//go:build linux && (amd64 || arm64)

package interpose

import (
	"fmt"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/interpose/internal/epoll"
)

// pairs watches our ends of the socket pairs that stand in for sockets of the program.
// It is an epoll set, edge-triggered: an end is writable when the program has read
// something from its end, and readable when the program has written something there,
// neither of which is trapped. Of a packet socket with a ring, what is read of its
// stand-in does not matter: we read it ourselves, in most cases.
type pairs struct{ *epoll.Set }

const (
	whatIsWritten       = unix.EPOLLIN | unix.EPOLLET
	whatIsReadOrWritten = whatIsWritten | unix.EPOLLOUT
)

func newPairs() (pairs, error) {
	set, err := epoll.New()
	if err != nil {
		return pairs{}, fmt.Errorf("interpose: %w", err)
	}
	return pairs{set}, nil
}

func (ps pairs) add(end int, events uint32) error { return ps.Ctl(unix.EPOLL_CTL_ADD, end, events) }

// rearm reports once more what is still so at an end.
func (ps pairs) rearm(end int, events uint32) { ps.Ctl(unix.EPOLL_CTL_MOD, end, events) }

// remove must be called before an end is closed. While this process is starting
// another one, that one has a copy of the end, which would stay in the set and report
// events for whatever has the number next.
func (ps pairs) remove(end int) { ps.Ctl(unix.EPOLL_CTL_DEL, end, 0) }

// handle attends to the ends with events.
func (ps pairs) handle(s *session) {
	var evs [32]unix.EpollEvent
	n, _ := ps.Poll(evs[:])
	for _, ev := range evs[:n] {
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
