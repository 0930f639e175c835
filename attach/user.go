package attach

import (
	"maps"
	"os"
	"time"

	"github.com/rxring/rxring"
)

// user is what the peers of one user share, however many they are. Server.mu guards what
// changes.
type user struct {
	budget     *rxring.Budget
	turns      chan struct{} // has an element for each request that is being served
	apart      chan struct{} // has an element for each descriptor that is being closed apart
	account    *rxring.Account
	work       *work
	unreserved bool // nothing is kept for it: see Server.unreserved
	peers      int
	sockets    int
	left       time.Time // when a peer left last

	throttled uint64    // packets, of which UserThrottled has told
	told      time.Time // when
}

// tellEvery is how often UserThrottled tells of the same user.
const tellEvery = 10 * time.Second

// throttled makes an event for each user for whom there is something to tell.
func (s *Server) throttled(now time.Time) (all []Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for uid, u := range s.users {
		n := u.account.Throttled()
		if n == u.throttled || now.Sub(u.told) < tellEvery {
			continue
		}
		all = append(all, Event{Kind: UserThrottled, Peer: Peer{UID: uid}, Count: n - u.throttled})
		u.throttled, u.told = n, now
	}
	return all
}

// maxApart bounds the descriptors of one user that are being closed at a time: each may take a
// thread.
const maxApart = 4

// maxPeers bounds a user's connections: each costs a goroutine and three descriptors.
const maxPeers = 64

// rememberFor is how long a user is known after the last of its peers has left: who
// connects anew owes what it owed before.
const rememberFor = time.Minute

// userLocked is the user of that number, who may be new. Server.mu is held.
func (s *Server) userLocked(uid uint32) *user {
	now := time.Now()
	maps.DeleteFunc(s.users, func(_ uint32, u *user) bool { return u.peers == 0 && now.Sub(u.left) > rememberFor })
	u := s.users[uid]
	if u == nil {
		reserve := s.config.Reserve(uid)
		u = &user{
			budget:     rxring.NewBudgetWithReserve(0, reserve),
			unreserved: reserve <= 0 && !trusts(uid),
			turns:      make(chan struct{}, maxTurns),
			apart:      make(chan struct{}, maxApart),
			account:    rxring.NewAccount(),
			work:       newWork(),
			left:       now,
		}
		s.users[uid] = u
	}
	return u
}

// trusts reports whether a user is the one who started this process, or root, who could do to
// it whatever they like: what they cost is not bounded.
var trusts = func(uid uint32) bool { return uid == 0 || uid == startedBy }

// startedBy is this process's user before it became another, if it did.
var startedBy = uint32(os.Geteuid())

// work is what bounds the peer's requests, nil: nothing.
func (p *peer) work() *work {
	if trusts(p.UID) {
		return nil
	}
	return p.user.work
}
