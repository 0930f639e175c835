package attach

import "time"

// ConnectBurst is how many connections of a user are served at once.
const ConnectBurst = connectBurst

// SetConnectRate changes how many connections of a user are served a second, for servers
// that are yet to listen, and returns what changes it back.
func SetConnectRate(rate int) (back func()) {
	before := connectRate
	connectRate = rate
	return func() { connectRate = before }
}

// SetIOTimeout changes how long ends wait for each other, and returns what changes
// it back.
func SetIOTimeout(d time.Duration) (back func()) {
	before := ioTimeout
	ioTimeout = d
	return func() { ioTimeout = before }
}

// TrustNoUser has this process's user treated as any other, and returns what changes it
// back.
func TrustNoUser() (back func()) {
	before := isTrusted
	isTrusted = func(uint32) bool { return false }
	return func() { isTrusted = before }
}

// ChargeAll charges d of processor time to every user that the server knows.
func ChargeAll(s *Server, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.users {
		u.cpuLimit.charge(time.Now(), d)
	}
}

// LimitUnreserved sets how many connections and sockets the users without a reserve may have.
func LimitUnreserved(s *Server, peers, sockets int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unreserved.peers.limit, s.unreserved.sockets.limit = peers, sockets
}

// UnreservedOf is how many connections and sockets newUnreserved allows where so many
// descriptors may be open.
func UnreservedOf(files int) (peers, sockets int) {
	c := newUnreserved(files)
	return c.peers.limit, c.sockets.limit
}
