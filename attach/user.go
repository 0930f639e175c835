package attach

import (
	"maps"
	"os"
	"time"

	"github.com/rxring/rxring"
)

// user is what the peers of one user share. Server.mu guards the fields that change.
type user struct {
	budget     *rxring.Budget
	account    *rxring.Account
	cpuLimit   *cpuLimit
	requests   chan struct{} // has an element for each request that is being served
	closing    chan struct{} // has an element for each descriptor that closeAsync closes
	unreserved bool          // it has no reserve: see Server.unreserved
	peers      int
	sockets    int
	lastLeft   time.Time // when its last peer left

	throttled   uint64    // packets that UserThrottled has reported
	throttledAt time.Time // the time of that report
}

const (
	// throttledInterval is the shortest time between two UserThrottled of one user.
	throttledInterval = 10 * time.Second

	// maxClosing limits the descriptors of one user that are being closed at a time: each
	// may occupy a thread.
	maxClosing = 4

	// maxPeers limits the connections of one user: each costs a goroutine and three
	// descriptors.
	maxPeers = 64

	// userTTL is how long a user without peers is known, so that reconnecting does not
	// clear the debt of its cpuLimit and Account.
	userTTL = time.Minute
)

// throttledUsers returns an event for each user who had packets dropped since the last one.
func (s *Server) throttledUsers(now time.Time) (events []Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for uid, u := range s.users {
		n := u.account.Throttled()
		if n == u.throttled || now.Sub(u.throttledAt) < throttledInterval {
			continue
		}
		events = append(events, Event{Kind: UserThrottled, Peer: Peer{UID: uid}, Count: n - u.throttled})
		u.throttled, u.throttledAt = n, now
	}
	return events
}

// userLocked returns the user with that ID, and adds it if it is new.
func (s *Server) userLocked(uid uint32) *user {
	now := time.Now()
	maps.DeleteFunc(s.users, func(_ uint32, u *user) bool { return u.peers == 0 && now.Sub(u.lastLeft) > userTTL })
	u := s.users[uid]
	if u == nil {
		reserve := s.config.Reserve(uid)
		u = &user{
			budget:     rxring.NewBudgetWithReserve(0, reserve),
			unreserved: reserve <= 0 && !isTrusted(uid),
			requests:   make(chan struct{}, maxRequests),
			closing:    make(chan struct{}, maxClosing),
			account:    rxring.NewAccount(),
			cpuLimit:   newCPULimit(),
			lastLeft:   now,
		}
		s.users[uid] = u
	}
	return u
}

// isTrusted reports whether uid is root or the user who started this process. They control
// this process anyway, so their processor time is not limited. Tests change it.
var isTrusted = func(uid uint32) bool { return uid == 0 || uid == startedBy }

// startedBy is this process's user at its start: it may have become another since.
var startedBy = uint32(os.Geteuid())

// cpuLimit limits the peer's requests; nil: nothing does.
func (p *peer) cpuLimit() *cpuLimit {
	if isTrusted(p.UID) {
		return nil
	}
	return p.user.cpuLimit
}
