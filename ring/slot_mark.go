package ring

// slotMark keeps the owner's mark in the slot's own padding, in shared memory,
// under the lock.
//
// Between lawful parties it works as ownerMap does. But any test of the mark
// may match a value that somebody else left there: a reader that stores to the
// padding, once, on purpose or not, makes a slot look owned that nobody will
// ever release, and the ring stands still for good.
type slotMark struct {
	head
}

func newSlotMark(slots uint32) owner { return &slotMark{head{slots: slots}} }

func (d *slotMark) acquire(r *Ring) (slot uint32, v Verdict) {
	d.Lock()
	slot, v = d.slot, d.look(r)
	if v == Acquired {
		if r.mark(slot) != 0 {
			v = Owned
		} else {
			r.setMark(slot, 1)
			d.advance()
		}
	}
	d.Unlock()
	return slot, v
}

func (d *slotMark) release(r *Ring, slot, status uint32) {
	d.Lock()
	r.setStatus(slot, status)
	r.setMark(slot, 0)
	d.Unlock()
}
