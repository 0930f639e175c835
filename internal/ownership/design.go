package ownership

import (
	"fmt"

	"github.com/rxring/rxring/internal/slots"
	"github.com/rxring/rxring/ring"
)

// Design is a way to own slots: how a writer acquires one and how it releases it.
type Design uint8

const (
	Ticket            Design = iota // no lock: a ticket counter and a sequence word a slot
	OwnerMap                        // a bit a slot, status and bit under one lock (Linux since 5.6)
	Tail                            // OwnerMap with its bits behind the slot vector, in one allocation
	ShadowRing                      // OwnerMap with a word a slot (the earlier patch set)
	KernelOwned                     // a third status in the slot itself; for readers that know it
	Unguarded                       // status only (Linux before 5.6)
	SlotMark                        // a mark in the slot's own padding, in shared memory
	ReleaseBefore                   // no lock on release: bit, then status
	ReleaseAfter                    // no lock on release: status, then bit
	ReleaseAfterPlain               // ReleaseAfter with plain bit operations on a shared word
	designs
)

var designNames = [designs]string{
	"ticket", "owner-map", "tail", "shadow-ring", "kernel-owned",
	"unguarded", "slot-mark", "release-before", "release-after", "release-after-plain",
}

func (d Design) String() string {
	if d < designs {
		return designNames[d]
	}
	return fmt.Sprintf("Design(%d)", uint8(d))
}

// Designs returns all designs, the safe ones first.
func Designs() []Design {
	all := make([]Design, designs)
	for i := range all {
		all[i] = Design(i)
	}
	return all
}

// owner is a design other than Ticket at work on one ring.
type owner interface {
	acquire(*slots.Slots) (slot uint32, v ring.Verdict)
	release(s *slots.Slots, slot, status uint32)

	previous() uint32 // the slot before head
	taken() uint64    // slots acquired so far
	end()             // no slot is acquired after it

	// filled returns a function that reports whether a writer fills a slot, for an
	// observer: see [writer.Ring.States].
	filled(*slots.Slots) func(slot uint32) bool
}

func newOwner(d Design, n uint32) owner {
	switch d {
	case OwnerMap:
		return newOwnerMap(n)
	case Tail:
		return newTail(n)
	case ShadowRing:
		return newShadowRing(n)
	case KernelOwned:
		return newKernelOwned(n)
	case Unguarded:
		return newUnguarded(n)
	case SlotMark:
		return newSlotMark(n)
	case ReleaseBefore:
		return newReleaseBefore(n)
	case ReleaseAfter:
		return newReleaseAfter(n)
	case ReleaseAfterPlain:
		return newReleaseAfterPlain(n)
	}
	return nil
}
