package ring

// releaseBefore saves the lock on release: it clears the owner bit, then stores
// the status.
//
// Between the two the slot is unowned and still KERNEL. A writer that wraps the
// ring in that moment takes it; then the first writer's status store tells the
// reader that the second one's packet is ready, while it is being written.
type releaseBefore struct {
	head
	window
	owned atomicBitmap
}

func newReleaseBefore(slots uint32) owner {
	return &releaseBefore{head: head{slots: slots}, owned: newAtomicBitmap(slots)}
}

func (d *releaseBefore) acquire(r *Ring) (slot uint32, v Verdict) {
	d.Lock()
	slot, v = d.slot, d.look(r)
	if v == Acquired {
		if d.owned.test(slot) {
			v = Owned
		} else {
			d.owned.set(slot)
			d.advance()
		}
	}
	d.Unlock()
	return slot, v
}

func (d *releaseBefore) release(r *Ring, slot, status uint32) {
	d.owned.clear(slot)
	d.stall()
	r.setStatus(slot, status)
}
