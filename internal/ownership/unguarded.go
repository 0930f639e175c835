package ownership

import (
	"github.com/rxring/rxring/internal/slots"
	"github.com/rxring/rxring/ring"
)

// unguarded is Linux before the fix: there is only the slot's status.
//
// The status stays KERNEL from Acquire to Release, so a writer that wraps the ring
// meanwhile acquires the slot a second time: two writers in one slot, and the reader
// sees a packet that is neither's.
type unguarded struct {
	head
}

func newUnguarded(n uint32) owner { return &unguarded{head{slots: n}} }

func (d *unguarded) acquire(s *slots.Slots) (slot uint32, v ring.Verdict) {
	d.Lock()
	slot, v = d.slot, d.checkLocked(s)
	if v == ring.Acquired {
		d.advanceLocked()
	}
	d.Unlock()
	return slot, v
}

func (d *unguarded) release(s *slots.Slots, slot, status uint32) {
	s.SetStatus(slot, status)
}

// filled returns false for every slot: nothing says more than the status.
func (d *unguarded) filled(*slots.Slots) func(slot uint32) bool {
	return func(uint32) bool { return false }
}
