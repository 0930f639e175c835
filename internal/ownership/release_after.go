package ownership

import (
	"github.com/rxring/rxring/internal/slots"
	"github.com/rxring/rxring/ring"
)

// releaseAfter saves the lock on release: it stores the status, then clears the
// owner bit.
//
// Between the two the reader may already have read the packet and handed the
// slot back. It is free then, but looks owned: a packet delivered now is dropped for
// nothing. No packet is torn, as long as the bits are atomic and Acquire, which can
// see a release half done, tests the bit first: a status loaded before the bit may
// be from before the release.
//
// With plain bit operations (plain) not even that holds: the owner bits of 64 slots
// share a word, and of two concurrent changes of different bits one is lost. A lost
// set leaves an owned slot that looks free; a lost clear leaves a slot owned for
// good.
type releaseAfter struct {
	head
	window
	owned atomicBitmap
	plain bool
}

func newReleaseAfter(n uint32) owner {
	return &releaseAfter{head: head{slots: n}, owned: newAtomicBitmap(n)}
}

func newReleaseAfterPlain(n uint32) owner {
	return &releaseAfter{head: head{slots: n}, owned: newAtomicBitmap(n), plain: true}
}

func (d *releaseAfter) acquire(s *slots.Slots) (slot uint32, v ring.Verdict) {
	d.Lock()
	slot = d.slot
	owned := d.owned.test(slot) // before the status: pairs with the stores of release
	v = d.checkLocked(s)
	if v == ring.Acquired {
		if owned {
			v = ring.Owned
		} else {
			if d.plain {
				w := &d.owned[slot/64]
				w.Store(w.Load() | 1<<(slot%64)) // two steps, as __set_bit
			} else {
				d.owned.set(slot)
			}
			d.advanceLocked()
		}
	}
	d.Unlock()
	return slot, v
}

func (d *releaseAfter) release(s *slots.Slots, slot, status uint32) {
	s.SetStatus(slot, status)
	if d.plain {
		w := &d.owned[slot/64]
		bits := w.Load() // two steps, as __clear_bit
		d.stall()
		w.Store(bits &^ (1 << (slot % 64)))
	} else {
		d.stall()
		d.owned.clear(slot)
	}
}

func (d *releaseAfter) filled(*slots.Slots) func(slot uint32) bool { return d.owned.test }
