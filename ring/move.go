package ring

import (
	"fmt"
	"time"
	"unsafe"

	"github.com/rxring/rxring/tpacket"
)

// A ring is moved to other memory when it is to be mapped together with another
// one, or out of private memory when its reader has mapped memory of its own. Writers
// may be at it: it is closed to them, those that are in it finish, and what they left
// is copied. Nobody may have it mapped, and no Reader may read it.
//
// In private memory only writers have stored anything, so only what they stored to is
// copied: a large ring that is still empty moves at once.

// Move ends r and returns the ring that goes on in m, which must hold as many
// bytes: with the packets that r holds, in their slots, and with its
// count of packets. Packets that come meanwhile find no room. It takes m over,
// unless there is an error.
func (r *Ring) Move(m *Memory) (*Ring, error) {
	if r.other != nil {
		return nil, fmt.Errorf("ring: a ring of another design than %v cannot be moved", Ticket)
	}
	d := &r.ticket
	head := d.next.Or(ticketClosed)
	if head&ticketClosed != 0 {
		return nil, ErrClosed
	}
	for slot := range d.slots {
		// Once it is the next ticket's that names it, its last writer is done.
		next := head>>d.shift<<d.shift | uint64(slot)
		if slot < d.slot(head) {
			next += 1 << d.shift
		}
		await(func() bool { return d.sequence(slot).Load() == next })
	}
	moved := &Ring{
		base:   unsafe.Pointer(unsafe.SliceData(m.Bytes())),
		geo:    r.geo,
		dense:  r.dense,
		wide:   r.wide,
		memory: m,
	}
	if r.memory.private && head>>d.shift == 0 { // the first lap
		for slot := range d.slot(head) {
			at := r.geo.FrameOffset(slot)
			copy(m.Bytes()[at:], r.memory.Bytes()[at:at+int(r.geo.FrameSize)])
		}
	} else {
		copy(m.Bytes(), r.memory.Bytes()[:r.geo.Size()])
	}
	moved.ticket.seq, moved.ticket.slots, moved.ticket.shift = d.seq, d.slots, d.shift // nobody stores to r's any more
	moved.ticket.contention.init()
	moved.ticket.next.Store(head)
	return moved, r.Close()
}

// Move is [Ring.Move] for a ring of blocks.
func (b *Blocks) Move(m *Memory) (*Blocks, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed.Load() {
		return nil, ErrClosed
	}
	o := b.open.Or(b.layout.closed()) // with the lock held, nobody changes from one block to the next
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
			return state == 0 // it is the reader's, or waits to be opened
		})
	}
	moved := &Blocks{
		base:    unsafe.Pointer(unsafe.SliceData(m.Bytes())),
		geo:     b.geo,
		first:   b.first,
		layout:  b.layout,
		config:  b.config,
		memory:  m,
		blocks:  b.blocks, // nobody stores to b's any more
		taken:   b.taken,
		freezes: b.freezes,
		seq:     b.seq,
	}
	if b.memory.private {
		b.copyOpened(m.Bytes())
	} else {
		copy(m.Bytes(), b.memory.Bytes()[:b.geo.Size()])
	}
	moved.contention.init()
	moved.open.Store(o)
	moved.startTimer()
	return moved, b.memory.Close()
}

// copyOpened copies the blocks that were opened so far, but for their private areas.
// b.mu is held.
func (b *Blocks) copyOpened(to []byte) {
	header := tpacket.BlockPlusPriv(0)
	size := uint64(b.geo.BlockSize)
	for i := range min(b.seq, uint64(b.geo.BlockNr)) {
		block := b.memory.Bytes()[i*size : (i+1)*size]
		copy(to[i*size:], block[:header])
		copy(to[i*size+b.first*unit:], block[b.first*unit:])
	}
}

// Move ends r and returns the ring that goes on in m, as [Ring.Move] does.
func (r *TxRing) Move(m *Memory) (*TxRing, error) {
	moved := &TxRing{base: unsafe.Pointer(unsafe.SliceData(m.Bytes())), geo: r.geo, head: r.head, memory: m}
	if !r.memory.private {
		r.copyFrames(moved)
	}
	return moved, r.Close()
}

// copyFrames copies frames to another ring, but for those in which its program, which
// may have mapped it already, has put something new.
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

// await waits for writers, which wait for nobody.
func await(done func() bool) {
	for !done() {
		time.Sleep(10 * time.Microsecond)
	}
}
