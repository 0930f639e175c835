package ownership

import (
	"github.com/rxring/rxring/internal/slots"
	"github.com/rxring/rxring/ring"
)

// tail is ownerMap with the bits behind the vector of the slots' addresses (pg_vec),
// so that a ring needs one allocation less. The commit found it no simpler. The
// argument is ownerMap's: the same steps under the same lock.
type tail struct {
	head
	vector []uint64 // a word a slot for its address, as in Linux (unused here: offsets are computed), then the owner bits
}

func newTail(n uint32) owner {
	d := &tail{head: head{slots: n}}
	d.vector = make([]uint64, uint64(n)+uint64(len(newBitmap(n))))
	return d
}

func (d *tail) owned() bitmap { return bitmap(d.vector[d.slots:]) }

func (d *tail) acquire(s *slots.Slots) (slot uint32, v ring.Verdict) {
	d.Lock()
	slot, v = d.slot, d.checkLocked(s)
	if v == ring.Acquired {
		if d.owned().test(slot) {
			v = ring.Owned
		} else {
			d.owned().set(slot)
			d.advanceLocked()
		}
	}
	d.Unlock()
	return slot, v
}

func (d *tail) release(s *slots.Slots, slot, status uint32) {
	d.Lock()
	s.SetStatus(slot, status)
	d.owned().clear(slot)
	d.Unlock()
}

func (d *tail) filled(*slots.Slots) func(slot uint32) bool { return d.locked(d.owned().test) }
