package ring

import "github.com/rxring/rxring/tpacket"

// SlotState is what an onlooker sees of a slot or a block. The higher, the
// further it is from taking a packet.
type SlotState uint8

const (
	SlotFree    SlotState = iota // the writers', and none has it
	SlotWriting                  // a writer is filling it; a block: it has packets, and is not the reader's yet
	SlotReading                  // the reader has it
)

// States draws the ring's slots: cells[:n], in the order of the ring, with the
// next packet to go into cell head. Where there are more slots than cells, a cell
// stands for neighbours and shows the one that is furthest from free.
//
// It looks at one slot after the other while writers and the reader go on, so
// each cell was true at some moment, and all of them together at none. It is for
// the eye. Writers neither wait for it nor do anything for it, but what it
// looks at has to come back to their cores: a few times a second costs nothing.
// (Designs with a lock hold it for one slot at a time.)
func (r *Ring) States(cells []SlotState) (n, head int) {
	p := r.position()
	filled := p.watch(r)
	at := (uint64(p.previous()) + 1) % uint64(r.geo.FrameNr)
	return drawStates(cells, r.geo.FrameNr, at, func(slot uint32) SlotState {
		// Ownership first: who has seen a slot given up sees its status, or what the
		// reader made of that.
		writing := filled(slot)
		switch s := r.status(slot); {
		case writing && (s == tpacket.StatusKernel || s == StatusKernelOwned):
			return SlotWriting
		case s == tpacket.StatusKernel:
			return SlotFree
		}
		return SlotReading
	})
}

// States draws the ring's blocks, as [Ring.States] does slots.
func (b *Blocks) States(cells []SlotState) (n, head int) {
	open := b.open.Load()
	current := b.layout.block(open)
	return drawStates(cells, b.geo.BlockNr, uint64(current), func(i uint32) SlotState {
		// A retired block's state is not 0 while its last writers are at it; an open
		// one's says less than the open word, which counts packets when they begin.
		writing := b.blocks[i].state.Load() != 0 || i == current && b.layout.packets(open) > 0
		switch { // the status last, as for slots
		case b.full(i):
			return SlotReading
		case writing:
			return SlotWriting
		}
		return SlotFree
	})
}

// drawStates puts as many slots in each of as many cells as there are, or one in
// each of the first.
func drawStates(cells []SlotState, slots uint32, at uint64, look func(uint32) SlotState) (n, head int) {
	n = int(min(uint64(len(cells)), uint64(slots)))
	if n == 0 {
		return 0, 0
	}
	first := func(cell int) uint32 { return uint32(uint64(cell) * uint64(slots) / uint64(n)) }
	for cell := range n {
		cells[cell] = SlotFree
		for slot := first(cell); slot < first(cell+1) && cells[cell] != SlotReading; slot++ {
			cells[cell] = max(cells[cell], look(slot))
		}
	}
	// The last cell that does not start behind at.
	return n, int(((at+1)*uint64(n) - 1) / uint64(slots))
}

// watch, by design: what it knows of who fills a slot.

// watch compares with the head of now: from when a slot's ticket is given until
// its writer is done, its sequence word is behind the ticket that names it next.
func (d *ticket) watch(*Ring) func(slot uint32) bool {
	head := d.next.Load() &^ ticketClosed
	return func(slot uint32) bool {
		next := head>>d.shift<<d.shift | uint64(slot)
		if slot < d.slot(head) {
			next += 1 << d.shift
		}
		return d.sequence(slot).Load()&^ticketReleasing < next // not below, though given, if it was given since
	}
}

func (d *ownerMap) watch(*Ring) func(slot uint32) bool { return d.locked(d.owned.test) }

func (d *tail) watch(*Ring) func(slot uint32) bool { return d.locked(d.owned().test) }

func (d *shadowRing) watch(*Ring) func(slot uint32) bool {
	return d.locked(func(slot uint32) bool { return d.shadow[slot] != shadowFree })
}

func (d *releaseBefore) watch(*Ring) func(slot uint32) bool { return d.owned.test }

func (d *releaseAfter) watch(*Ring) func(slot uint32) bool { return d.owned.test }

// These have nothing private to go by.

func (d *kernelOwned) watch(r *Ring) func(slot uint32) bool {
	return func(slot uint32) bool { return r.status(slot) == StatusKernelOwned }
}

func (d *slotMark) watch(r *Ring) func(slot uint32) bool {
	return func(slot uint32) bool { return r.mark(slot) != 0 }
}

func (d *unguarded) watch(*Ring) func(slot uint32) bool {
	return func(uint32) bool { return false }
}

// locked is owned, asked under the lock that guards it.
func (h *head) locked(owned func(slot uint32) bool) func(slot uint32) bool {
	return func(slot uint32) bool {
		h.Lock()
		defer h.Unlock()
		return owned(slot)
	}
}
