package attach

import (
	"syscall"

	"github.com/rxring/rxring/internal/explain"
)

// The users for whom Config.Reserve keeps nothing may be many: one person may have 65,536
// user IDs (subuid(5)), and each of them maxPeers connections. So all of them together have
// a part of the descriptors that this process may open. The rest is for users with a
// reserve, for root and for this process's user, who attach however many others do.

const (
	// maxUnreservedPeers bounds the connections of users without a reserve, however many
	// descriptors there are.
	maxUnreservedPeers = 1024
	// filesOfPeer is how many descriptors a connection holds: its own, that of its events,
	// and one that comes with a request.
	filesOfPeer = 3
)

// unreserved is what the users without a reserve have together. Server.mu guards it.
type unreserved struct {
	peers   quota
	sockets quota // each may hold a descriptor, of memory that is not mapped yet
}

// newUnreserved divides half of files, descriptors, between connections and sockets.
func newUnreserved(files int) unreserved {
	return unreserved{
		peers:   quota{most: min(maxUnreservedPeers, max(1, files/4/filesOfPeer)), full: syscall.EAGAIN, of: "processes attached"},
		sockets: quota{most: max(1, files/4), full: syscall.ENFILE, of: "packet sockets"},
	}
}

// quota counts what users without a reserve have of one kind. Server.mu guards it.
type quota struct {
	n, most int
	full    syscall.Errno // the error if there are most already
	of      string        // the kind, for the error
}

// takeLocked counts one more of u's. Only users without a reserve are counted. Server.mu is
// held.
func (q *quota) takeLocked(u *user) error {
	if !u.unreserved {
		return nil
	}
	if q.n >= q.most {
		return explain.Errorf(q.full, `users for whom no memory is kept (those of a rule for "*" or for a group) have %d %s, the most that may be together: try again later`, q.n, q.of)
	}
	q.n++
	return nil
}

// giveBackLocked counts one less of u's. Server.mu is held.
func (q *quota) giveBackLocked(u *user) {
	if u.unreserved {
		q.n--
	}
}
