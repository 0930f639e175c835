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
	budget  *rxring.Budget
	account *rxring.Account
	peers   int
	sockets int
	left    time.Time // when a peer left last
}

// maxPeers bounds a user's connections: each costs a goroutine, three descriptors
// and the room for a message.
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
		u = &user{budget: rxring.NewBudget(0), account: rxring.NewAccount(), left: now}
		s.users[uid] = u
	}
	return u
}

// trusted reports whether the peer is of this process's user or of root, who could do to this
// process whatever they like: their work for it is not bounded.
func (p *peer) trusted() bool { return p.UID == 0 || p.UID == uint32(os.Geteuid()) }
