//go:build linux && (amd64 || arm64)

package interpose

import (
	"slices"

	"golang.org/x/sys/unix"
)

// poll makes every packet socket's stand-in as readable as its ring is and lets
// the kernel run the call: timeouts, signal masks, other descriptors in the
// same set and the ways to be interrupted are all its own. Which descriptors
// the call waits for need not be known, for an epoll set they could not be.
func (c *call) poll() reply {
	epoll := slices.Contains(epollWaits, uint32(c.NR))
	if epoll && c.s.rtnlReadable() {
		c.s.sweepRTNL() // as held below
	}
	for _, k := range c.s.sockets {
		switch {
		case epoll && !c.s.held(k, c.tid):
			k.mute()
		default:
			k.refresh()
		}
	}
	return reply{}
}

// epollCtl serves epoll_ctl, which unswap has already done what it needs for.
// Whoever waits for the set just now made its call before the socket was in it.
func (c *call) epollCtl() reply {
	k, ok := c.socket(c.int(2))
	if !ok {
		return reply{}
	}
	var events [4]byte // struct epoll_event begins with them
	if c.int(1) != unix.EPOLL_CTL_DEL && c.read(c.Args[3], events[:]) == nil && native32(events[:])&unix.EPOLLET != 0 && c.valid() {
		k.edges = true
	}
	k.refresh()
	return reply{}
}

// held says whether any process holds the socket. A closed one leaves its epoll
// sets, but its stand-in, of which we have a duplicate, does not until the next
// sweep: it must not be reported to who no longer knows it.
func (s *session) held(k *socket, tid int) bool {
	if d, err := s.at(k.seenTID, k.seenFD); err == nil && d.inode == k.inode && d.memory == nil {
		return true
	}
	if k.muted {
		return false // until it is seen again
	}
	found := false
	s.descriptors(tid, func(_ int32, o *socket, _ bool) { found = found || o == k })
	return found || !slices.Contains(s.unheld(), k)
}

// mute keeps a socket that nobody holds, as far as we can see, from being
// readable. It may be on its way to another process: the sweep decides.
func (k *socket) mute() {
	k.muted = true
	k.rx.Disarm(&k.waker)
	k.rx.Disarm(&k.comes)
	k.unstage()
	k.drain(1 << 20)
	k.waker.taken()
}

// seen notes where a socket was found.
func (k *socket) seen(tid int, fd int32) {
	k.seenTID, k.seenFD = tid, fd
	if k.muted {
		k.muted = false
		k.refresh()
	}
}
