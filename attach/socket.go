package attach

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/internal/notify"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// Socket is a packet socket of the other process's namespace. Its methods are those of
// [rxring.Socket] and return the same errors; after the connection has ended, they return
// ENETDOWN. They may be called concurrently.
type Socket struct {
	client *Client
	id     uint32
	notify notify.Notify
	down   atomic.Bool // the connection has ended, and ENETDOWN is pending as SO_ERROR
	poller poller

	mapMu sync.Mutex // held by Map and Mapped; locked before mu

	mu     sync.Mutex // guards the fields below
	closed bool
	mapped func(memfd int) bool
	memory *memory // of the rings; nil: Map has not returned any
	counts counts  // the last that were received
}

// counts are a socket's counts of packets.
type counts struct {
	totals ring.Totals
	sent   uint64
}

// Socket opens a packet socket in the other process; protocol is in host byte order. ENFILE:
// the user has as many as the Grant allows.
func (c *Client) Socket(t rxring.SockType, protocol uint16) (*Socket, error) {
	s := &Socket{client: c}
	err := c.call(opSocket, 0, func(m *message) {
		m.u32(uint32(t))
		m.u32(uint32(protocol))
	}, func(m *message) { s.id = m.word() })
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, errDetached
	}
	c.sockets[s.id] = s
	return s, nil
}

// call is Client.call for the socket.
func (s *Socket) call(o op, arguments, results func(*message)) error {
	return s.callWithFD(-1, o, arguments, results)
}

// callWithFD is call with a descriptor.
func (s *Socket) callWithFD(fd int, o op, arguments, results func(*message)) error {
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return rxring.ErrClosed
	}
	return s.client.callWithFD(fd, o, s.id, arguments, results)
}

// setDown sets ENETDOWN: the connection has ended.
func (s *Socket) setDown() {
	s.down.Store(true)
	s.notify.Wake()
}

// Bind is [rxring.Socket.Bind].
func (s *Socket) Bind(a tpacket.SockaddrLL) error {
	return s.call(opBind, func(m *message) { m.bytes(tpacket.Bytes(&a)) }, nil)
}

// Addr is [rxring.Socket.Addr]. Its Ifindex is -1 after the connection has ended.
func (s *Socket) Addr() (a tpacket.SockaddrLL) {
	if err := s.call(opAddr, nil, func(m *message) { a = takeRecord[tpacket.SockaddrLL](m) }); err != nil {
		return tpacket.SockaddrLL{Family: tpacket.AFPacket, Ifindex: -1}
	}
	return a
}

// Setsockopt is [rxring.Socket.Setsockopt].
func (s *Socket) Setsockopt(level, name int, val []byte) error {
	rings := level == tpacket.SolPacket && (name == tpacket.OptRxRing || name == tpacket.OptTxRing)
	mapped := rings && s.isMapped()
	err := s.call(opSetsockopt, func(m *message) {
		m.u32(uint32(level))
		m.u32(uint32(name))
		m.flag(mapped)
		m.bytes(val[:min(len(val), maxOption)])
	}, nil)
	if rings && err == nil {
		s.forgetMemory()
	}
	return err
}

// Getsockopt is [rxring.Socket.Getsockopt].
func (s *Socket) Getsockopt(level, name int, buf []byte) (n int, err error) {
	if level == tpacket.SolSocket && name == tpacket.SoError && s.down.CompareAndSwap(true, false) {
		return copy(buf, nativeInt(syscall.ENETDOWN)), nil
	}
	buf = buf[:min(len(buf), maxOption)]
	err = s.call(opGetsockopt, func(m *message) {
		m.u32(uint32(level))
		m.u32(uint32(name))
		m.u32(uint32(len(buf)))
		m.bytes(buf)
	}, func(m *message) { n = copy(buf, m.rest()) })
	if level == tpacket.SolSocket && name == tpacket.SoError && errors.Is(err, errDetached) {
		return copy(buf, nativeInt(0)), nil // it was reported
	}
	return n, err
}

func nativeInt(e syscall.Errno) []byte {
	var m message
	m.u32(uint32(e))
	return m.b
}

// AttachFilter is [rxring.Socket.AttachFilter].
func (s *Socket) AttachFilter(prog []cbpf.Instruction) error {
	return s.call(opSetFilter, func(m *message) { m.program(prog) }, nil)
}

// GetFilter is [rxring.Socket.GetFilter].
func (s *Socket) GetFilter(size int) (prog []cbpf.Instruction, n int, err error) {
	err = s.call(opGetFilter, func(m *message) { m.u32(uint32(size)) }, func(m *message) {
		n = int(m.word())
		prog = m.takeProgram()
	})
	return prog, n, err
}

// SetFanoutProgram is [rxring.Socket.SetFanoutProgram].
func (s *Socket) SetFanoutProgram(prog []cbpf.Instruction) error {
	return s.call(opFanoutProg, func(m *message) { m.program(prog) }, nil)
}

// Geometry is [rxring.Socket.Geometry].
func (s *Socket) Geometry() (g tpacket.Geometry, ok bool) {
	g, ok, _, _ = s.rings()
	return g, ok
}

// HasTxRing is [rxring.Socket.HasTxRing].
func (s *Socket) HasTxRing() bool {
	_, _, tx, _ := s.rings()
	return tx
}

func (s *Socket) rings() (g tpacket.Geometry, rx, tx bool, err error) {
	err = s.call(opRings, nil, func(m *message) {
		rx, tx = m.yes(), m.yes()
		g.Version = tpacket.Version(m.word())
		for _, v := range []*uint32{&g.BlockSize, &g.BlockNr, &g.FrameSize, &g.FrameNr, &g.FramesPerBlock} {
			*v = m.word()
		}
	})
	return g, rx, tx, err
}

// QueuedBytes is [rxring.Socket.QueuedBytes].
func (s *Socket) QueuedBytes() int {
	_, _, n := s.Poll(nil)
	return n
}

// Events is [rxring.Socket.Events].
func (s *Socket) Events() rxring.Events {
	e, _, _ := s.Poll(nil)
	return e
}

// Arm is [rxring.Socket.Arm]. A goroutine of the Client calls w.Wake.
func (s *Socket) Arm(w ring.Waker) { s.Poll(w) }

// Disarm is [rxring.Socket.Disarm]. A wake-up that the other process still sends is
// ignored.
func (s *Socket) Disarm(w ring.Waker) { s.notify.Disarm(w) }

// Recv is [rxring.Socket.Recv].
func (s *Socket) Recv(b []byte, flags rxring.RecvFlags) (got rxring.Message, err error) {
	if s.down.CompareAndSwap(true, false) {
		return got, os.NewSyscallError("recvmsg", syscall.ENETDOWN)
	}
	return s.recv(opRecv, b, flags)
}

// Peek is [rxring.Socket.Peek].
func (s *Socket) Peek(b []byte) (rxring.Message, error) {
	return s.recv(opPeek, b, rxring.MsgPeek|rxring.MsgTrunc)
}

func (s *Socket) recv(o op, b []byte, flags rxring.RecvFlags) (got rxring.Message, err error) {
	bad := false
	err = s.call(o, func(m *message) {
		m.u32(uint32(flags))
		m.u32(uint32(len(b)))
	}, func(m *message) {
		head := m.take(int(m.word()))
		bad = got.UnmarshalBinary(head) != nil
		got.Copied = copy(b, m.rest())
	})
	switch {
	case errors.Is(err, errDetached):
		return rxring.Message{}, os.NewSyscallError("recvmsg", syscall.EAGAIN) // ENETDOWN was reported, and no packet will follow
	case bad:
		s.client.end(errMessage)
		return rxring.Message{}, errDetached
	case err == nil && got.Copied < min(got.N, len(b)):
		return got, explain.Errorf(syscall.EMSGSIZE, "packet of %d bytes: a socket without a ring can receive at most %d from another process", got.N, maxPayload)
	}
	return got, err
}

// Discard is [rxring.Socket.Discard].
func (s *Socket) Discard() { s.call(opDiscard, nil, nil) }

// Send is [rxring.Socket.Send].
func (s *Socket) Send(frame []byte) (int, error) { return s.SendTo(frame, nil) }

// SendTo is [rxring.Socket.SendTo].
func (s *Socket) SendTo(frame []byte, to *tpacket.SockaddrLL) (n int, err error) {
	err = s.call(opSend, func(m *message) {
		m.address(to)
		m.bytes(frame)
	}, func(m *message) { n = int(m.long()) })
	return n, err
}

// Route is [rxring.Socket.Route]. It returns a device of [Client.Namespace].
func (s *Socket) Route(to *tpacket.SockaddrLL) (*rxring.Device, error) {
	index := 0
	if err := s.call(opRoute, func(m *message) { m.address(to) }, func(m *message) { index = m.int() }); err != nil {
		return nil, err
	}
	d, ok := s.client.ns.DeviceByIndex(index)
	if !ok { // it is new, and not yet in the namespace
		return nil, os.NewSyscallError("sendto", syscall.ENXIO)
	}
	return d, nil
}

// Totals is [rxring.Socket.Totals]. After the connection has ended, it returns the last that
// were received.
func (s *Socket) Totals() ring.Totals { return s.currentCounts().totals }

// Sent is [rxring.Socket.Sent]. After the connection has ended, it returns the last that was
// received.
func (s *Socket) Sent() uint64 { return s.currentCounts().sent }

func (s *Socket) currentCounts() counts {
	var c counts
	err := s.call(opCounts, nil, func(m *message) { c = m.takeCounts() })
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.counts = c
	}
	return s.counts
}

// Close is [rxring.Socket.Close].
func (s *Socket) Close() error {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	if closed {
		return os.NewSyscallError("close", rxring.ErrClosed)
	}
	var last counts
	err := s.client.call(opClose, s.id, nil, func(m *message) { last = m.takeCounts() })
	c := s.client
	c.mu.Lock()
	delete(c.sockets, s.id)
	c.mu.Unlock()
	s.forgetMemory()
	s.mu.Lock()
	if err == nil {
		s.counts = last
	}
	s.mu.Unlock()
	s.notify.Wake()
	if errors.Is(err, errDetached) {
		err = nil // the server has closed the socket
	}
	return err
}
