package attach

import (
	"errors"
	"math"
	"os"
	"syscall"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/tpacket"
)

// call serves a request and appends its results to p.answer. A faultError ends the
// connection; another error is the answer.
func (p *peer) call(o op, id uint32, m *message) (err error) {
	switch o {
	case opDevices:
		offset, all := m.word(), m.yes()
		return p.sendChunk(m, offset, func() any { return p.listDevices(all) })
	case opStatus:
		return p.sendChunk(m, m.word(), func() any { return p.server.statusFor(p) })
	case opSocket:
		return p.openSocket(m)
	}
	p.mu.Lock()
	s, existed := p.sockets[id], id != 0 && id <= p.lastSocket
	p.mu.Unlock()
	if s == nil && existed { // Close was faster than this call
		return rxring.ErrClosed
	}
	if s == nil {
		return fault("operation %d on socket %d: there is none of that number", o, id)
	}
	a := &p.answer
	switch o {
	case opClose:
		if !m.end() {
			break
		}
		p.closeSocket(s)
		a.counts(s.currentCounts())
	case opBind:
		addr := takeRecord[tpacket.SockaddrLL](m)
		if !m.end() {
			break
		}
		err = s.Bind(addr)
		p.notifyOpened(s)
	case opAddr:
		addr := s.Addr()
		a.bytes(tpacket.Bytes(&addr))
	case opSetsockopt:
		level, name, mapped, val := m.int(), m.int(), m.yes(), m.rest()
		if len(val) > maxOption {
			return fault("option of %d bytes", len(val))
		}
		if m.end() {
			s.mapped = mapped // a peer that lies loses the ring that it has mapped
			err = s.Setsockopt(level, name, val)
			p.notifyOpened(s)
		}
	case opGetsockopt:
		level, name, size, val := m.int(), m.int(), m.word(), m.rest()
		if size > maxOption {
			return fault("a buffer of %d bytes for an option", size)
		}
		if m.end() {
			buf := make([]byte, size)
			copy(buf, val)
			var n int
			n, err = s.Getsockopt(level, name, buf)
			a.bytes(buf[:n])
		}
	case opSetFilter:
		if prog := m.takeProgram(); m.end() {
			err = s.AttachFilter(prog)
		}
	case opFanoutProg:
		if prog := m.takeProgram(); m.end() {
			err = s.SetFanoutProgram(prog)
		}
	case opGetFilter:
		if size := m.word(); m.end() {
			prog, n, err := s.GetFilter(int(min(size, math.MaxInt32)))
			if err != nil {
				return err
			}
			a.u32(uint32(n))
			a.program(prog)
		}
	case opMap:
		if size := m.long(); m.end() && size <= math.MaxInt {
			err = p.offerMemory(s, int(size))
		}
	case opMapped:
		if m.end() {
			err = s.moveRings()
		}
	case opRings:
		g, ok := s.Geometry()
		a.flag(ok)
		a.flag(s.HasTxRing())
		for _, v := range []uint32{uint32(g.Version), g.BlockSize, g.BlockNr, g.FrameSize, g.FrameNr, g.FramesPerBlock} {
			a.u32(v)
		}
	case opPoll:
		if arm := m.yes(); m.end() {
			if arm {
				s.waker.left.CompareAndSwap(0, 1)
				s.Arm(&s.waker) // before Events: see ring.Notify
			}
			a.u32(uint32(s.Events()))
			a.flag(s.Readable())
			a.u64(uint64(s.QueuedBytes()))
		}
	case opArm:
		if wakes := m.word(); m.end() {
			return p.arm(s, wakes)
		}
	case opRecv, opPeek:
		if flags, size := m.word(), m.word(); m.end() {
			receive := func(b []byte) (rxring.Message, error) { return s.Recv(b, rxring.RecvFlags(flags)) }
			if o == opPeek {
				receive = s.Peek
			}
			err = p.recv(receive, int(min(size, maxPayload)))
		}
	case opSend:
		if to, frame := m.takeAddress(), m.rest(); m.end() {
			var n int
			if n, err = s.SendTo(frame, to); n > 0 && errors.Is(err, syscall.EAGAIN) {
				err = nil // the next call sends the rest of the transmit ring
			}
			if err == nil {
				a.u64(uint64(n))
			}
		}
	case opRoute:
		if to := m.takeAddress(); m.end() {
			var d *rxring.Device
			if d, err = s.Route(to); err == nil {
				a.u32(uint32(d.Index()))
			}
		}
	case opDiscard:
		s.Discard()
	case opCounts:
		a.counts(s.currentCounts())
	}
	if !m.end() {
		return fault("operation %d with arguments of %d bytes", o, len(m.b)-headerLen)
	}
	return err
}

// arm serves opArm. A peer can send it without waiting, so each wake-up counts as costly if the
// request changes nothing, because the socket has an event, for which it is sent at once, or is
// armed already; or if there are several, and not of a ring of blocks, whose wake-ups are few. Of
// a client of ours these are few.
func (p *peer) arm(s *peerSocket, wakes uint32) error {
	if wakes == 0 || wakes > maxWakes {
		return fault("%d wake-ups: want 1 to %d", wakes, maxWakes)
	}
	was := s.waker.left.Swap(int32(wakes)) > 0
	s.Arm(&s.waker)
	ready := s.Events() != 0
	if ready {
		s.Disarm(&s.waker)
		s.waker.Wake()
	}
	if was || ready || wakes > 1 && !hasBlocks(s.Socket) {
		l := p.cpuLimit()
		if !l.acquire(p.server.ctx, time.Duration(wakes)*armCost, p.hasHungUp) {
			return os.ErrClosed
		}
		l.release()
	}
	return nil
}

func hasBlocks(s *rxring.Socket) bool {
	g, ok := s.Geometry()
	return ok && g.Version == tpacket.V3
}

// recv receives a packet into the answer.
func (p *peer) recv(receive func([]byte) (rxring.Message, error), size int) error {
	if err := p.reserve(size); err != nil { // before the packet leaves the queue
		return err
	}
	packet := p.buffers.in[maxMessage-maxPayload:][:size] // the request is not needed any more
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
