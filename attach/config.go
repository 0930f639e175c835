package attach

import (
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/ring"
)

// Config says what a [Server] offers, and to whom. Only Namespace must be set.
type Config struct {
	Namespace *rxring.Namespace

	// Grant decides what a peer gets; an error refuses it, and is what the peer is
	// told. It is asked when a peer comes, and again by [Server.Regrant]. nil: this
	// process's own user and root get everything, and nobody else anything.
	Grant func(Peer) (Grant, error)

	// Reserve is the user's share of the namespace's reserved memory, in bytes: see
	// [rxring.NamespaceConfig]. It is asked when a user attaches. nil: nobody has one.
	Reserve func(uid uint32) int64

	// Permit gives the socket's file another mode, owner or group, before anybody can find
	// it. What it gets is a symbolic link in /proc to the file: os.Chmod and os.Chown work,
	// os.Lchown does not. An error ends Listen. nil: it stays this user's (mode 0600). Only
	// for [Listen]; [Server.Permit] changes it later.
	Permit func(file string) error

	// Notify is told what happens, for logs. It is called by several goroutines at
	// once, and should be quick. nil: nobody is.
	Notify func(Event)

	// Describe adds what only the owner knows of a device to [Server.Status]. nil:
	// nothing.
	Describe func(*rxring.Device) Description
}

// Peer is the process at the other end, as the kernel tells of it (SO_PEERCRED,
// SO_PEERGROUPS).
type Peer struct {
	ID     uint64   `json:"id"` // counts the peers of a Server from 1
	PID    int      `json:"pid"`
	UID    uint32   `json:"uid"`
	GID    uint32   `json:"gid"`
	Groups []uint32 `json:"groups,omitempty"`
}

// Grant is what a peer gets.
type Grant struct {
	// Socket bounds what each of the peer's sockets sees and does. Its Budget and
	// Scope may be left zero: then the peer has a budget of MaxMemory bytes, and its
	// user's fanout groups are nobody else's.
	Socket rxring.Grant

	// MaxMemory bounds the bytes that this process holds for the user: rings, queues,
	// filters, sockets, connections, and answers that a peer has not read. 0: DefaultMaxMemory.
	MaxMemory  int64
	MaxSockets int  // 0: DefaultMaxSockets
	AllStatus  bool // Status has everybody's sockets, not only its own user's, and all counters
}

const (
	DefaultMaxMemory  = 256 << 20
	DefaultMaxSockets = 64
)

// EventKind says what happened.
type EventKind string

const (
	PeerAttached  EventKind = "attached"
	PeerRefused   EventKind = "refused"        // Count connections of a user, at most one event a second; Err says why
	PeersRefused  EventKind = "others refused" // Count connections of users for whom there is no PeerRefused; Peer and Err are of one
	PeerDetached  EventKind = "detached"       // Err is Config.Grant's if that grants nothing any more; nil: the peer or the server has ended
	SocketOpened  EventKind = "socket opened"  // it is bound to a device and has a place for packets
	SocketClosed  EventKind = "socket closed"  // Socket has its last counts
	PeerFaulted   EventKind = "faulted"        // sent what no client of ours sends: Err says what; it is detached
	UserThrottled EventKind = "throttled"      // Count packets were dropped, as sockets of the user took too much time (ring.Throttled). Peer has its UID only
)

// Event is for an audit log.
type Event struct {
	Kind   EventKind
	Peer   Peer
	Socket *SocketStatus      // of SocketOpened and SocketClosed
	Filter []cbpf.Instruction // of SocketClosed: the program's own filter, the last it had; nil: none
	Count  uint64             // of PeerRefused and PeersRefused: connections since the event before; of UserThrottled: packets
	Err    error
}

// Status is what [Server.Status] and [Client.Status] tell.
type Status struct {
	Time    time.Time      `json:"time"`
	Devices []DeviceStatus `json:"devices"`
	Sockets []SocketStatus `json:"sockets"`
}

// DeviceStatus is a device that the asker may see.
type DeviceStatus struct {
	Index int      `json:"index"`
	Name  string   `json:"name"`
	Type  string   `json:"type"` // ethernet, loopback, raw-ip, or arphrd-N
	Addr  string   `json:"address,omitempty"`
	Addrs []string `json:"addresses,omitempty"` // with prefix lengths
	MTU   int      `json:"mtu"`
	Up    bool     `json:"up"`
	Description
}

// Description is what a device's owner knows of it.
type Description struct {
	Source string `json:"source,omitempty"` // as in rxring serve --from

	// Counters are the source's own, such as kernel_drops. Without AllStatus, a peer whose
	// Grant restricts devices, packets or bytes gets none.
	Counters map[string]uint64 `json:"counters,omitempty"`
}

// SocketStatus is a peer's packet socket.
type SocketStatus struct {
	ID     uint32    `json:"id"` // within its peer
	Peer   Peer      `json:"peer"`
	Opened time.Time `json:"opened"`
	Device string    `json:"device"` // "": all
	Filter int       `json:"filter"` // instructions of the program's own filter

	Ring  *RingStatus `json:"ring,omitempty"` // nil: it has a queue
	Queue int         `json:"queue"`          // bytes of the first packet in it

	Offered  uint64     `json:"offered"`
	Filtered uint64     `json:"filtered"`
	Captured uint64     `json:"captured"`
	Dropped  ring.Drops `json:"dropped"` // by reason
	Sent     uint64     `json:"sent"`
}

// RingStatus is a receive ring: its shape, and a picture of its slots or blocks.
type RingStatus struct {
	Version   string `json:"version"` // V1, V2, V3
	Slots     uint32 `json:"slots"`   // or blocks
	SlotBytes uint32 `json:"slot_bytes"`

	// States has a letter for each slot or block, or for as many neighbours as
	// make at most 256 letters, in the order of the ring: '.' free, 'w' being filled,
	// 'R' with the reader; of neighbours the one that is furthest from free.
	States string `json:"states"`
	Head   int    `json:"head"` // the letter where the next packet goes
}
