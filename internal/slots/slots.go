package slots

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/rxring/rxring/tpacket"
)

// Slots is the memory of a ring of slots (TPACKET_V1 or V2). Its methods may be
// called concurrently. The caller keeps the memory reachable.
type Slots struct {
	base unsafe.Pointer // of the shared memory
	Geo  tpacket.Geometry
	gap  uintptr // bytes of each block after its last frame
	wide bool    // V1: tp_status is an unsigned long
}

// New returns the slots of a ring of g's shape in mem, of g.Size() bytes.
func New(mem []byte, g tpacket.Geometry) (Slots, error) {
	if g.Version > tpacket.V2 {
		return Slots{}, fmt.Errorf("ring: version %v has blocks, not slots: want V1 or V2", g.Version)
	}
	if err := checkSize(len(mem), g, g.FrameNr); err != nil {
		return Slots{}, err
	}
	if int(g.FrameSize) < g.Version.HdrLen() {
		return Slots{}, fmt.Errorf("ring: frames of %d bytes: want room for headers of %d", g.FrameSize, g.Version.HdrLen())
	}
	return Slots{
		base: unsafe.Pointer(unsafe.SliceData(mem)),
		Geo:  g,
		gap:  uintptr(g.BlockSize % g.FrameSize),
		wide: g.Version == tpacket.V1,
	}, nil
}

// checkSize checks that size bytes can hold a ring of g's shape, of n slots or blocks.
func checkSize(size int, g tpacket.Geometry, n uint32) error {
	if g.BlockNr == 0 || n == 0 || size < g.Size() {
		return fmt.Errorf("ring: %d blocks, %d frames, %d bytes in memory of %d bytes: want at least one of each, and memory for all",
			g.BlockNr, g.FrameNr, g.Size(), size)
	}
	return nil
}

// In returns slots of the same shape in mem, of at least as many bytes.
func (s *Slots) In(mem []byte) Slots {
	moved := *s
	moved.base = unsafe.Pointer(unsafe.SliceData(mem))
	return moved
}

// Base is the address of the memory.
func (s *Slots) Base() unsafe.Pointer { return s.base }

// Wide reports whether the headers are V1's.
func (s *Slots) Wide() bool { return s.wide }

// Geometry is the ring's shape.
func (s *Slots) Geometry() tpacket.Geometry { return s.Geo }

// Frame is slot's bytes.
func (s *Slots) Frame(slot uint32) []byte {
	return unsafe.Slice((*byte)(s.frame(slot)), s.Geo.FrameSize)
}

func (s *Slots) frame(slot uint32) unsafe.Pointer {
	at := uintptr(slot) * uintptr(s.Geo.FrameSize) // Geometry.FrameOffset, mostly without a division
	if s.gap > 0 {
		at += uintptr(slot/s.Geo.FramesPerBlock) * s.gap
	}
	return unsafe.Add(s.base, at)
}

// Status loads slot's status word once. The load is an acquire: it pairs with
// SetStatus, PublishStatus or HandBack on the other side. A writer believes of the
// result only whether it is KERNEL.
func (s *Slots) Status(slot uint32) uint32 {
	if Exploring {
		StepLoad(s, StatusWord, slot)
	}
	p := s.frame(slot)
	if s.wide {
		return uint32(atomic.LoadUint64((*uint64)(p)))
	}
	return atomic.LoadUint32((*uint32)(p))
}

// SetStatus stores slot's status word: after everything stored to the slot
// before, and before everything that the caller loads afterwards (see package
// notify). It pairs with Status on the other side.
func (s *Slots) SetStatus(slot, status uint32) {
	if Exploring {
		StepStore(StatusWord, slot, status)
	}
	p := s.frame(slot)
	if s.wide {
		atomic.StoreUint64((*uint64)(p), LongStatus(status))
		return
	}
	atomic.StoreUint32((*uint32)(p), status)
}

// PublishStatus is SetStatus without the full barrier after the store: a
// store-release.
func (s *Slots) PublishStatus(slot, status uint32) {
	if Exploring {
		stepPublish(slot, status)
	}
	p := s.frame(slot)
	if s.wide {
		storeRelease64((*uint64)(p), LongStatus(status))
		return
	}
	storeRelease32((*uint32)(p), status)
}

// HandBack gives slot back to the writers, after everything that the reader
// loaded from it. They do not wait for it, so no barrier has to follow.
func (s *Slots) HandBack(slot uint32) {
	if Exploring {
		StepStore(StatusWord, slot, tpacket.StatusKernel)
	}
	p := s.frame(slot)
	if s.wide {
		storeRelease64((*uint64)(p), tpacket.StatusKernel)
		return
	}
	storeRelease32((*uint32)(p), tpacket.StatusKernel)
}

// Free reports whether the slot that is ahead slots after head is the writers'
// by its status (__tpacket_has_room). A slower writer may still own it.
func (s *Slots) Free(head, ahead uint32) bool {
	at := uint64(head) + uint64(ahead)
	return s.Status(uint32(at%uint64(s.Geo.FrameNr))) == tpacket.StatusKernel
}

// LongStatus is status as V1's unsigned long holds it. Linux passes it through
// an int: bit 31 fills the upper half.
func LongStatus(status uint32) uint64 { return uint64(int64(int32(status))) }
