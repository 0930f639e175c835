//go:build linux && (amd64 || arm64)

package interpose

import (
	"slices"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/interpose/internal/procfs"
)

// Calls that wait for descriptors run in the kernel, once every packet socket's stand-in
// is as readable as its ring. So time-outs, signal masks, other descriptors in the same
// set and the ways to be interrupted are the kernel's own. Which descriptors a call waits
// for need not be known; of an epoll set it could not be. It is found out where a program has
// several sockets, such as one for each of its threads: to ask an attached socket whether it is
// readable takes a message and its answer.

// poll serves poll and ppoll.
func (c *call) poll() reply { return c.refreshPolled(c.pollFDs) }

// selectCall serves select and pselect6.
func (c *call) selectCall() reply { return c.refreshPolled(c.selectFDs) }

// How many sockets are refreshed in the time in which it is found out what is at a descriptor.
const (
	refreshesHere     = 12
	refreshesAttached = 2
)

// refreshPolled refreshes the sockets at the descriptors that list returns. It refreshes all if
// list reports false, or if that is faster.
func (c *call) refreshPolled(list func() ([]int32, bool)) reply {
	sockets, cost := c.s.sockets.open, refreshesHere
	if c.s.cfg.At != nil {
		cost = refreshesAttached
	}
	if len(sockets) > cost {
		if fds, ok := list(); ok && cost*len(fds) < len(sockets) {
			if polled, ok := c.socketsAt(fds); ok {
				sockets = polled
			}
		}
	}
	for _, p := range sockets {
		p.refresh()
	}
	return native
}

// maxPolled bounds the struct pollfds that are read of the program's memory.
const maxPolled = maxSockets / 2

// pollFDs reads the descriptors in poll's array of struct pollfd.
func (c *call) pollFDs() (fds []int32, ok bool) {
	const size = 8 // struct pollfd (asm-generic/poll.h)
	n := c.Args[1]
	if n > maxPolled {
		return nil, false
	}
	b := make([]byte, n*size)
	if n > 0 && c.readVM(c.Args[0], b) != nil {
		return nil, false
	}
	for at := range n {
		if fd := int32(native32(b[at*size:])); fd >= 0 {
			fds = append(fds, fd)
		}
	}
	return fds, true
}

// selectFDs reads the descriptors in select's three sets, which are bits in words of 64.
func (c *call) selectFDs() (fds []int32, ok bool) {
	const most = 1024 // FD_SETSIZE
	n := c.int(0)
	if n < 0 || n > most {
		return nil, false
	}
	var all, set [most / 8]byte
	for _, addr := range c.Args[1:4] {
		b := set[:(n+63)/64*8]
		if addr == 0 || n == 0 {
			continue
		}
		if c.readVM(addr, b) != nil {
			return nil, false
		}
		for i := range b {
			all[i] |= b[i]
		}
	}
	for fd := range n {
		if all[fd/8]&(1<<(fd%8)) != 0 {
			fds = append(fds, fd)
		}
	}
	return fds, true
}

// socketsAt returns the packet sockets at descriptors of the calling thread. It reports false if
// there may be others: behind an epoll set, or because the process may not be inspected.
func (c *call) socketsAt(fds []int32) (found []*packetSocket, ok bool) {
	for _, fd := range fds {
		link, err := procfs.Link(c.tid, fd)
		if procfs.Denied(err) || link == epollLink || link == memfdLink {
			return nil, false
		}
		if inode, ok := procfs.SocketInode(link); ok && c.s.sockets.byInode[inode] != nil {
			found = append(found, c.s.sockets.byInode[inode])
		}
	}
	return found, c.valid() // if it is not, what was read may be another thread's
}

// epollLink is what /proc shows for a descriptor of an epoll set.
const epollLink = "anon_inode:[eventpoll]"

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
	if d, err := s.descriptorOf(p.seenTID, p.seenFD); err == nil && d.inode == p.inode && d.ringOf == nil {
		return true
	}
	if p.disarmed {
		return false // until it is seen again
	}
	found := false
	s.packetSocketsOf(tid, func(_ int32, o *packetSocket, _ bool) { found = found || o == p })
	return found || !slices.Contains(s.unheld(s.searchNow()), p)
}
