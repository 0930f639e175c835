package attach

import (
	"os"
	"syscall"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/explain"
)

// Config configures a [Server]. Only Namespace is required. The server may call the
// functions from several goroutines at once.
type Config struct {
	Namespace *rxring.Namespace

	// Grant returns what a peer may see and do, or an error that refuses the peer and is
	// sent to it. The server calls it for each new peer, and for every peer in
	// [Server.Regrant]. nil: root and this process's user may see and do everything, and
	// all others are refused with EACCES.
	Grant func(Peer) (Grant, error)

	// Reserve returns how many bytes of the namespace's reserved memory belong to a user:
	// see [rxring.NamespaceConfig]. The server calls it when a user attaches. nil: none.
	Reserve func(uid uint32) int64

	// SocketPerms changes the mode, owner or group of the socket's file before any other
	// process can find it. Its argument is a symbolic link in /proc to the file: os.Chmod
	// and os.Chown follow it, os.Lchown does not. An error ends Listen. nil: the file has
	// mode 0600. Only [Listen] calls it; see also [Server.SetSocketPerms].
	SocketPerms func(file string) error

	// Notify receives events, for an audit log. It should return quickly. nil: events are
	// discarded.
	Notify func(Event)

	// Describe returns what [Server.Status] cannot know of a device. nil: nothing.
	Describe func(*rxring.Device) Description
}

// Peer is a process that is attached, as the kernel identifies it (SO_PEERCRED,
// SO_PEERGROUPS).
type Peer struct {
	ID     uint64   `json:"id"` // numbers the peers of a Server from 1
	PID    int      `json:"pid"`
	UID    uint32   `json:"uid"`
	GID    uint32   `json:"gid"`
	Groups []uint32 `json:"groups,omitempty"`
}

// Grant is what a peer may see and do.
type Grant struct {
	// Socket applies to each of the peer's sockets. If its Budget is nil, the peer's user
	// has a budget of MaxMemory bytes; if its Scope is 0, fanout groups are shared only
	// with other processes of the user.
	Socket rxring.Grant

	// MaxMemory limits the bytes that this process holds for the user: rings, queues,
	// filters, sockets, connections, and unread answers. 0: DefaultMaxMemory.
	MaxMemory  int64
	MaxSockets int  // of the user; 0: DefaultMaxSockets
	AllStatus  bool // Client.Status lists the sockets of all users and all counters
}

// The limits of a Grant that sets none.
const (
	DefaultMaxMemory  = 256 << 20 // bytes
	DefaultMaxSockets = 64
)

// setDefaults replaces what is nil by functions that do what Config says.
func (c *Config) setDefaults() error {
	if c.Namespace == nil {
		return explain.Errorf(syscall.EINVAL, "attach: Config: want a Namespace")
	}
	if c.Grant == nil {
		c.Grant = grantOwnUser
	}
	if c.Reserve == nil {
		c.Reserve = func(uint32) int64 { return 0 }
	}
	if c.Notify == nil {
		c.Notify = func(Event) {}
	}
	if c.Describe == nil {
		c.Describe = func(*rxring.Device) (d Description) { return d }
	}
	return nil
}

// grantOwnUser is the default of Config.Grant.
func grantOwnUser(p Peer) (Grant, error) {
	if p.UID == uint32(os.Geteuid()) || p.UID == 0 {
		return Grant{AllStatus: true}, nil
	}
	return Grant{}, explain.Errorf(syscall.EACCES, "user %d is not user %d, whose namespace this is", p.UID, os.Geteuid())
}
