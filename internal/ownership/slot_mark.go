package ownership

import (
	"sync/atomic"
	"unsafe"

	"github.com/rxring/rxring/internal/slots"
	"github.com/rxring/rxring/ring"
)

// slotMark keeps the owner's mark in the slot's own padding, in shared memory,
// under the lock.
//
// Between lawful parties it works as ownerMap does. But a test of the mark may match a
// value that the reader left there: a reader that stores to the padding once, on
// purpose or not, makes a slot look owned that no writer will ever release, and the
// ring is stuck for good.
type slotMark struct {
	head
}

func newSlotMark(n uint32) owner { return &slotMark{head{slots: n}} }

func (d *slotMark) acquire(s *slots.Slots) (slot uint32, v ring.Verdict) {
	d.Lock()
	slot, v = d.slot, d.checkLocked(s)
	if v == ring.Acquired {
		if mark(s, slot) != 0 {
			v = ring.Owned
		} else {
			setMark(s, slot, 1)
			d.advanceLocked()
		}
	}
	d.Unlock()
	return slot, v
}

func (d *slotMark) release(s *slots.Slots, slot, status uint32) {
	d.Lock()
	s.SetStatus(slot, status)
	setMark(s, slot, 0)
	d.Unlock()
}

func (d *slotMark) filled(s *slots.Slots) func(slot uint32) bool {
	return func(slot uint32) bool { return mark(s, slot) != 0 }
}

func mark(s *slots.Slots, slot uint32) uint32 {
	if slots.Exploring {
		slots.StepLoad(s, slots.MarkWord, slot)
	}
	return atomic.LoadUint32(padding(s, slot))
}

func setMark(s *slots.Slots, slot, v uint32) {
	if slots.Exploring {
		slots.StepStore(slots.MarkWord, slot, v)
	}
	atomic.StoreUint32(padding(s, slot), v)
}

// padding is four bytes that no reader needs: tp_padding in V2, the hole at the end
// of struct tpacket_hdr in V1. Both are the last of 32.
func padding(s *slots.Slots, slot uint32) *uint32 {
	return (*uint32)(unsafe.Pointer(&s.Frame(slot)[28]))
}
