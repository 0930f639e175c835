package ownership

import (
	"github.com/rxring/rxring/internal/slots"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// StatusKernelOwned is TP_KERNEL_OWNED, the third status that the commit
// proposes and Linux never had: a writer is filling the slot. Its value is
// rxring's choice, a bit that no other status uses.
const StatusKernelOwned = 1 << 16

// kernelOwned marks a slot that a writer fills in the slot itself: no private state,
// and no two words to change at once. Acquire stores KERNEL_OWNED under the lock,
// Release stores the final status without it.
//
// A reader that treats every status but KERNEL as USER, as libpcap does, reads
// packets that are still being written: only readers that know the status may have
// such a ring. And a reader can store KERNEL to a slot that a writer fills: then two
// writers share it. A lawful reader does not; against others this design has no
// defence.
type kernelOwned struct {
	head
}

func newKernelOwned(n uint32) owner { return &kernelOwned{head{slots: n}} }

func (d *kernelOwned) acquire(s *slots.Slots) (slot uint32, v ring.Verdict) {
	d.Lock()
	slot = d.slot
	if d.closed {
		v = ring.NoRoom
	} else {
		switch s.Status(slot) {
		case tpacket.StatusKernel:
			s.SetStatus(slot, StatusKernelOwned)
			d.advanceLocked()
		case StatusKernelOwned:
			v = ring.Owned
		default:
			v = ring.Full
		}
	}
	d.Unlock()
	return slot, v
}

func (d *kernelOwned) release(s *slots.Slots, slot, status uint32) {
	s.SetStatus(slot, status)
}

func (d *kernelOwned) filled(s *slots.Slots) func(slot uint32) bool {
	return func(slot uint32) bool { return s.Status(slot) == StatusKernelOwned }
}
