package ring

import (
	"fmt"
	"strings"
)

// Design is a way to own slots: how a writer takes one and how it gives it up.
// The Linux commit that fixed the ring (61fad6816fc1) weighs most of them;
// docs/ownership.md follows its argument. All but the
// default are here to be looked at, not to be used.
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

// DefaultDesign is what [New] takes.
const DefaultDesign = Ticket

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

// Designs lists them all, the safe ones first.
func Designs() []Design {
	all := make([]Design, designs)
	for i := range all {
		all[i] = Design(i)
	}
	return all
}

// ParseDesign finds a design by its name.
func ParseDesign(name string) (Design, error) {
	for i, n := range designNames {
		if n == name {
			return Design(i), nil
		}
	}
	return 0, fmt.Errorf("ownership design %q: want one of %s", name, strings.Join(designNames[:], ", "))
}

// owner is a design other than ticket at work on one ring. Its methods are
// the writer's steps, with the rules of [Ring.Acquire] and [Ring.Release].
type owner interface {
	acquire(*Ring) (slot uint32, v Verdict)
	release(r *Ring, slot, status uint32)
	position
}

// position is where a ring's writers stand.
type position interface {
	previous() uint32 // the slot before head
	taken() uint64    // slots acquired so far
	close()           // no slot is acquired after it

	// watch returns what says whether a writer fills a slot, to an onlooker: see
	// States.
	watch(*Ring) func(slot uint32) bool
}

func newOwner(d Design, slots uint32) owner {
	switch d {
	case OwnerMap:
		return newOwnerMap(slots)
	case Tail:
		return newTail(slots)
	case ShadowRing:
		return newShadowRing(slots)
	case KernelOwned:
		return newKernelOwned(slots)
	case Unguarded:
		return newUnguarded(slots)
	case SlotMark:
		return newSlotMark(slots)
	case ReleaseBefore:
		return newReleaseBefore(slots)
	case ReleaseAfter:
		return newReleaseAfter(slots)
	case ReleaseAfterPlain:
		return newReleaseAfterPlain(slots)
	}
	return nil
}
