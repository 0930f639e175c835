package ownership

import (
	"github.com/rxring/rxring/internal/slots"
	"github.com/rxring/rxring/ring"
)

// releaseBefore saves the lock on release: it clears the owner bit, then stores
// the status.
//
// Between the two the slot is unowned and still KERNEL. A writer that wraps the ring
// in that moment acquires it; then the first writer's status store publishes the
// second one's packet, while it is being written.
type releaseBefore struct {
	head
	window
	owned atomicBitmap
}

func newReleaseBefore(n uint32) owner {
	return &releaseBefore{head: head{slots: n}, owned: newAtomicBitmap(n)}
}

func (d *releaseBefore) acquire(s *slots.Slots) (slot uint32, v ring.Verdict) {
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

func (d *releaseBefore) release(s *slots.Slots, slot, status uint32) {
	d.owned.clear(slot)
	d.stall()
	s.SetStatus(slot, status)
}

func (d *releaseBefore) filled(*slots.Slots) func(slot uint32) bool { return d.owned.test }
