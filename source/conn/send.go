package conn

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/internal/gso"
)

// maxQueued is how many frames of packet sockets wait to be written.
const maxQueued = 64

// retryInterval is when a frame that could not be written is tried again, for example because
// a write deadline of the connection's user has passed.
const retryInterval = 10 * time.Millisecond

// sending is a wrapped connection to which frames of packet sockets are written, between those
// of its user. A goroutine writes them, since a Write can wait for the peer.
type sending struct {
	*wrapped
	queue   chan []byte   // frames with their lengths
	turn    chan struct{} // Write was called while a frame was waiting
	closed  chan struct{}
	closing sync.Once
	failed  atomic.Pointer[error] // that ended run, or lost the last datagram; nil: none

	// mu guards what is written: a Write of the user, or a frame.
	mu   sync.Mutex
	next []byte // the frame that is written once the user is between two of its own; nil: none
	rest []byte // of the frame that is being written
}

func newSending(w *wrapped) *sending {
	s := &sending{
		wrapped: w,
		queue:   make(chan []byte, maxQueued),
		turn:    make(chan struct{}, 1),
		closed:  make(chan struct{}),
	}
	w.owned.SetTransmitReady(s.ready)
	w.owned.SetTransmit(s.transmit)
	go s.run()
	return s
}

// Write writes what is left of a packet socket's frame, and then b. An error of the former
// means that nothing of b was written. A frame that waits for the end of the user's follows at
// once: the user may begin another before run's goroutine is scheduled.
func (s *sending) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	waiting := s.next != nil || len(s.rest) > 0
	if err := s.flushLocked(); err != nil {
		return 0, err
	}
	n, err := s.wrapped.Write(b)
	if waiting {
		s.advanceLocked() // run's goroutine, which is waiting, tries again after an error
		select {
		case s.turn <- struct{}{}:
		default:
		}
	}
	return n, err
}

func (s *sending) Close() error {
	s.closing.Do(func() {
		close(s.closed)
		s.owned.SetTransmit(nil)
		s.owned.SetTransmitReady(nil)
	})
	return s.wrapped.Close()
}

// ready implements [rxring.Device.SetTransmitReady].
func (s *sending) ready(p *rxring.Packet) error {
	if err := s.failed.Load(); err != nil {
		if s.datagrams() { // reported once, as an error of a UDP socket
			s.failed.CompareAndSwap(err, nil)
			return explain.Errorf(syscall.ENOBUFS, "an earlier frame is lost, as it could not be written to the connection (%v): send this one again", *err)
		}
		return explain.Errorf(syscall.ENETDOWN, "the connection has failed: %v", *err)
	}
	if longest := s.written.framing.longest(); len(p.Data) > longest {
		return explain.Errorf(syscall.EMSGSIZE, "frame of %d bytes: the connection's framing has %d at most", len(p.Data), longest)
	}
	if len(s.queue) == cap(s.queue) {
		return explain.Errorf(syscall.EAGAIN, "%d frames are waiting to be written to the connection", maxQueued)
	}
	return nil
}

// transmit implements [rxring.TransmitFunc].
func (s *sending) transmit(p *rxring.Packet) error {
	frame := bytes.Clone(p.Data)
	if p.Checksum == rxring.ChecksumPartial {
		gso.CompleteChecksum(frame, int(p.ChecksumStart), int(p.ChecksumOffset))
	}
	select {
	case s.queue <- append(s.written.framing.appendLength(nil, len(frame)), frame...):
		return nil
	default: // others have sent since ready was called
		return explain.Errorf(syscall.ENOBUFS, "%d frames are waiting to be written to the connection", maxQueued)
	}
}

// run writes frames until Close, or an error of the connection.
func (s *sending) run() {
	for {
		select {
		case frame := <-s.queue:
			if err := s.send(frame); err != nil {
				s.failed.Store(&err) // pairs with the load in ready
				return
			}
		case <-s.closed:
			return
		}
	}
}

// send returns when the frame is written, by itself or by Write.
func (s *sending) send(frame []byte) error {
	s.mu.Lock()
	s.next = frame
	s.mu.Unlock()
	for {
		s.mu.Lock()
		err := s.advanceLocked()
		done := s.next == nil && len(s.rest) == 0
		s.mu.Unlock()
		switch {
		case done:
			return nil
		case err != nil && !temporary(err):
			return err
		}
		select {
		case <-s.turn:
		case <-time.After(retryInterval):
		case <-s.closed:
			return net.ErrClosed
		}
	}
}

// advanceLocked begins the next frame if the user is between two frames, and writes what it
// can of it.
func (s *sending) advanceLocked() error {
	if s.next != nil && s.written.betweenFrames() {
		s.rest, s.next = s.next, nil
	}
	return s.flushLocked()
}

// datagrams reports whether a frame that cannot be written affects no other.
func (s *sending) datagrams() bool { return s.written.framing.lengthLen == 0 }

// flushLocked writes what is left of a frame.
func (s *sending) flushLocked() error {
	if len(s.rest) == 0 {
		return nil
	}
	n, err := s.Conn.Write(s.rest)
	if err != nil && s.datagrams() && !temporary(err) { // such as EMSGSIZE: others can still be sent
		s.rest = nil
		s.failed.Store(&err) // pairs with the load in ready
		return nil
	}
	s.rest = s.rest[n:]
	if err == nil && len(s.rest) > 0 {
		return io.ErrShortWrite
	}
	return err
}

// temporary reports whether a Write that failed can be continued: a deadline has passed, or
// the buffer of a datagram socket is full.
func temporary(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.EAGAIN)
}
