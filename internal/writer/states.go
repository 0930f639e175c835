package writer

import "github.com/rxring/rxring/internal/slots"

// States draws the ring's slots: cells[:n], in the order of the ring, with the
// next packet to go into cell head. Where there are more slots than cells, a cell
// stands for neighbours and shows the one that is furthest from free.
//
// It loads one slot after the other while writers and the reader go on, so each
// cell was true at some moment, and all of them together at none. Writers neither
// wait for it nor do anything for it, but the cache lines that it loads have to
// return to their cores: a few calls a second cost nothing.
func (r *Ring) States(cells []slots.State) (n, head int) {
	return r.Slots.States(cells, uint64(r.ticket.previous())+1, r.ticket.filled())
}

// filled returns a function that reports whether a writer fills a slot. It compares
// with the head of now: from when a slot's ticket is given until its writer is
// done, its sequence word is behind the ticket that names the slot next.
func (d *ticket) filled() func(slot uint32) bool {
	head := d.next.Load() &^ ticketClosed
	return func(slot uint32) bool {
		// Not below, though the slot's ticket is given, if it was given since.
		return d.sequence(slot).Load()&^ticketReleasing < d.nextOf(slot, head)
	}
}

// nextOf is the ticket that names slot next, when head is the next ticket.
func (d *ticket) nextOf(slot uint32, head uint64) uint64 {
	next := head&^d.mask | uint64(slot)
	if slot < d.slot(head) {
		next += d.mask + 1
	}
	return next
}

// States draws the ring's blocks, as [Ring.States] does slots.
func (b *Blocks) States(cells []slots.State) (n, head int) {
	open := b.open.Load()
	current := b.layout.block(open)
	return slots.Draw(cells, b.Geo.BlockNr, uint64(current), func(i uint32) slots.State {
		// A retired block's state is not 0 while its last writers are at it; an open
		// one's says less than the open word, which counts packets when they begin.
		writing := b.blocks[i].state.Load() != 0 || i == current && b.layout.packets(open) > 0
		switch { // the status last, as for slots
		case b.Reading(i):
			return slots.Reading
		case writing:
			return slots.Writing
		}
		return slots.Free
	})
}
