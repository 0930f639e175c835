package ring

// unguarded is Linux before the fix: a slot's status says all there is.
//
// The status stays KERNEL from Acquire to Release, so a writer that wraps the
// ring meanwhile takes the slot a second time: two writers in one slot, and the
// reader sees a packet that is neither's.
type unguarded struct {
	head
}

func newUnguarded(slots uint32) owner { return &unguarded{head{slots: slots}} }

func (d *unguarded) acquire(r *Ring) (slot uint32, v Verdict) {
	d.Lock()
	slot, v = d.slot, d.look(r)
	if v == Acquired {
		d.advance()
	}
	d.Unlock()
	return slot, v
}

func (d *unguarded) release(r *Ring, slot, status uint32) {
	r.setStatus(slot, status)
}
