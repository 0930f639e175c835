//go:build linux && (amd64 || arm64)

package interpose

import (
	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// packetSocket is what serves a packet socket of the program: one of a namespace of
// this process, or of another's. There each call is a message and its answer, so
// what the session can know by itself it does not ask.
type packetSocket interface {
	Bind(tpacket.SockaddrLL) error
	Addr() tpacket.SockaddrLL
	Setsockopt(level, name int, val []byte) error
	Getsockopt(level, name int, buf []byte) (int, error)
	AttachFilter([]cbpf.Instruction) error
	GetFilter(room int) ([]cbpf.Instruction, int, error)
	SetFanoutProgram([]cbpf.Instruction) error
	Map(size int) (memfd int, err error)
	Mapped() error                        // what Map returned is mapped
	memory(size int) (memfd int, ok bool) // the rings' as it is, of which Map would want size bytes mapped
	SetMapped(func(memfd int) bool)
	Geometry() (tpacket.Geometry, bool)
	HasTxRing() bool
	QueuedBytes() int
	Events() rxring.Events
	armedEvents(ring.Waker) rxring.Events // Arm, and then Events
	Arm(ring.Waker)
	Disarm(ring.Waker)
	Recv([]byte, rxring.RecvFlags) (rxring.Message, error)
	Peek([]byte) (rxring.Message, error)
	Discard()
	Send([]byte) (int, error)
	SendTo([]byte, *tpacket.SockaddrLL) (int, error)
	Route(*tpacket.SockaddrLL) (*rxring.Device, error)
	Totals() ring.Totals
	Sent() uint64
	Close() error
}

var (
	_ packetSocket = localSocket{}
	_ packetSocket = (*attachedSocket)(nil)
)

// opener makes packet sockets; the protocol is in host byte order.
type opener func(t rxring.SockType, protocol uint16) (packetSocket, error)

func (c *Config) opener() opener {
	if c.At != nil {
		return c.attached
	}
	return c.local
}

// localSocket is a socket of a namespace of this process.
type localSocket struct{ *rxring.Socket }

func (c *Config) local(t rxring.SockType, protocol uint16) (packetSocket, error) {
	s, err := c.Namespace.Socket(t, protocol)
	if err != nil {
		return nil, err
	}
	return localSocket{s}, nil
}

func (s localSocket) armedEvents(w ring.Waker) rxring.Events {
	s.Arm(w)
	return s.Events()
}

// Mapped has nothing to do: the rings are in the memory already.
func (s localSocket) Mapped() error { return nil }

func (s localSocket) memory(size int) (memfd int, ok bool) {
	memfd, err := s.Map(size)
	return memfd, err == nil
}

// attachedSocket is a socket of another process's namespace. Its memberships are
// those of the devices that stand here for that namespace's, too: programs ask how
// promiscuous a link is.
type attachedSocket struct {
	*attach.Socket
	members *rxring.Socket
}

func (c *Config) attached(t rxring.SockType, protocol uint16) (packetSocket, error) {
	s, err := c.At.Socket(t, protocol)
	if err != nil {
		return nil, err
	}
	members, err := c.namespace().Socket(t, 0)
	if err != nil {
		s.Close()
		return nil, err
	}
	return &attachedSocket{s, members}, nil
}

func (a *attachedSocket) armedEvents(w ring.Waker) rxring.Events {
	e, _, _ := a.Poll(w)
	return e
}

func (a *attachedSocket) memory(int) (memfd int, ok bool) {
	memfd = a.Memory()
	return memfd, memfd >= 0
}

func (a *attachedSocket) Setsockopt(level, name int, val []byte) error {
	err := a.Socket.Setsockopt(level, name, val)
	if err == nil && level == tpacket.SolPacket && (name == tpacket.OptAddMembership || name == tpacket.OptDropMembership) {
		a.members.Setsockopt(level, name, val)
	}
	return err
}

func (a *attachedSocket) Close() error {
	a.members.Close()
	return a.Socket.Close()
}
