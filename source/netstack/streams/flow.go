package streams

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/rxring/rxring/source/netstack/streams/payload"
)

// socket is a TCP endpoint and the means to wait for it.
type socket struct {
	tcpip.Endpoint
	queue *waiter.Queue
	entry waiter.Entry
	ready chan struct{} // one token when events may have happened
}

func newSocket(ep tcpip.Endpoint, queue *waiter.Queue, events waiter.EventMask) *socket {
	s := &socket{Endpoint: ep, queue: queue}
	s.entry, s.ready = waiter.NewChannelEntry(events | waiter.EventErr | waiter.EventHUp)
	queue.EventRegister(&s.entry)
	return s
}

// reset ends the connection at once, without FIN nor TIME-WAIT.
func (s *socket) reset() {
	s.queue.EventUnregister(&s.entry)
	s.SocketOptions().SetLinger(tcpip.LingerOption{Enabled: true})
	s.Close()
}

func listen(s *stack.Stack, addr tcpip.FullAddress, backlog int) (*socket, error) {
	queue := new(waiter.Queue)
	ep, err := s.NewEndpoint(tcp.ProtocolNumber, ipv4.ProtocolNumber, queue)
	if err != nil {
		return nil, fmt.Errorf("new socket: %v", err)
	}
	l := newSocket(ep, queue, waiter.ReadableEvents)
	if err := ep.Bind(addr); err != nil {
		l.reset()
		return nil, fmt.Errorf("bind to port %d: %v", addr.Port, err)
	}
	if err := ep.Listen(backlog); err != nil {
		l.reset()
		return nil, fmt.Errorf("listen on port %d: %v", addr.Port, err)
	}
	return l, nil
}

// dial connects to l's address, and returns both ends.
func dial(s *stack.Stack, l *socket, addr tcpip.FullAddress) (sender, receiver *socket, _ error) {
	queue := new(waiter.Queue)
	ep, err := s.NewEndpoint(tcp.ProtocolNumber, ipv4.ProtocolNumber, queue)
	if err != nil {
		return nil, nil, fmt.Errorf("new socket: %v", err)
	}
	sender = newSocket(ep, queue, waiter.WritableEvents)
	err = ep.Connect(addr)
	if _, ok := err.(*tcpip.ErrConnectStarted); ok {
		<-sender.ready // gVisor gives up by itself after a while
		err = ep.LastError()
	}
	if err != nil {
		sender.reset()
		return nil, nil, fmt.Errorf("connect to port %d: %v", addr.Port, err)
	}
	for {
		ep, queue, err := l.Accept(nil)
		switch err.(type) {
		case nil:
			return sender, newSocket(ep, queue, waiter.ReadableEvents), nil
		case *tcpip.ErrWouldBlock:
			<-l.ready
		default:
			sender.reset()
			return nil, nil, fmt.Errorf("accept: %v", err)
		}
	}
}

// pacer limits how often a flow sends.
type pacer struct {
	rate int       // segments per second; 0: any number
	next time.Time // when the next one may be sent
}

// wait waits until another segment may be sent. It returns false when stop is closed.
func (p *pacer) wait(stop <-chan struct{}) bool {
	if p.rate == 0 {
		return true
	}
	now := time.Now()
	if p.next.Before(now) {
		p.next = now // time that was not used is lost
	}
	select {
	case <-time.After(p.next.Sub(now)):
	case <-stop:
		return false
	}
	p.next = p.next.Add(time.Second / time.Duration(p.rate))
	return true
}

// send writes a stream, a segment at a time, until stop is closed. It waits for the audience.
func (s *socket) send(stream uint16, a *audience, p pacer, stop <-chan struct{}) error {
	r := &segmentReader{at: payload.Position{Stream: stream}}
	for a.wait(stop) && p.wait(stop) {
		r.left = segmentSize
		_, err := s.Write(r, tcpip.WriteOptions{})
		switch err.(type) {
		case nil:
			// Flows that never pause would leave a reader in the same process
			// the processor for a moment every 10 ms: ten times the drops.
			runtime.Gosched()
			continue
		case *tcpip.ErrWouldBlock:
		case *tcpip.ErrBadBuffer: // errNoRoom
		default:
			return fmt.Errorf("stream %d: write: %v", stream, err)
		}
		// gVisor signals when half of the buffer is free, so the signal is still to
		// come if there is no room for a segment now.
		select {
		case <-s.ready:
		case <-stop:
			return nil
		}
	}
	return nil
}

// segmentReader is the payload of one write. It fills gVisor's buffer in place, without a copy.
type segmentReader struct {
	at   payload.Position
	left int
}

// errNoRoom makes gVisor abort a write. It would otherwise write what fits, and send that as a
// small segment.
var errNoRoom = errors.New("no room for a whole segment")

func (r *segmentReader) Len() int { return r.left }

func (r *segmentReader) Read(p []byte) (int, error) {
	switch {
	case len(p) == 0: // a test for more data
		return 0, nil
	case len(p) < r.left:
		return 0, errNoRoom
	}
	n := r.left
	payload.Fill(p[:n], r.at)
	r.at.Offset += uint64(n)
	r.left = 0
	return n, nil
}

// receive discards what it reads, until stop is closed.
func (s *socket) receive(stream uint16, received *atomic.Uint64, stop <-chan struct{}) error {
	for {
		result, err := s.Read(io.Discard, tcpip.ReadOptions{})
		received.Add(uint64(result.Count))
		switch err.(type) {
		case nil:
			select {
			case <-stop:
				return nil
			default:
			}
			continue
		case *tcpip.ErrWouldBlock:
		default:
			return fmt.Errorf("stream %d: read: %v", stream, err)
		}
		select {
		case <-s.ready:
		case <-stop:
			return nil
		}
	}
}
