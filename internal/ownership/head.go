package ownership

import (
	"github.com/rxring/rxring/internal/slots"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// lock has a name that its methods do not, as an embedded field must.
type lock = slots.Lock

// head is what the designs with a lock have in common: the next slot, as struct
// packet_ring_buffer has it. The lock guards all of it.
type head struct {
	lock
	slot   uint32
	slots  uint32
	n      uint64 // slots acquired so far
	closed bool
}

// checkLocked returns the verdict on the head slot by its status alone.
func (h *head) checkLocked(s *slots.Slots) ring.Verdict {
	switch {
	case h.closed:
		return ring.NoRoom
	case s.Status(h.slot) != tpacket.StatusKernel:
		return ring.Full
	}
	return ring.Acquired
}

// advanceLocked acquires the head slot.
func (h *head) advanceLocked() {
	h.n++
	h.slot++
	if h.slot == h.slots {
		h.slot = 0
	}
}

func (h *head) previous() uint32 {
	h.Lock()
	defer h.Unlock()
	if h.slot == 0 {
		return h.slots - 1
	}
	return h.slot - 1
}

func (h *head) taken() uint64 {
	h.Lock()
	defer h.Unlock()
	return h.n
}

func (h *head) end() {
	h.Lock()
	h.closed = true
	h.Unlock()
}

// locked is owned, called under the lock that guards it.
func (h *head) locked(owned func(slot uint32) bool) func(slot uint32) bool {
	return func(slot uint32) bool {
		h.Lock()
		defer h.Unlock()
		return owned(slot)
	}
}

// bitmap is a bit a slot, for use under a lock.
type bitmap []uint64

func newBitmap(n uint32) bitmap { return make(bitmap, (uint64(n)+63)/64) }

func (b bitmap) test(slot uint32) bool { return b[slot/64]&(1<<(slot%64)) != 0 }
func (b bitmap) set(slot uint32)       { b[slot/64] |= 1 << (slot % 64) }
func (b bitmap) clear(slot uint32)     { b[slot/64] &^= 1 << (slot % 64) }

// atomicBitmap is a bit a slot, for use without one.
type atomicBitmap []slots.Word

func newAtomicBitmap(n uint32) atomicBitmap { return make(atomicBitmap, (uint64(n)+63)/64) }

func (b atomicBitmap) test(slot uint32) bool { return b[slot/64].Load()&(1<<(slot%64)) != 0 }
func (b atomicBitmap) set(slot uint32)       { b[slot/64].Or(1 << (slot % 64)) }
func (b atomicBitmap) clear(slot uint32)     { b[slot/64].And(^uint64(1 << (slot % 64))) }
