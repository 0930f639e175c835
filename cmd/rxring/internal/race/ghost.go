package race

// A ghost says what its writer is at, in private memory that no design knows of:
// the state in the lowest bits, the slot it fills, and the number of the packet,
// so that no word comes twice in a round.
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

// lookAround notes what the others are at, and which packet the reader has
// handed back from the slot that probably comes next: the one that the last
// verdict was about.
func (w *racer) lookAround() (returned uint64) {
	returned = w.returned[w.last].Load()
	for i, other := range w.writers {
		w.seen[i] = other.ghost.Load()
	}
	return returned
}

// provenFree reports whether the slot, which Acquire has just called owned, was
// certainly nobody's: nobody else took or gave up any slot since lookAround, and
// who was at this one was done with it, and the reader had already returned the
// packet. That it does not prove it says nothing.
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

// provenAlone is the like for blocks: nobody else was in a block, took room or
// gave any up since lookAround.
func (w *racer) provenAlone() bool {
	for i, other := range w.writers {
		if g := other.ghost.Load(); other != w && (g != w.seen[i] || g&ghostState != ghostIdle) {
			return false
		}
	}
	return true
}
