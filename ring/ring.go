package ring

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/rxring/rxring/tpacket"
)

// Ring is a receive ring of slots: TPACKET_V1 or V2. It mirrors struct
// packet_ring_buffer (net/packet/internal.h).
//
// All methods may be called concurrently, but a slot that Acquire gave is its
// caller's until Release.
type Ring struct {
	base   unsafe.Pointer // of the shared memory
	geo    tpacket.Geometry
	dense  bool // frames fill the blocks: offsets need no division
	wide   bool // V1: tp_status is an unsigned long
	ticket ticket
	other  owner // not nil: a design other than ticket
	memory *Memory
	closed atomic.Bool
}

// New makes a ring of g's shape in m, which must hold g.Size() zeroed bytes, with
// the default design. It takes m over.
func New(m *Memory, g tpacket.Geometry) (*Ring, error) { return NewDesign(m, g, DefaultDesign) }

// NewDesign is New with an ownership design of the caller's choice.
func NewDesign(m *Memory, g tpacket.Geometry, d Design) (*Ring, error) {
	if g.Version > tpacket.V2 {
		return nil, fmt.Errorf("ring: version %v has blocks, not slots: want V1 or V2", g.Version)
	}
	if err := checkShape(m, g); err != nil {
		return nil, err
	}
	r := newRing(m, g)
	if d != Ticket {
		if r.other = newOwner(d, g.FrameNr); r.other == nil {
			return nil, fmt.Errorf("ring: ownership design %v: want one of %v", d, Designs())
		}
	}
	r.ticket.init(g.FrameNr)
	return r, nil
}

// newRing is a ring without an owner of its slots.
func newRing(m *Memory, g tpacket.Geometry) *Ring {
	return &Ring{
		base:   m.base(),
		geo:    g,
		dense:  g.BlockSize%g.FrameSize == 0,
		wide:   g.Version == tpacket.V1,
		memory: m,
	}
}

// checkShape says whether m can hold a ring of g's shape.
func checkShape(m *Memory, g tpacket.Geometry) error {
	slots := g.Version != tpacket.V3
	if g.BlockNr == 0 || slots && g.FrameNr == 0 || m.Size() < g.Size() {
		return fmt.Errorf("ring: %d blocks, %d frames, %d bytes in memory of %d bytes: want at least one of each, and memory for all",
			g.BlockNr, g.FrameNr, g.Size(), m.Size())
	}
	if slots && int(g.FrameSize) < g.Version.HdrLen() {
		return fmt.Errorf("ring: frames of %d bytes: want room for headers of %d", g.FrameSize, g.Version.HdrLen())
	}
	return nil
}

// Acquire takes the head slot. On [Acquired] the caller owns it, has it to fill
// with no lock held, and must call Release; on any other verdict there is no
// slot and nothing to release.
func (r *Ring) Acquire() (slot uint32, v Verdict) {
	if r.other != nil {
		return r.other.acquire(r)
	}
	return r.acquireTicket()
}

// AcquireBatch takes up to len(slots) head slots in a row and says how many: one
// at least on [Acquired], none on any other verdict. The default design takes
// them all with one compare-and-swap. The caller owns each slot until it calls
// Release for it, in whatever order.
func (r *Ring) AcquireBatch(slots []uint32) (n int, v Verdict) {
	if r.other == nil {
		return r.acquireTickets(slots)
	}
	for ; n < len(slots); n++ {
		if slots[n], v = r.other.acquire(r); v != Acquired {
			break
		}
	}
	if n > 0 {
		v = Acquired
	}
	return n, v
}

// Release hands an acquired slot to the reader. Everything stored to the slot
// before is visible to whoever sees status, which must not be KERNEL.
func (r *Ring) Release(slot, status uint32) {
	if r.other != nil {
		r.other.release(r, slot, status)
		return
	}
	r.releaseTicket(slot, status)
}

// ReleaseEarly is Release for a caller that calls Release for another slot soon
// after, before it wakes anybody: it leaves the barrier to that.
func (r *Ring) ReleaseEarly(slot, status uint32) {
	if r.other != nil {
		r.other.release(r, slot, status)
		return
	}
	seq := r.ticket.sequence(slot)
	publishWord(seq, r.publishTicket(seq, slot, status))
}

// position is where the writers stand, off the hot path.
func (r *Ring) position() position {
	if r.other != nil {
		return r.other
	}
	return &r.ticket
}

// Memory is the ring's shared memory.
func (r *Ring) Memory() *Memory { return r.memory }

// Geometry is the ring's shape.
func (r *Ring) Geometry() tpacket.Geometry { return r.geo }

// Captured is how many slots writers have acquired. It is final after Close.
func (r *Ring) Captured() uint64 { return r.position().taken() }

// Close ends the ring: no slot can be acquired any more, and the memory goes
// back to the system. Writers in mid-copy finish undisturbed. A second Close
// does nothing.
func (r *Ring) Close() error {
	r.position().close()
	r.closed.Store(true)
	return r.memory.Close()
}

// Readable is packet_poll's rule for EPOLLIN: the slot before head is not
// KERNEL. It also says so, once, of a ring that the reader has let run full.
func (r *Ring) Readable() bool {
	return r.status(r.position().previous()) != tpacket.StatusKernel
}

// Free says whether the slot that is ahead slots after the head one is the
// writers', by its status (__tpacket_has_room): slower writers may still own it.
func (r *Ring) Free(ahead uint32) bool {
	at := uint64(r.position().previous()) + 1 + uint64(ahead)
	return r.status(uint32(at%uint64(r.geo.FrameNr))) == tpacket.StatusKernel
}

// HandedBack reports whether the reader has handed back a slot.
func (r *Ring) HandedBack() bool {
	p := r.position()
	switch taken := p.taken(); {
	case taken == 0:
		return false
	case taken > uint64(r.geo.FrameNr):
		return true // the first slot was acquired again
	}
	return !p.watch(r)(0) && r.status(0) == tpacket.StatusKernel // ownership first: see States
}

// Frame is slot's bytes. The slice stays addressable while r is reachable.
func (r *Ring) Frame(slot uint32) []byte {
	return unsafe.Slice((*byte)(r.frame(slot)), r.geo.FrameSize)
}

func (r *Ring) frame(slot uint32) unsafe.Pointer {
	if r.dense {
		return unsafe.Add(r.base, uintptr(slot)*uintptr(r.geo.FrameSize))
	}
	return unsafe.Add(r.base, r.geo.FrameOffset(slot))
}

// status is one load of slot's status word; what it returns is believed only as
// far as KERNEL or not. It is a load-acquire, which pairs with setStatus on the
// other side.
func (r *Ring) status(slot uint32) uint32 {
	if exploring {
		stepLoad(r, stepStatus, slot)
	}
	p := r.frame(slot)
	if r.wide {
		return uint32(atomic.LoadUint64((*uint64)(p)))
	}
	return atomic.LoadUint32((*uint32)(p))
}

// setStatus is one store of slot's status word, after everything stored to the
// slot before it and before everything loaded after it: see Notify. It pairs
// with status on the other side.
func (r *Ring) setStatus(slot, status uint32) {
	if exploring {
		stepStore(r, stepStatus, slot, status)
	}
	p := r.frame(slot)
	if r.wide {
		atomic.StoreUint64((*uint64)(p), longStatus(status))
		return
	}
	atomic.StoreUint32((*uint32)(p), status)
}

// publishStatus is setStatus for a caller that goes on to a store which is a
// full barrier, or needs none: a store-release will do.
func (r *Ring) publishStatus(slot, status uint32) {
	if exploring {
		stepStore(r, stepStatus, slot, status)
	}
	p := r.frame(slot)
	if r.wide {
		storeRelease64((*uint64)(p), longStatus(status))
		return
	}
	storeRelease32((*uint32)(p), status)
}

// handBack gives a slot back to the writers, after everything that the reader
// loaded from it. They do not wait for it, so no barrier has to follow.
func (r *Ring) handBack(slot uint32) { r.publishStatus(slot, tpacket.StatusKernel) }

// longStatus is a status as V1's unsigned long holds it. Linux passes it through
// an int: bit 31 fills the upper half.
func longStatus(status uint32) uint64 { return uint64(int64(int32(status))) }

// mark is the owner's mark in the slot's padding, for the slot-mark design.
func (r *Ring) mark(slot uint32) uint32 {
	if exploring {
		stepLoad(r, stepMark, slot)
	}
	return atomic.LoadUint32(r.padding(slot))
}

func (r *Ring) setMark(slot, v uint32) {
	if exploring {
		stepStore(r, stepMark, slot, v)
	}
	atomic.StoreUint32(r.padding(slot), v)
}

// padding is bytes that no reader needs: tp_padding in V2, the hole at the end
// of struct tpacket_hdr in V1. Both are the last four of 32.
func (r *Ring) padding(slot uint32) *uint32 { return (*uint32)(unsafe.Add(r.frame(slot), 28)) }
