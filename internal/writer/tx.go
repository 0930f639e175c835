package writer

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/rxring/rxring/internal/ringmem"
	"github.com/rxring/rxring/internal/slots"
	"github.com/rxring/rxring/tpacket"
)

// TxRing is a transmit ring (PACKET_TX_RING): frames that a program fills and the
// owner of the TxRing sends. It mirrors struct packet_ring_buffer
// (net/packet/internal.h) as tpacket_snd uses it.
//
// The program may change the memory at any time. So each field is loaded once, and a
// packet is copied out before it is inspected. The position is private.
//
// One goroutine at a time may call its methods, except for Memory, Geometry and
// Close.
type TxRing struct {
	base   unsafe.Pointer // of the shared memory
	geo    tpacket.Geometry
	head   uint32 // the frame to send next
	memory *ringmem.Memory
	closed atomic.Bool
}

// NewTx makes a transmit ring of g's shape in m, which must hold g.Size() bytes.
// The ring owns m from then on. All versions have frames of equal size here, V3 too.
func NewTx(m *ringmem.Memory, g tpacket.Geometry) (*TxRing, error) {
	if g.FrameNr == 0 || m.Size() < g.Size() || int(g.FrameSize) < g.Version.HdrLen() {
		return nil, fmt.Errorf("transmit ring: %d frames of %d bytes, %d bytes in memory of %d bytes: want at least one frame, room for its header, and memory for all",
			g.FrameNr, g.FrameSize, g.Size(), m.Size())
	}
	return &TxRing{base: unsafe.Pointer(unsafe.SliceData(m.Bytes())), geo: g, memory: m}, nil
}

// Requested reports whether the head frame is to be sent.
func (r *TxRing) Requested() bool {
	return r.status() == tpacket.StatusSendRequest && !r.closed.Load()
}

// Frame is the head frame's bytes, in shared memory. They stay addressable while
// r is reachable.
func (r *TxRing) Frame() []byte { return unsafe.Slice((*byte)(r.frame()), r.geo.FrameSize) }

// Offset is where the head frame starts, in bytes from the start of the ring.
func (r *TxRing) Offset() int { return r.geo.FrameOffset(r.head) }

// SetStatus stores the head frame's status, after the caller's loads from the frame:
// it pairs with the program's load.
func (r *TxRing) SetStatus(status uint32) {
	p := r.statusWord()
	if r.geo.Version == tpacket.V1 {
		atomic.StoreUint64((*uint64)(p), slots.LongStatus(status))
		return
	}
	atomic.StoreUint32((*uint32)(p), status)
}

// Advance moves head to the next frame.
func (r *TxRing) Advance() {
	r.head++
	if r.head == r.geo.FrameNr {
		r.head = 0
	}
}

// Memory is the ring's shared memory.
func (r *TxRing) Memory() *ringmem.Memory { return r.memory }

// Geometry is the ring's shape.
func (r *TxRing) Geometry() tpacket.Geometry { return r.geo }

// Close frees the memory. A sender finds no more requests.
func (r *TxRing) Close() error {
	r.closed.Store(true)
	return r.memory.Close()
}

// status loads the head frame's status word once, with acquire order: it pairs with
// the program's store, after everything that it stored to the frame.
func (r *TxRing) status() uint32 {
	p := r.statusWord()
	if r.geo.Version == tpacket.V1 {
		return uint32(atomic.LoadUint64((*uint64)(p))) // Linux passes it through an int
	}
	return atomic.LoadUint32((*uint32)(p))
}

func (r *TxRing) statusWord() unsafe.Pointer {
	if r.geo.Version == tpacket.V3 {
		return unsafe.Add(r.frame(), unsafe.Offsetof(tpacket.Header3{}.Status))
	}
	return r.frame()
}

func (r *TxRing) frame() unsafe.Pointer { return unsafe.Add(r.base, r.Offset()) }
