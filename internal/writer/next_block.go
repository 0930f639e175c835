package writer

import (
	"unsafe"

	"github.com/rxring/rxring/internal/slots"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// A block's state. The lowest 30 bits count the units of packets that are
// complete, and the 30 after them say where the last of those packets starts, in
// units. It is not 0 from when the block is retired until the reader has it, and
// is 0 from then until a packet in its next life is complete.
const (
	blockRetired   = 1 << 62 // no more packets go into it
	blockTimeout   = 1 << 61 // the timer retired it
	blockReleasing = 1 << 60 // it is being handed to the reader
	blockUnits     = 1<<30 - 1
	blockLast      = blockUnits << blockLastAt
	blockLastAt    = 30
)

// nextBlock replaces the open block, for a packet that does not fit into that of open
// word o. It returns false if the caller is to try again.
func (b *Blocks) nextBlock(o, units uint64) (m Reservation, v ring.Verdict, ok bool) {
	if o&b.layout.units == b.layout.frozen() {
		// It takes no lock to see that the ring is full. While the open word stays
		// the same, no writer has opened the block.
		if v := b.openable(b.layout.block(o)); v != ring.Acquired && b.open.Load() == o {
			return Reservation{}, v, true
		}
	}
	slots.Again(1) // nothing but units is used from here on
	b.mu.Lock()
	m, v, ok, retired := b.nextBlockLocked(units)
	b.mu.Unlock()
	if retired {
		b.wake()
	}
	return m, v, ok
}

// nextBlockLocked is nextBlock with mu held. It also reports whether the reader got
// a block.
func (b *Blocks) nextBlockLocked(units uint64) (m Reservation, v ring.Verdict, ok, retired bool) {
	l := &b.layout
	o := b.open.Load()
	switch {
	case o&l.units == l.closed():
		return Reservation{}, ring.NoRoom, true, false
	case o&l.units == l.frozen():
		v := b.unfreezeLocked(o)
		return Reservation{}, v, v != ring.Acquired, false
	case o&l.units == l.parked():
		b.unparkLocked(o)
		return Reservation{}, 0, false, false
	case b.fits(o, units) || !b.open.CompareAndSwap(o, o&^l.units|l.moving()):
		return Reservation{}, 0, false, false // another writer was faster
	}
	v, retired = b.advanceLocked(o, 0)
	if v != ring.Acquired {
		b.open.Store(l.next(o, l.frozen()))
		return Reservation{}, v, true, retired
	}
	// The packet gets the new block's first bytes whatever its length: only here may
	// it fill a whole block.
	fresh := l.next(o, b.first)
	b.open.Store(fresh + l.packet + units)
	return b.reserved(fresh, units), ring.Acquired, true, retired
}

// unfreezeLocked opens the block that open word o waits for, if it is free.
func (b *Blocks) unfreezeLocked(o uint64) ring.Verdict {
	v := b.openable(b.layout.block(o))
	if v == ring.Acquired {
		b.beginLocked(b.layout.block(o))
		b.armLocked() // before a packet is in the block
		b.open.Store(b.layout.begin(o, b.first))
	}
	return v
}

// advanceLocked retires the block of open word o and opens the next one, if it is free.
// The open word says moving: no packet can be reserved meanwhile.
func (b *Blocks) advanceLocked(o uint64, timeout uint64) (v ring.Verdict, retired bool) {
	l := &b.layout
	b.empty = 0
	b.taken += l.packets(o)
	retired = b.retire(l.block(o), l.packets(o)<<32|o&l.units, timeout)
	next := l.block(l.next(o, 0))
	v = b.openable(next)
	switch v {
	case ring.Acquired:
		b.beginLocked(next)
	case ring.Full:
		b.freezes++
	}
	return v, retired
}

// openable returns [ring.Acquired] if the block's former life is over and the reader
// has handed it back. The answer stays true only while mu is held. It is never
// called for the open block.
func (b *Blocks) openable(i uint32) ring.Verdict {
	for wait := 0; ; wait++ {
		state := b.blocks[i].state.Load() // before the status: pairs with the last store of publish
		switch {
		case b.Reading(i):
			return ring.Full
		case state == 0:
			return ring.Acquired
		case state&blockReleasing == 0:
			return ring.Owned
		case wait == slots.WaitBound:
			return ring.Releasing
		}
		slots.Pause()
	}
}

// beginLocked initializes a block's header, as prb_open_block does. It leaves the
// private area as the reader stored it.
func (b *Blocks) beginLocked(i uint32) {
	at := slots.Now()
	d := b.Desc(i)
	b.seq++
	d.Version, d.OffsetToPriv, d.OffsetToFirstPkt = uint32(tpacket.V3), tpacket.SizeofBlockDesc, uint32(b.first)*unit
	d.NumPkts, d.BlkLen, d.SeqNum = 0, uint32(b.first)*unit, b.seq
	d.First = tpacket.Timestamp{Sec: uint32(at.Unix()), Nsec: uint32(at.Nanosecond())}
}

// retire ends block i, whose packets end as sealed says. If all of them are complete
// it hands the block to the reader and returns true; if not, the last writer in the
// block does so.
func (b *Blocks) retire(i uint32, sealed uint64, timeout uint64) bool {
	p := &b.blocks[i]
	p.sealed.Store(sealed)
	state := p.state.Or(blockRetired | timeout)
	if !b.complete(state, sealed) {
		return false
	}
	b.publish(i, state|timeout)
	return true
}

// complete reports whether all units before the end belong to complete packets.
func (b *Blocks) complete(state, sealed uint64) bool {
	return state&blockUnits+b.first == uint64(uint32(sealed))
}

// publish hands a block to the reader, as prb_close_block does. Its one caller is
// the last writer in the block: all packets are complete.
//
// The order is that of a slot's release: first the releasing bit, then the status,
// then the end of the block's life. A writer that finds the life over and then
// loads the status sees this status, or what the reader made of it.
func (b *Blocks) publish(i uint32, state uint64) {
	p := &b.blocks[i]
	d := b.Desc(i)
	sealed := slots.LoadOwn(&p.sealed)
	d.NumPkts, d.BlkLen = uint32(sealed>>32), uint32(sealed)*unit
	if d.NumPkts > 0 {
		last := (*tpacket.Header3)(unsafe.Add(b.Block(i), uintptr(state&blockLast>>blockLastAt)*unit))
		last.NextOffset = 0
		d.Last = tpacket.Timestamp{Sec: last.Sec, Nsec: last.Nsec}
	} else {
		at := slots.Now()
		d.Last = tpacket.Timestamp{Sec: uint32(at.Unix()), Nsec: uint32(at.Nanosecond())}
	}
	status := uint32(tpacket.StatusUser)
	if state&blockTimeout != 0 {
		status |= tpacket.StatusBlkTmo
	}
	if b.config.Losing != nil && b.config.Losing() {
		status |= tpacket.StatusLosing
	}
	p.state.Store(state | blockReleasing)
	b.SetStatus(i, status) // pairs with the reader's load
	p.state.Store(0)       // pairs with the load in openable
}

// wake wakes the readers, after publish, with no lock held: sleepers have their own.
func (b *Blocks) wake() {
	if b.config.Wake != nil {
		b.config.Wake()
	}
}
