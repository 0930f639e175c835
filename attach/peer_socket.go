package attach

import (
	"math"
	"syscall"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/explain"
)

// peerSocket is a packet socket of a peer.
type peerSocket struct {
	*rxring.Socket
	id       uint32
	opened   time.Time
	notified bool // SocketOpened was
	mapped   bool // a ring of it is, the peer says
	offered  *offeredMemory
	waker    waker
	cost     rxring.Charge
}

// openSocket serves opSocket.
func (p *peer) openSocket(m *message) error {
	typ, protocol := m.int(), m.word()
	if !m.end() || protocol > math.MaxUint16 {
		return fault("a socket of protocol %d, with arguments of %d bytes", protocol, len(m.b)-headerLen)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.countSocketLocked(); err != nil {
		return err
	}
	g := p.grant.Socket
	var cost rxring.Charge
	err := cost.Replace(g.Budget, socketCost)
	var rx *rxring.Socket
	if err == nil {
		rx, err = p.server.config.Namespace.SocketFor(&g, rxring.SockType(typ), uint16(protocol))
	}
	if err != nil {
		cost.Release()
		p.uncountSocket()
		return err
	}
	p.lastSocket++
	s := &peerSocket{Socket: rx, id: p.lastSocket, opened: time.Now(), waker: waker{events: &p.events, socket: rx, id: p.lastSocket}, cost: cost}
	rx.SetMapped(func(int) bool { return s.mapped })
	rx.KeepRingsPrivate()
	p.sockets[s.id] = s
	p.answer.u32(s.id)
	return nil
}

// countSocketLocked counts a socket of the peer's user, or returns ENFILE at the limit.
func (p *peer) countSocketLocked() error {
	p.server.mu.Lock()
	defer p.server.mu.Unlock()
	if p.user.sockets >= p.grant.MaxSockets {
		return explain.Errorf(syscall.ENFILE, "user %d has %d packet sockets, the most that are granted", p.UID, p.grant.MaxSockets)
	}
	if err := p.server.unreserved.sockets.addLocked(p.user); err != nil {
		return err
	}
	p.user.sockets++
	return nil
}

func (p *peer) uncountSocket() {
	p.server.mu.Lock()
	defer p.server.mu.Unlock()
	p.user.sockets--
	p.server.unreserved.sockets.removeLocked(p.user)
}

// closeSocket closes s, and notifies the owner.
func (p *peer) closeSocket(s *peerSocket) {
	st := p.socketStatus(s) // before Close: with the device
	filter, _, _ := s.GetFilter(st.Filter)
	s.Disarm(&s.waker)
	s.Close()
	s.setOffered(nil)
	s.cost.Release()
	p.mu.Lock()
	delete(p.sockets, s.id)
	p.mu.Unlock()
	p.uncountSocket()
	if s.notified {
		st.setCounts(s.Socket)
		p.server.config.Notify(Event{Kind: SocketClosed, Peer: p.Peer, Socket: &st, Filter: filter})
	}
}

// notifyOpened notifies the owner, once, of a socket that receives packets.
func (p *peer) notifyOpened(s *peerSocket) {
	if s.notified || s.Addr().Protocol == 0 {
		return
	}
	s.notified = true
	st := p.socketStatus(s)
	p.server.config.Notify(Event{Kind: SocketOpened, Peer: p.Peer, Socket: &st})
}

// offerMemory checks size, and keeps the memory that came with the request, if any, for the
// rings of s.
func (p *peer) offerMemory(s *peerSocket, size int) error {
	sizes, err := s.CheckMap(size)
	if err != nil || p.passed < 0 {
		return err
	}
	o, err := newOfferedMemory(p.passed, sizes)
	if err != nil {
		return err
	}
	p.passed = -1
	s.setOffered(o)
	return nil
}

func (s *peerSocket) setOffered(o *offeredMemory) {
	s.offered.close()
	s.offered = o
}

// moveRings moves the rings to the offered memory, which the peer has mapped.
func (s *peerSocket) moveRings() error {
	o := s.offered
	if o == nil {
		return explain.Errorf(syscall.EINVAL, "no memory to move the rings to: map them first")
	}
	s.offered = nil
	defer o.close()
	if err := o.seal(); err != nil {
		return err
	}
	return s.MoveRings(o.take())
}

func (s *peerSocket) currentCounts() counts { return counts{s.Totals(), s.Sent()} }
