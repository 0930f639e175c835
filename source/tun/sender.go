package tun

import (
	"bytes"
	"os"
	"sync"
	"syscall"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/internal/gso"
)

// maxQueued is how many packets of packet sockets wait for Read.
const maxQueued = 64

// sender puts packets that packet sockets send among those that Read returns. A goroutine
// reads the inner device, since a Read of it cannot be interrupted when a packet is sent.
type sender struct {
	headerLen int           // of link-layer header in what sockets send
	queue     chan []byte   // packets of packet sockets
	closed    chan struct{} // the Device's

	mu      sync.Mutex // of Read
	started bool
	reads   chan readBatch // from the goroutine
	done    chan struct{}  // to the goroutine: the batch was copied
	batch   readBatch      // what is left of the last one
}

// readBatch is what one Read of the inner device returned.
type readBatch struct {
	bufs   [][]byte
	sizes  []int
	offset int
	err    error
}

func newSender(headerLen int, closed chan struct{}) *sender {
	return &sender{
		headerLen: headerLen,
		queue:     make(chan []byte, maxQueued),
		closed:    closed,
		reads:     make(chan readBatch),
		done:      make(chan struct{}),
	}
}

// ready implements [rxring.Device.SetTransmitReady].
func (s *sender) ready(p *rxring.Packet) error {
	switch {
	case len(p.Data) <= s.headerLen || p.Data[s.headerLen]>>4 != 4 && p.Data[s.headerLen]>>4 != 6:
		return explain.Errorf(syscall.EINVAL, "frame of %d bytes: want an IPv4 or IPv6 packet behind %d bytes of link-layer header", len(p.Data), s.headerLen)
	case len(s.queue) == cap(s.queue):
		return explain.Errorf(syscall.EAGAIN, "%d packets are waiting to be read by the tunnel", maxQueued)
	}
	return nil
}

// transmit implements [rxring.TransmitFunc].
func (s *sender) transmit(p *rxring.Packet) error {
	packet := bytes.Clone(p.Data[s.headerLen:])
	if p.Checksum == rxring.ChecksumPartial {
		gso.CompleteChecksum(packet, int(p.ChecksumStart)-s.headerLen, int(p.ChecksumOffset))
	}
	select {
	case s.queue <- packet:
		return nil
	default: // others have sent since ready was called
		return explain.Errorf(syscall.ENOBUFS, "%d packets are waiting to be read by the tunnel", maxQueued)
	}
}

// reader is the part of a Device that the goroutine and read call.
type reader interface {
	readInner(bufs [][]byte, sizes []int, offset int) (int, error)
	deliverRead(bufs [][]byte, sizes []int, offset int)
}

func (d *Device[E]) readInner(bufs [][]byte, sizes []int, offset int) (int, error) {
	return d.inner.Read(bufs, sizes, offset)
}

// read implements Device.Read: packets of the inner device, or of packet sockets, which have
// been delivered already.
func (s *sender) read(d reader, bufs [][]byte, sizes []int, offset int) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.started {
		s.started = true
		go s.pump(d, len(bufs), len(bufs[0]), offset)
	}
	if len(s.batch.bufs) == 0 && s.batch.err == nil {
		select {
		case s.batch = <-s.reads:
		case packet := <-s.queue:
			return s.copyQueued(packet, bufs, sizes, offset), nil
		case <-s.closed:
			return 0, os.ErrClosed
		}
	}
	n, err := s.copyRead(bufs, sizes, offset)
	d.deliverRead(bufs[:n], sizes, offset)
	return n, err
}

// copyQueued copies packet and those that wait after it.
func (s *sender) copyQueued(packet []byte, bufs [][]byte, sizes []int, offset int) (n int) {
	for {
		sizes[n] = copy(bufs[n][offset:], packet) // truncated as a read of a TUN device is
		if n++; n == len(bufs) {
			return n
		}
		select {
		case packet = <-s.queue:
		default:
			return n
		}
	}
}

// copyRead copies packets of the batch, and lets the goroutine read on once all are copied.
func (s *sender) copyRead(bufs [][]byte, sizes []int, offset int) (n int, err error) {
	b := &s.batch
	for n < len(bufs) && n < len(b.bufs) {
		sizes[n] = copy(bufs[n][offset:], b.bufs[n][b.offset:b.offset+b.sizes[n]])
		n++
	}
	b.bufs, b.sizes = b.bufs[n:], b.sizes[n:]
	if len(b.bufs) > 0 {
		return n, nil
	}
	err, b.err = b.err, nil
	select {
	case s.done <- struct{}{}:
	case <-s.closed:
	}
	return n, err
}

// pump reads the inner device, a batch at a time, until Close.
func (s *sender) pump(d reader, batch, size, offset int) {
	bufs, sizes := make([][]byte, batch), make([]int, batch)
	for i := range bufs {
		bufs[i] = make([]byte, size)
	}
	for {
		n, err := d.readInner(bufs, sizes, offset)
		select {
		case s.reads <- readBatch{bufs[:n], sizes[:n], offset, err}:
		case <-s.closed:
			return
		}
		select {
		case <-s.done:
		case <-s.closed:
			return
		}
	}
}
