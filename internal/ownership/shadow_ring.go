package ownership

import (
	"github.com/rxring/rxring/internal/slots"
	"github.com/rxring/rxring/ring"
)

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

func newShadowRing(n uint32) owner {
	return &shadowRing{head: head{slots: n}, shadow: make([]uint64, n)}
}

func (d *shadowRing) acquire(s *slots.Slots) (slot uint32, v ring.Verdict) {
	d.Lock()
	slot, v = d.slot, d.checkLocked(s)
	if v == ring.Acquired {
		if d.shadow[slot] != shadowFree {
			v = ring.Owned
		} else {
			d.shadow[slot] = shadowFilled
			d.advanceLocked()
		}
	}
	d.Unlock()
	return slot, v
}

func (d *shadowRing) release(s *slots.Slots, slot, status uint32) {
	d.Lock()
	s.SetStatus(slot, status)
	d.shadow[slot] = shadowFree
	d.Unlock()
}

func (d *shadowRing) filled(*slots.Slots) func(slot uint32) bool {
	return d.locked(func(slot uint32) bool { return d.shadow[slot] != shadowFree })
}
