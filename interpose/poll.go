//go:build linux && (amd64 || arm64)

package interpose

import (
	"slices"

	"golang.org/x/sys/unix"
)

// Calls that wait for descriptors run in the kernel, once every packet socket's stand-in
// is as readable as its ring. So time-outs, signal masks, other descriptors in the same
// set and the ways to be interrupted are the kernel's own. Which descriptors a call waits
// for need not be known; of an epoll set it could not be.

// poll serves poll, select and their kin.
func (c *call) poll() reply {
	for _, p := range c.s.sockets.open {
		p.refresh()
	}
	return native
}

// epollWait serves the calls that wait for an epoll set. A socket that the program has
// closed leaves its epoll sets in Linux, but its stand-in, of which we have a duplicate,
// stays there until the next sweep: it must not be reported.
func (c *call) epollWait() reply {
	if c.s.rtnl.readable() {
		c.s.sweepRTNL()
	}
	for _, p := range c.s.sockets.open {
		if c.s.isHeld(p, c.tid) {
			p.refresh()
		} else {
			p.disarm()
		}
	}
	return native
}

// epollCtl serves epoll_ctl on a packet socket. It is trapped so that the stand-in is at
// the descriptor again. A thread that waits for the set already made its call before the
// socket was in the set.
func (c *call) epollCtl(p *packetSocket) reply {
	if c.int(1) != unix.EPOLL_CTL_DEL {
		events, err := c.readUint32(c.Args[3]) // struct epoll_event begins with them
		if err == nil && events&unix.EPOLLET != 0 && c.valid() {
			p.edges = true
		}
	}
	p.refresh()
	return native
}

// isHeld reports whether any process holds the socket. tid, the calling thread, is
// looked at before all others.
func (s *session) isHeld(p *packetSocket, tid int) bool {
	if d, err := s.descriptorOf(p.seenTID, p.seenFD); err == nil && d.inode == p.inode && d.memory == nil {
		return true
	}
	if p.disarmed {
		return false // until it is seen again
	}
	found := false
	s.packetSocketsOf(tid, func(_ int32, o *packetSocket, _ bool) { found = found || o == p })
	return found || !slices.Contains(s.unheld(s.searchNow()), p)
}
