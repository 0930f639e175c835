package ring

import (
	"sync"

	"github.com/rxring/rxring/tpacket"
)

// ownerMap is the ownership design of Linux commit 61fad6816fc1: a bit for each
// slot, in private memory, under the lock that also guards head.
//
// Acquire tests the head slot's status and its bit, sets the bit and moves head
// on, all under the lock. A writer that wrapped the ring finds the status still
// KERNEL, because a slower writer has not released the slot, but finds the bit
// set, and drops. Release stores the status and clears the bit under the lock
// again: nobody can see one without the other, so no free slot looks owned and
// no owned slot looks free.
type ownerMap struct {
	mu     sync.Mutex
	head   uint32
	slots  uint32
	n      uint64   // slots acquired so far
	owned  []uint64 // bit slot%64 of word slot/64
	closed bool
}

func (o *ownerMap) init(slots uint32) {
	o.slots = slots
	o.owned = make([]uint64, (uint64(slots)+63)/64)
}

// Acquire takes the head slot. On [Acquired] the caller owns it, has it to fill
// with no lock held, and must call Release; on any other verdict there is no
// slot and nothing to release.
func (r *Ring) Acquire() (slot uint32, v Verdict) {
	o := &r.owner
	o.mu.Lock()
	slot = o.head
	word, bit := &o.owned[slot/64], uint64(1)<<(slot%64)
	switch {
	case o.closed:
		v = NoRoom
	case r.status(slot) != tpacket.StatusKernel:
		v = Full
	case *word&bit != 0:
		v = Owned
	default:
		*word |= bit
		o.head++
		if o.head == o.slots {
			o.head = 0
		}
		o.n++
	}
	o.mu.Unlock()
	return slot, v
}

// Release hands an acquired slot to the reader. Everything stored to the slot
// before is visible to whoever sees status, which must not be KERNEL.
func (r *Ring) Release(slot, status uint32) {
	o := &r.owner
	o.mu.Lock()
	r.setStatus(slot, status)
	o.owned[slot/64] &^= 1 << (slot % 64)
	o.mu.Unlock()
}

func (o *ownerMap) previous(slots uint32) uint32 {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.head == 0 {
		return slots - 1
	}
	return o.head - 1
}

func (o *ownerMap) taken() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.n
}

func (o *ownerMap) close() {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
}
