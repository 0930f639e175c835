package streams

import (
	"bytes"
	"syscall"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/explain"
)

// transmit carries a frame that a packet socket sends through the device to the
// far stack, which answers as any host does: to ARP, ICMP echo, UDP, TCP. The
// device's own stack does not see the frame, but sees the answer, and resets a TCP
// connection that is none of its own: as Linux's does.
func (l *link) transmit(p *rxring.Packet) error {
	l.calls.Add(1)
	defer l.calls.Add(-1)
	if l.closed.Load() {
		return explain.Errorf(syscall.ENETDOWN, "the streams have ended")
	}
	l.programs.Add(1)
	l.cards[1].receive(buffer.MakeWithData(bytes.Clone(p.Data)))
	return nil
}

// maxStrangers bounds the connections that programs have with the far stack at a
// time.
const maxStrangers = 64

// serve accepts the connections that programs make, and throws away what they send,
// until the source is closed.
func (s *Source) serve(l *socket) {
	strangers := make(chan struct{}, maxStrangers)
	for {
		ep, queue, err := l.Accept(nil)
		switch err.(type) {
		case nil:
		case *tcpip.ErrWouldBlock:
			select {
			case <-l.ready:
				continue
			case <-s.stop:
				return
			}
		default:
			return
		}
		stranger := newSocket(ep, queue, waiter.ReadableEvents)
		select {
		case strangers <- struct{}{}:
			s.flows.Go(func() {
				stranger.receive(0, &s.strangers, s.stop) // its error is that the other side is gone
				stranger.reset()
				<-strangers
			})
		default:
			stranger.reset()
		}
	}
}
