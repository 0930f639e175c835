package race

// A ghost is what its writer does, in private memory that no design uses: the state in
// the lowest bits, the slot that it fills, and the number of the packet, so that no
// value occurs twice in a round.
//
// A writer is acquiring from before Acquire until it knows the result, filling
// until it calls Release, and releasing until that has returned: the true
// ownership of a slot lies within.
const (
	ghostIdle = iota
	ghostAcquiring
	ghostFilling
	ghostReleasing
	ghostState    = 3
	ghostSlot     = 2  // shift
	ghostNumber   = 14 // shift
	ghostSlotMask = maxSlots - 1
)

// The slot fits between its neighbours.
const _ = uint(1<<(ghostNumber-ghostSlot) - maxSlots)

// returnedID is what round.returned holds of a packet: never 0.
func returnedID(p Packet) uint64 { return uint64(p.Writer+1)<<48 | p.Number&(1<<48-1) }

// lookAround records the other writers' ghosts, and which packet the reader has handed
// back from the slot that is probably next: the one that the last verdict was about.
func (w *racer) lookAround() (returned uint64) {
	returned = w.returned[w.last].Load()
	for i, other := range w.writers {
		w.seen[i] = other.ghost.Load()
	}
	return returned
}

// provenFree reports whether the slot, which Acquire has just called owned, certainly
// had no owner: no other writer acquired or released a slot since lookAround, the last
// owner of this one had stored its status, and the reader had already handed it back.
// False proves nothing.
func (w *racer) provenFree(slot uint32, returned uint64) bool {
	for i, other := range w.writers {
		if other == w {
			continue
		}
		g := other.ghost.Load()
		if g != w.seen[i] {
			return false
		}
		here := uint32(g>>ghostSlot&ghostSlotMask) == slot
		switch g & ghostState {
		case ghostAcquiring:
			return false
		case ghostFilling:
			if here {
				return false
			}
		case ghostReleasing:
			if here && returned != returnedID(Packet{i, g >> ghostNumber}) {
				return false
			}
		}
	}
	return true
}

// provenAlone is the same for blocks: no other writer was in a block, or reserved or
// released anything, since lookAround.
func (w *racer) provenAlone() bool {
	for i, other := range w.writers {
		if g := other.ghost.Load(); other != w && (g != w.seen[i] || g&ghostState != ghostIdle) {
			return false
		}
	}
	return true
}
