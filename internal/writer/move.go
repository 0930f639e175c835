package writer

import (
	"time"
	"unsafe"

	"github.com/rxring/rxring/internal/ringmem"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// A ring is moved to other memory when it is to be mapped together with another
// one, or out of private memory when its reader has mapped memory of its own. Writers
// may be active: the ring is closed to them, those that own a slot finish, and then
// its memory is copied. No process may have it mapped, and no Reader may read it.
//
// In private memory only writers have stored anything, so only what they stored to is
// copied: a large ring that is still empty moves at once.

// Move ends r and returns the ring that continues in m, which must hold as many
// bytes: with r's packets in their slots, and with its count of packets. Packets
// delivered meanwhile are dropped ([ring.NoRoom]). The new ring owns m, unless there
// is an error: [ring.ErrClosed] if r is closed.
func (r *Ring) Move(m *ringmem.Memory) (*Ring, error) {
	d := &r.ticket
	head := d.next.Or(ticketClosed)
	if head&ticketClosed != 0 {
		return nil, ring.ErrClosed
	}
	for slot := range d.slots {
		// Once its sequence word names the next ticket, its last writer is done.
		await(func() bool { return d.sequence(slot).Load() == d.nextOf(slot, head) })
	}
	moved := &Ring{Slots: r.In(m.Bytes()), memory: m}
	if r.memory.IsPrivate() && head <= d.mask { // the first lap
		for slot := range d.slot(head) {
			copy(moved.Frame(slot), r.Frame(slot))
		}
	} else {
		copy(m.Bytes(), r.memory.Bytes()[:r.Geo.Size()])
	}
	moved.ticket.seq, moved.ticket.slots, moved.ticket.mask = d.seq, d.slots, d.mask // no writer stores to r's any more
	moved.ticket.next.Store(head)
	return moved, r.Close()
}

// Move is [Ring.Move] for a ring of blocks.
func (b *Blocks) Move(m *ringmem.Memory) (*Blocks, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed.Load() {
		return nil, ring.ErrClosed
	}
	o := b.open.Or(b.layout.closed()) // mu is held: no writer opens the next block
	b.closed.Store(true)
	if b.timer != nil {
		b.timer.Stop()
	}
	for i := range b.blocks {
		await(func() bool {
			state := b.blocks[i].state.Load()
			if o&b.layout.units < b.layout.parked() && b.layout.block(o) == uint32(i) {
				return b.complete(state, o&b.layout.units)
			}
			return state == 0 // the reader has it, or it has yet to be opened
		})
	}
	moved := &Blocks{
		Blocks:  b.In(m.Bytes()),
		first:   b.first,
		layout:  b.layout,
		config:  b.config,
		memory:  m,
		blocks:  b.blocks, // no writer stores to b's any more
		taken:   b.taken,
		freezes: b.freezes,
		seq:     b.seq,
	}
	if b.memory.IsPrivate() {
		b.copyOpenedLocked(m.Bytes())
	} else {
		copy(m.Bytes(), b.memory.Bytes()[:b.Geo.Size()])
	}
	moved.open.Store(o)
	moved.startTimer()
	return moved, b.memory.Close()
}

// copyOpenedLocked copies the blocks that were opened so far, except for their private
// areas.
func (b *Blocks) copyOpenedLocked(to []byte) {
	header := tpacket.BlockPlusPriv(0)
	size := uint64(b.Geo.BlockSize)
	for i := range min(b.seq, uint64(b.Geo.BlockNr)) {
		block := b.memory.Bytes()[i*size : (i+1)*size]
		copy(to[i*size:], block[:header])
		copy(to[i*size+b.first*unit:], block[b.first*unit:])
	}
}

// Move ends r and returns the ring that continues in m, as [Ring.Move] does.
func (r *TxRing) Move(m *ringmem.Memory) (*TxRing, error) {
	moved := &TxRing{base: unsafe.Pointer(unsafe.SliceData(m.Bytes())), geo: r.geo, head: r.head, memory: m}
	if !r.memory.IsPrivate() {
		r.copyFrames(moved)
	}
	return moved, r.Close()
}

// copyFrames copies frames to another ring, except for those to which its program,
// which may have mapped it already, has stored something new.
func (r *TxRing) copyFrames(to *TxRing) {
	from := TxRing{base: r.base, geo: r.geo}
	into := TxRing{base: to.base, geo: to.geo}
	for range r.geo.FrameNr {
		if into.status() == tpacket.StatusAvailable {
			copy(into.Frame(), from.Frame())
		}
		from.Advance()
		into.Advance()
	}
}

// await polls until writers are done. They wait for nothing.
func await(done func() bool) {
	for !done() {
		time.Sleep(10 * time.Microsecond)
	}
}
