package ownership

import (
	"github.com/rxring/rxring/internal/slots"
	"github.com/rxring/rxring/ring"
)

// ownerMap is the design of Linux commit 61fad6816fc1: a bit for each slot, in
// private memory, under the lock that also guards head.
//
// Acquire tests the head slot's status and its bit, sets the bit and moves head
// on, all under the lock. A writer that wrapped the ring finds the status still
// KERNEL, because a slower writer has not released the slot, but finds the bit
// set, and drops. Release stores the status and clears the bit under the lock
// again: no writer can see one without the other, so no free slot looks owned
// and no owned slot looks free.
type ownerMap struct {
	head
	owned bitmap
}

func newOwnerMap(n uint32) owner {
	return &ownerMap{head: head{slots: n}, owned: newBitmap(n)}
}

func (d *ownerMap) acquire(s *slots.Slots) (slot uint32, v ring.Verdict) {
	d.Lock()
	slot, v = d.slot, d.checkLocked(s)
	if v == ring.Acquired {
		if d.owned.test(slot) {
			v = ring.Owned
		} else {
			d.owned.set(slot)
			d.advanceLocked()
		}
	}
	d.Unlock()
	return slot, v
}

func (d *ownerMap) release(s *slots.Slots, slot, status uint32) {
	d.Lock()
	s.SetStatus(slot, status)
	d.owned.clear(slot)
	d.Unlock()
}

func (d *ownerMap) filled(*slots.Slots) func(slot uint32) bool { return d.locked(d.owned.test) }
