package attach

import "github.com/rxring/rxring/cbpf"

// EventKind is the kind of an [Event].
type EventKind string

const (
	PeerAttached  EventKind = "attached"
	PeerRefused   EventKind = "refused"        // Count connections of one user, for the reason Err; at most one event a second
	PeersRefused  EventKind = "others refused" // Count connections of users without a PeerRefused of their own; Peer and Err are of one
	PeerDetached  EventKind = "detached"       // Err is the error of Config.Grant that revoked its grant; nil: the peer or the server ended
	SocketOpened  EventKind = "socket opened"  // it is bound and has a ring or a queue
	SocketClosed  EventKind = "socket closed"  // Socket has its final counts
	PeerFaulted   EventKind = "faulted"        // it broke the protocol, as Err says, and is detached
	UserThrottled EventKind = "throttled"      // Count packets were dropped because the user's sockets took too much time (ring.Throttled); Peer has a UID only
)

// Event is an entry for an audit log.
type Event struct {
	Kind   EventKind
	Peer   Peer
	Socket *SocketStatus      // of SocketOpened and SocketClosed
	Filter []cbpf.Instruction // of SocketClosed: the last filter that the program attached; nil: none
	Count  uint64             // of PeerRefused and PeersRefused: connections since the last event; of UserThrottled: packets
	Err    error
}
