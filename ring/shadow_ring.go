package ring

// shadowRing is the patch set that came before the commit: a private word for
// each slot that mirrors its state, instead of a bit. It costs 64 times the
// memory and says no more. The argument is ownerMap's.
type shadowRing struct {
	head
	shadow []uint64
}

// States of a shadow word.
const (
	shadowFree   = 0
	shadowFilled = 1 // a writer owns the slot
)

func newShadowRing(slots uint32) owner {
	return &shadowRing{head: head{slots: slots}, shadow: make([]uint64, slots)}
}

func (d *shadowRing) acquire(r *Ring) (slot uint32, v Verdict) {
	d.Lock()
	slot, v = d.slot, d.look(r)
	if v == Acquired {
		if d.shadow[slot] != shadowFree {
			v = Owned
		} else {
			d.shadow[slot] = shadowFilled
			d.advance()
		}
	}
	d.Unlock()
	return slot, v
}

func (d *shadowRing) release(r *Ring, slot, status uint32) {
	d.Lock()
	r.setStatus(slot, status)
	d.shadow[slot] = shadowFree
	d.Unlock()
}
