package streams

import (
	"bytes"
	"syscall"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/explain"
)

// transmit delivers a frame that a packet socket sends through the device to the far stack,
// which answers ARP, ICMP echo, UDP and TCP. The device's own stack does not receive the frame,
// but receives the answer, and resets a TCP connection that it does not know, as Linux's does.
func (l *link) transmit(p *rxring.Packet) error {
	l.calls.Add(1)
	defer l.calls.Add(-1)
	if l.closed.Load() {
		return explain.Errorf(syscall.ENETDOWN, "the streams have ended")
	}
	l.programs.Add(1)
	l.wires[1].receive(buffer.MakeWithData(bytes.Clone(p.Data)), stack.GSO{}, 0)
	return nil
}

// maxStrangers bounds the number of programs' connections to the far stack.
const maxStrangers = 64

// serve accepts programs' connections, and discards their data, until the source is closed.
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
				stranger.receive(0, &s.strangers, s.stop) // an error means that the program has closed it
				stranger.reset()
				<-strangers
			})
		default:
			stranger.reset()
		}
	}
}
