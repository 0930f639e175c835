package ring

import "github.com/rxring/rxring/tpacket"

// head is what the designs with a lock have in common: the slot that comes
// next, as struct packet_ring_buffer has it. The lock guards all of it.
type head struct {
	lock
	slot   uint32
	slots  uint32
	n      uint64 // slots acquired so far
	closed bool
}

// look judges the head slot by its status alone.
func (h *head) look(r *Ring) Verdict {
	switch {
	case h.closed:
		return NoRoom
	case r.status(h.slot) != tpacket.StatusKernel:
		return Full
	}
	return Acquired
}

// advance takes the head slot.
func (h *head) advance() {
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

func (h *head) close() {
	h.Lock()
	h.closed = true
	h.Unlock()
}

// bitmap is a bit a slot, for use under a lock.
type bitmap []uint64

func newBitmap(slots uint32) bitmap { return make(bitmap, (uint64(slots)+63)/64) }

func (b bitmap) test(slot uint32) bool { return b[slot/64]&(1<<(slot%64)) != 0 }
func (b bitmap) set(slot uint32)       { b[slot/64] |= 1 << (slot % 64) }
func (b bitmap) clear(slot uint32)     { b[slot/64] &^= 1 << (slot % 64) }

// atomicBitmap is a bit a slot, for use without one.
type atomicBitmap []word

func newAtomicBitmap(slots uint32) atomicBitmap { return make(atomicBitmap, (uint64(slots)+63)/64) }

func (b atomicBitmap) test(slot uint32) bool { return b[slot/64].Load()&(1<<(slot%64)) != 0 }
func (b atomicBitmap) set(slot uint32)       { b[slot/64].Or(1 << (slot % 64)) }
func (b atomicBitmap) clear(slot uint32)     { b[slot/64].And(^uint64(1 << (slot % 64))) }
