package ring

// tail is ownerMap with the bits behind the vector that says where each slot
// lies (pg_vec), so that a ring needs one allocation less. The commit found it
// no simpler. The argument is ownerMap's: the same steps under the same lock.
type tail struct {
	head
	vector []uint64 // a word a slot, as Linux has for where it lies (unused: offsets are computed), then the owner bits
}

func newTail(slots uint32) owner {
	d := &tail{head: head{slots: slots}}
	d.vector = make([]uint64, uint64(slots)+uint64(len(newBitmap(slots))))
	return d
}

func (d *tail) owned() bitmap { return bitmap(d.vector[d.slots:]) }

func (d *tail) acquire(r *Ring) (slot uint32, v Verdict) {
	d.Lock()
	slot, v = d.slot, d.look(r)
	if v == Acquired {
		if d.owned().test(slot) {
			v = Owned
		} else {
			d.owned().set(slot)
			d.advance()
		}
	}
	d.Unlock()
	return slot, v
}

func (d *tail) release(r *Ring, slot, status uint32) {
	d.Lock()
	r.setStatus(slot, status)
	d.owned().clear(slot)
	d.Unlock()
}
