package conn

import (
	"bytes"
	"math"
	"sync"
	"sync/atomic"

	"github.com/rxring/rxring"
)

// maxKept is how many bytes are kept of a frame that arrives in several pieces: the longest
// IP packet and its Ethernet header. A longer one is delivered truncated, with its length.
const maxKept = 1<<16 + 18

// stream finds the frames in one direction of a connection.
type stream struct {
	tap      *rxring.Device
	framing  Framing
	outgoing bool

	mu     sync.Mutex
	skip   int // bytes to come that are of no frame: a greeting, or fed before
	header [4]byte
	have   int    // bytes in header
	length int64  // of the current frame
	left   int64  // bytes of it to come; 0: the next frame's length follows
	kept   []byte // of the current frame, if it began in an earlier call
	missed bool   // the current frame began when no socket was attached

	failed atomic.Bool // of datagrams: the one in kept was not written
}

func newStream(tap *rxring.Device, f Framing, outgoing bool) *stream {
	s := &stream{tap: tap, framing: f, outgoing: outgoing, skip: f.readGreeting}
	if outgoing {
		s.skip = f.writtenGreeting
	}
	return s
}

// feed delivers the frames that end in b, the next bytes of the direction.
func (s *stream) feed(b []byte) {
	if s.framing.lengthLen == 0 {
		if len(b) > 0 && !s.again(b) {
			s.tap.Deliver(&rxring.Packet{Data: b, Outgoing: s.outgoing})
		}
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	skipped := min(s.skip, len(b))
	s.skip -= skipped
	tail := b[skipped:]

	batch := s.tap.Batch() // nil: nothing is delivered, but where frames begin must be known
	for len(tail) > 0 {
		if s.left == 0 {
			tail = s.beginLocked(tail)
			continue
		}
		if s.left == s.length {
			s.missed = batch == nil
		}
		n := min(int64(len(tail)), s.left)
		if n < s.left {
			s.left -= n
			break
		}
		s.endLocked(batch, tail[:n])
		s.left, tail = 0, tail[n:]
	}
	if batch != nil {
		batch.Deliver()
	}
	s.keepLocked(tail) // not before: the batch may refer to what was kept
}

// beginLocked reads the length of the next frame, or what there is of it, and returns the
// bytes behind.
func (s *stream) beginLocked(b []byte) []byte {
	n := copy(s.header[s.have:s.framing.lengthLen], b)
	if s.have += n; s.have == s.framing.lengthLen {
		s.length = s.framing.length(s.header[:])
		s.have, s.left = 0, s.length
	}
	return b[n:]
}

// endLocked adds the current frame, whose last bytes are in b.
func (s *stream) endLocked(batch *rxring.Batch, b []byte) {
	if batch == nil || s.missed {
		s.kept = s.kept[:0]
		return
	}
	if s.left < s.length {
		s.keepLocked(b)
		b = s.kept
		s.kept = s.kept[:0]
	}
	p := batch.Next()
	p.Data, p.Len, p.Outgoing = b, int(min(s.length, math.MaxInt32)), s.outgoing
}

// keepLocked keeps bytes of the current frame.
func (s *stream) keepLocked(b []byte) {
	if !s.missed {
		s.kept = append(s.kept, b[:min(len(b), maxKept-len(s.kept))]...)
	}
}

// wrote records that a Write of b, which was fed, wrote n bytes. A caller that keeps the
// connection writes the rest again, which must not be delivered a second time.
func (s *stream) wrote(b []byte, n int) {
	if n >= len(b) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.framing.lengthLen > 0 {
		s.skip += len(b) - n
		return
	}
	s.kept = append(s.kept[:0], b...)
	s.failed.Store(true) // pairs with the load in again
}

// betweenFrames reports whether the bytes that were written end with a frame.
func (s *stream) betweenFrames() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.skip == 0 && s.have == 0 && s.left == 0
}

// again reports whether b is the datagram that could not be written before.
func (s *stream) again(b []byte) bool {
	if !s.failed.Load() {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed.Store(false)
	return bytes.Equal(s.kept, b)
}
