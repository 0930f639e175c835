//go:build linux && (amd64 || arm64)

package interpose

import (
	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// backend is the packet socket of a namespace, of this process or of another one, that
// serves one of the program's. In another process each call is a message and its
// answer, so the session does not ask what it can know itself.
type backend interface {
	Bind(tpacket.SockaddrLL) error
	Addr() tpacket.SockaddrLL
	Setsockopt(level, name int, val []byte) error
	Getsockopt(level, name int, buf []byte) (int, error)
	AttachFilter([]cbpf.Instruction) error
	GetFilter(room int) ([]cbpf.Instruction, int, error)
	SetFanoutProgram([]cbpf.Instruction) error
	Map(size int) (memfd int, err error)
	Mapped() error                        // the program has mapped what Map returned
	memory(size int) (memfd int, ok bool) // the memory of the rings, size bytes, wherever they are now
	SetMapped(func(memfd int) bool)
	Geometry() (tpacket.Geometry, bool)
	HasTxRing() bool
	QueuedBytes() int
	Events() rxring.Events
	armedEvents(ring.Waker) rxring.Events // Arm, then Events
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
	_ backend = localSocket{}
	_ backend = (*attachedSocket)(nil)
)

// opener makes a backend; the protocol is in host byte order.
type opener func(t rxring.SockType, protocol uint16) (backend, error)

func (c *Config) opener() opener {
	if c.At != nil {
		return c.attached
	}
	return c.local
}

// localSocket is a socket in this process.
type localSocket struct{ *rxring.Socket }

func (c *Config) local(t rxring.SockType, protocol uint16) (backend, error) {
	if c.Refused != nil {
		return nil, c.Refused
	}
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

// Mapped has nothing to do: the rings are in that memory already.
func (s localSocket) Mapped() error { return nil }

func (s localSocket) memory(size int) (memfd int, ok bool) {
	memfd, err := s.Map(size)
	return memfd, err == nil
}

// attachedSocket is a socket in another process. Its memberships are made here as well,
// on the devices that represent that process's: programs ask for a link's promiscuity.
type attachedSocket struct {
	*attach.Socket
	members *rxring.Socket
}

func (c *Config) attached(t rxring.SockType, protocol uint16) (backend, error) {
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
