package attach

import (
	"syscall"

	"github.com/rxring/rxring/internal/explain"
)

// The users for whom Config.Reserve keeps nothing may be many: one person may have 65,536
// user IDs (subuid(5)), and each of them maxPeers connections. So all of them together have
// a part of the descriptors that this process may open. The rest is for those with a
// reserve, for root and for this process's user, who attach however many others do.

const (
	// maxCrowdPeers bounds the connections of the crowd, however many descriptors there are.
	maxCrowdPeers = 1024
	// filesOfPeer is how many descriptors a connection holds: its own, that of its events,
	// and one that comes with a request.
	filesOfPeer = 3
)

// crowd is what the users without a reserve have together. Server.mu guards it.
type crowd struct {
	peers, maxPeers     int
	sockets, maxSockets int // each may hold a descriptor, of memory that is not mapped yet
}

// newCrowd shares half of files, descriptors, out among connections and sockets.
func newCrowd(files int) crowd {
	return crowd{maxPeers: min(maxCrowdPeers, max(1, files/4/filesOfPeer)), maxSockets: max(1, files/4)}
}

const crowdName = `users for whom no memory is kept (those of a rule for "*" or for a group)`

// enterLocked counts a connection of u. Server.mu is held.
func (c *crowd) enterLocked(u *user) error {
	if !u.crowd {
		return nil
	}
	if c.peers >= c.maxPeers {
		return explain.Errorf(syscall.EAGAIN, "%s have %d processes attached, the most that may be together: try again later", crowdName, c.peers)
	}
	c.peers++
	return nil
}

func (c *crowd) leaveLocked(u *user) {
	if u.crowd {
		c.peers--
	}
}

// openLocked counts a packet socket of u. Server.mu is held.
func (c *crowd) openLocked(u *user) error {
	if !u.crowd {
		return nil
	}
	if c.sockets >= c.maxSockets {
		return explain.Errorf(syscall.ENFILE, "%s have %d packet sockets, the most that may be together: try again later", crowdName, c.sockets)
	}
	c.sockets++
	return nil
}

func (c *crowd) closeLocked(u *user) {
	if u.crowd {
		c.sockets--
	}
}
