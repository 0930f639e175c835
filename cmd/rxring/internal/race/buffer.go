package race

import (
	"time"
	"unsafe"

	"github.com/rxring/rxring/internal/ownership"
	"github.com/rxring/rxring/internal/ringmem"
	"github.com/rxring/rxring/internal/writer"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// buffer is a ring of slots or of blocks.
type buffer interface {
	// acquire acquires a place for a packet of size bytes. On any verdict but Acquired
	// the place's slot is the one that the verdict is about, if that is known.
	acquire(size int) (place, ring.Verdict)
	release(place)
	// expire does what the retire timer does.
	expire()
}

// place is the memory for one packet.
type place struct {
	slot  uint32 // or block
	frame []byte // headers first, then, at dataAt, the packet
	room  writer.Reservation
}

type slots struct{ *ownership.Ring }

func newSlots(c Contender, m *ringmem.Memory, n, frame int) (slots, error) {
	g := tpacket.Geometry{
		Version:   tpacket.V2,
		BlockSize: uint32(n * frame), BlockNr: 1,
		FrameSize: uint32(frame), FrameNr: uint32(n), FramesPerBlock: uint32(n),
	}
	clear(m.Bytes())
	r, err := ownership.New(m, g, ownership.Design(c))
	return slots{r}, err
}

func (s slots) acquire(int) (place, ring.Verdict) {
	slot, v := s.Acquire()
	if v != ring.Acquired {
		return place{slot: slot}, v
	}
	return place{slot: slot, frame: s.Frame(slot)}, v
}

func (s slots) release(p place) { s.Release(p.slot, tpacket.StatusUser) }

func (s slots) expire() {}

type blocks struct{ *writer.Blocks }

func newBlocks(m *ringmem.Memory, n, size int) (blocks, error) {
	clear(m.Bytes())
	b, err := writer.NewBlocks(m, tpacket.Geometry{Version: tpacket.V3, BlockSize: uint32(size), BlockNr: uint32(n)}, writer.BlocksConfig{})
	return blocks{b}, err
}

func (b blocks) acquire(size int) (place, ring.Verdict) {
	room, v := b.Acquire(uint32(dataAt + size))
	if v != ring.Acquired {
		return place{}, v
	}
	frame := b.Bytes(room)
	at := uintptr(unsafe.Pointer(unsafe.SliceData(frame))) - uintptr(unsafe.Pointer(unsafe.SliceData(b.Memory().Bytes())))
	return place{uint32(at / uintptr(b.Geometry().BlockSize)), frame, room}, v
}

func (b blocks) release(p place) { b.Release(p.room) }

func (b blocks) expire() { b.Expire() }

// retireEvery is the period of the retire timer: short beside the time in which the
// writers wrap the ring.
const retireEvery = 200 * time.Microsecond
