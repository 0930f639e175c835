package attach

import (
	"syscall"

	"github.com/rxring/rxring/internal/explain"
)

// Users without a reserve (Config.Reserve) may be many: one person may have 65,536 user IDs
// (subuid(5)), each with maxPeers connections. So all of them together may use a part of
// the descriptors that this process may open. The rest is left to root, to this process's
// user and to users with a reserve, who can attach however many others do.

const (
	// maxUnreservedPeers limits the connections of users without a reserve, however many
	// descriptors there are.
	maxUnreservedPeers = 1024
	// filesOfPeer is how many descriptors a connection holds: its own, that of its events,
	// and one that arrives with a request.
	filesOfPeer = 3
)

// unreserved is what the users without a reserve have together. Guarded by Server.mu.
type unreserved struct {
	peers   quota
	sockets quota // each may hold the descriptor of memory that is not mapped yet
}

// newUnreserved divides half of so many descriptors between connections and sockets.
func newUnreserved(files int) unreserved {
	return unreserved{
		peers:   quota{limit: min(maxUnreservedPeers, max(1, files/4/filesOfPeer)), errno: syscall.EAGAIN, of: "processes attached"},
		sockets: quota{limit: max(1, files/4), errno: syscall.ENFILE, of: "packet sockets"},
	}
}

// quota limits what users without a reserve have of one kind. Guarded by Server.mu.
type quota struct {
	n, limit int
	errno    syscall.Errno // the error at the limit
	of       string        // the kind, for the error
}

// addLocked counts one more of u's, unless u has a reserve.
func (q *quota) addLocked(u *user) error {
	if !u.unreserved {
		return nil
	}
	if q.n >= q.limit {
		return explain.Errorf(q.errno, `users without reserved memory (those of a rule for "*" or for a group) have %d %s, the most that are allowed together: try again later`, q.n, q.of)
	}
	q.n++
	return nil
}

// removeLocked counts one less of u's.
func (q *quota) removeLocked(u *user) {
	if u.unreserved {
		q.n--
	}
}
