package attach

import (
	"encoding/json"
	"errors"
	"math"
	"syscall"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/tpacket"
)

// call carries a request out: its results go to p.answer. A faultError ends the
// connection, another error is the answer.
func (p *peer) call(o op, id uint32, m *message) (err error) {
	switch o {
	case opDevices:
		return p.piece(m, p.handOutDevices)
	case opStatus:
		return p.piece(m, func() any { return p.server.status(p) })
	case opSocket:
		return p.socket(m)
	}
	p.mu.Lock()
	k, had := p.sockets[id], id != 0 && id <= p.last
	p.mu.Unlock()
	if k == nil && had { // a call that Close overtook
		return rxring.ErrClosed
	}
	if k == nil {
		return fault("operation %d on socket %d: it has none of that number", o, id)
	}
	a := &p.answer
	switch o {
	case opClose:
		if !m.end() {
			break
		}
		p.close(k)
		p.counts(k)
	case opBind:
		addr := record[tpacket.SockaddrLL](m)
		if !m.end() {
			break
		}
		err = k.Bind(addr)
		p.opened(k)
	case opAddr:
		addr := k.Addr()
		a.bytes(tpacket.Bytes(&addr))
	case opSetsockopt:
		level, name, mapped, val := m.int(), m.int(), m.yes(), m.rest()
		if len(val) > maxOption {
			return fault("option of %d bytes", len(val))
		}
		if m.end() {
			k.mapped = mapped // who says no falsely has lost what it mapped
			err = k.Setsockopt(level, name, val)
			p.opened(k)
		}
	case opGetsockopt:
		level, name, room, val := m.int(), m.int(), m.word(), m.rest()
		if room > maxOption {
			return fault("room for an option of %d bytes", room)
		}
		if m.end() {
			buf := make([]byte, room)
			copy(buf, val)
			var n int
			n, err = k.Getsockopt(level, name, buf)
			a.bytes(buf[:n])
		}
	case opSetFilter:
		if prog := m.takeProgram(); m.end() {
			err = k.AttachFilter(prog)
		}
	case opFanoutProg:
		if prog := m.takeProgram(); m.end() {
			err = k.SetFanoutProgram(prog)
		}
	case opGetFilter:
		if room := m.word(); m.end() {
			prog, n, err := k.GetFilter(int(min(room, math.MaxInt32)))
			if err != nil {
				return err
			}
			a.u32(uint32(n))
			a.program(prog)
		}
	case opMap:
		if size := m.long(); m.end() && size <= math.MaxInt {
			err = p.mapRings(k, int(size))
		}
	case opMapped:
		if m.end() {
			err = k.moveToLent()
		}
	case opRings:
		g, ok := k.Geometry()
		a.flag(ok)
		a.flag(k.HasTxRing())
		for _, v := range []uint32{uint32(g.Version), g.BlockSize, g.BlockNr, g.FrameSize, g.FrameNr, g.FramesPerBlock} {
			a.u32(v)
		}
	case opPoll:
		if arm := m.yes(); m.end() {
			if arm {
				k.Arm(&k.waker) // first: see ring.Notify
			}
			a.u32(uint32(k.Events()))
			a.flag(k.Readable())
			a.u64(uint64(k.QueuedBytes()))
		}
	case opRecv, opPeek:
		if flags, room := m.word(), m.word(); m.end() {
			receive := func(b []byte) (rxring.Message, error) { return k.Recv(b, rxring.RecvFlags(flags)) }
			if o == opPeek {
				receive = k.Peek
			}
			err = p.recv(receive, int(min(room, maxPayload)))
		}
	case opSend:
		if to, frame := m.takeAddress(), m.rest(); m.end() {
			var n int
			if n, err = k.SendTo(frame, to); n > 0 && errors.Is(err, syscall.EAGAIN) {
				err = nil // what is left in the transmit ring, the next call sends
			}
			if err == nil {
				a.u64(uint64(n))
			}
		}
	case opRoute:
		if to := m.takeAddress(); m.end() {
			var d *rxring.Device
			if d, err = k.Route(to); err == nil {
				a.u32(uint32(d.Index()))
			}
		}
	case opDiscard:
		k.Discard()
	case opCounts:
		p.counts(k)
	}
	if !m.end() {
		return fault("operation %d with arguments of %d bytes", o, len(m.b)-headerLen)
	}
	return err
}

// socket makes one.
func (p *peer) socket(m *message) error {
	typ, protocol := m.int(), m.word()
	if !m.end() || protocol > math.MaxUint16 {
		return fault("a socket of protocol %d, with arguments of %d bytes", protocol, len(m.b)-headerLen)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.countSocket(); err != nil {
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
	p.last++
	k := &peerSocket{Socket: rx, id: p.last, opened: time.Now(), waker: waker{&p.events, p.last}, cost: cost}
	rx.SetMapped(func(int) bool { return k.mapped })
	rx.KeepRingsPrivate()
	p.sockets[k.id] = k
	p.answer.u32(k.id)
	return nil
}

// countSocket counts another socket of the peer's user, if there may be one more. p.mu is
// held.
func (p *peer) countSocket() error {
	p.server.mu.Lock()
	defer p.server.mu.Unlock()
	if p.user.sockets >= p.grant.MaxSockets {
		return explain.Errorf(syscall.ENFILE, "user %d has %d packet sockets, the most that are granted", p.UID, p.grant.MaxSockets)
	}
	if err := p.server.unreserved.sockets.takeLocked(p.user); err != nil {
		return err
	}
	p.user.sockets++
	return nil
}

func (p *peer) uncountSocket() {
	p.server.mu.Lock()
	defer p.server.mu.Unlock()
	p.user.sockets--
	p.server.unreserved.sockets.giveBackLocked(p.user)
}

// mapRings takes the memory that came with the request, if any, for k's rings.
func (p *peer) mapRings(k *peerSocket, size int) error {
	sizes, err := k.CheckMap(size)
	if err != nil || p.handed < 0 {
		return err
	}
	l, err := newLent(p.handed, sizes)
	if err != nil {
		return err
	}
	p.handed = -1
	k.lend(l)
	return nil
}

// lend keeps l until its peer has mapped it; nil: nothing.
func (s *peerSocket) lend(l *lent) {
	s.lent.close()
	s.lent = l
}

// moveToLent puts the rings into the memory that the peer has mapped.
func (s *peerSocket) moveToLent() error {
	l := s.lent
	if l == nil {
		return explain.Errorf(syscall.EINVAL, "no memory to move the rings to: map them first")
	}
	s.lent = nil
	defer l.close()
	if err := l.seal(); err != nil {
		return err
	}
	return s.MoveRings(l.give())
}

// opened tells the owner of a socket that hears, once.
func (p *peer) opened(k *peerSocket) {
	if k.told || k.Addr().Protocol == 0 {
		return
	}
	k.told = true
	st := p.socketStatus(k)
	p.server.config.Notify(Event{Kind: SocketOpened, Peer: p.Peer, Socket: &st})
}

func (p *peer) recv(receive func([]byte) (rxring.Message, error), room int) error {
	if err := p.reserve(room); err != nil { // before a packet is taken out of the queue
		return err
	}
	packet := p.room.in[maxMessage-maxPayload:][:room] // nobody needs the request any more
	got, err := receive(packet)
	if err != nil {
		return err
	}
	b, err := got.AppendBinary(nil)
	if err != nil {
		return err
	}
	p.answer.u32(uint32(len(b)))
	p.answer.bytes(b)
	p.answer.bytes(packet[:got.Copied])
	return nil
}

func (p *peer) counts(k *peerSocket) {
	p.answer.counts(counts{k.Totals(), k.Sent()})
}

// piece hands out what make makes, as JSON, from the byte on that is asked for;
// it is made for the first.
func (p *peer) piece(m *message, make func() any) error {
	from := m.word()
	if !m.end() {
		return fault("a list, with arguments of %d bytes", len(m.b)-headerLen)
	}
	if from == 0 {
		b, err := json.Marshal(make())
		if err != nil {
			return err
		}
		if err := p.listed.Replace(p.granted().Socket.Budget, int64(len(b))); err != nil {
			return explain.Errorf(syscall.ENOMEM, "list of %w", err)
		}
		p.list = b
		if w := p.work(); w != nil {
			w.charge(time.Now(), time.Duration(len(b))*listCost)
		}
	}
	if int64(from) > int64(len(p.list)) {
		return fault("a list from byte %d on: it has %d", from, len(p.list))
	}
	rest := p.list[from:]
	if err := p.reserve(min(len(rest), maxPayload)); err != nil {
		return err
	}
	p.answer.u32(uint32(len(p.list)))
	p.answer.bytes(rest[:min(len(rest), maxPayload)])
	if len(rest) <= maxPayload {
		p.list = nil
		p.listed.Release()
	}
	return nil
}
