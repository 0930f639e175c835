package writer

import (
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/rxring/rxring/internal/ringmem"
	"github.com/rxring/rxring/internal/slots"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// Blocks is a receive ring of blocks that packets are packed into: TPACKET_V3.
// It mirrors struct tpacket_kbdq_core (net/packet/internal.h).
//
// A writer reserves the bytes of its packet, or of several, in the open block with one
// compare-and-swap, and copies with no lock held, in parallel with other writers.
// A block is retired when a packet does not fit, or by the timer; the last writer
// in it hands it to the reader. In Linux the writer that retires the block waits
// for the copies in it, and all other writers wait behind it. Here no writer waits
// for a copy, and the next block is open meanwhile.
//
// The race of Linux commit 61fad6816fc1 has the same shape as with slots: a block
// that is being filled has the status of a free one, so a writer that wraps the
// ring must not go by the status. Each block has a private state, which says
// whether its last life is over; see openable and publish.
//
// All methods may be called concurrently. A [Reservation] belongs to its caller
// until Release.
type Blocks struct {
	slots.Blocks
	first  uint64 // where a block's first packet starts, in units
	layout openLayout
	config BlocksConfig
	memory *ringmem.Memory
	closed atomic.Bool
	timer  *time.Timer // nil: blocks are retired when they are full
	blocks []block

	_    [64]byte   // writers swap open all the time: nothing else on its line
	open slots.Word // the open block and what is reserved of it: see openLayout
	_    [64]byte

	mu      slots.Lock // guards what follows, and the change from one block to the next
	taken   uint64     // packets in the blocks before the open one
	freezes uint32     // since the last FreezeCount
	seq     uint64     // of the block opened last
	empty   int        // periods of the timer that the open block has been empty
}

// block is the writers' private state of a block.
type block struct {
	state  slots.Word // see blockRetired
	sealed slots.Word // stored when it is retired: the end of its packets, in units; their number in the upper half
	_      [48]byte
}

// Offsets in a block are counted in units of 8 bytes, to which V3 aligns packets.
// No packet is shorter than its header.
const (
	unit      = slots.Unit
	leastSize = tpacket.SizeofHeader3
)

// BlocksConfig configures a ring of blocks.
type BlocksConfig struct {
	SizeofPriv uint32        // bytes of private area in each block, for the reader to use
	Retire     time.Duration // period of the timer that retires blocks that are not full; 0: no timer
	Losing     func() bool   // reports whether a block is to carry TP_STATUS_LOSING; nil: never
	Wake       func()        // is called for each block that the reader gets, and must not block; may be nil
}

// NewBlocks makes a ring of g's shape in m, which must hold g.Size() zeroed bytes,
// and opens its first block. The ring owns m from then on.
func NewBlocks(m *ringmem.Memory, g tpacket.Geometry, c BlocksConfig) (*Blocks, error) {
	if g.Version != tpacket.V3 {
		return nil, fmt.Errorf("ring: version %v has slots, not blocks: want V3", g.Version)
	}
	first := tpacket.BlockPlusPriv(c.SizeofPriv)
	if g.BlockNr == 0 || m.Size() < g.Size() || first >= uint64(g.BlockSize) {
		return nil, fmt.Errorf("ring: %d blocks of %d bytes, %d of them before the first packet, in memory of %d bytes: want at least one block, room for packets, and memory for all",
			g.BlockNr, g.BlockSize, first, m.Size())
	}
	layout, ok := newOpenLayout(g)
	if !ok {
		return nil, fmt.Errorf("ring: %d blocks of %d bytes: want fewer blocks, or smaller ones", g.BlockNr, g.BlockSize)
	}
	mem, err := slots.NewBlocks(m.Bytes(), g)
	if err != nil {
		return nil, err
	}
	b := &Blocks{
		Blocks: mem,
		first:  first / unit,
		layout: layout,
		config: c,
		memory: m,
		blocks: make([]block, g.BlockNr),
	}
	b.beginLocked(0)
	b.open.Store(b.first)
	b.startTimer()
	return b, nil
}

// MaxFrame is the most bytes that a packet can have in a block, its header
// included (max_frame_len).
func (b *Blocks) MaxFrame() uint32 { return b.Geo.BlockSize - uint32(b.first)*unit }

// Reservation is the bytes of one packet in a block, its header first, or of several in a row.
type Reservation struct {
	block uint32
	at    uint32 // units
	last  uint32 // where the last packet starts
	units uint32
}

// Size is the length in bytes: for one packet, the value for tp_next_offset.
func (m Reservation) Size() uint32 { return m.units * unit }

// AlignedSize is the [Reservation.Size] of a packet of n bytes.
func AlignedSize(n uint32) uint32 { return uint32(inUnits(n)) * unit }

func inUnits(n uint32) uint64 { return (uint64(n) + unit - 1) / unit }

// Bytes is the reserved memory. The slice stays addressable while b is reachable.
func (b *Blocks) Bytes(m Reservation) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(b.Block(m.block), uintptr(m.at)*unit)), m.Size())
}

// Acquire reserves n bytes for a packet, its header included: at least
// [tpacket.SizeofHeader3] and at most MaxFrame. On [ring.Acquired] the caller owns
// the bytes, fills them with no lock held, and must call Release; on any other
// verdict there is no reservation.
func (b *Blocks) Acquire(n uint32) (Reservation, ring.Verdict) {
	if n < leastSize || n > b.MaxFrame() {
		return Reservation{}, ring.NoRoom
	}
	units := inUnits(n)
	lost := uint32(0)
	for {
		slots.Again(0)
		o := b.open.Load() // pairs with the store that opened the block
		if !b.fits(o, units) {
			if m, v, ok := b.nextBlock(o, units); ok {
				return m, v
			}
			continue
		}
		if b.open.CompareAndSwap(o, o+b.layout.packet+units) {
			return b.reserved(o, units), ring.Acquired
		}
		backoff(&lost)
	}
}

// AcquireBatch is Acquire for packets of these sizes in bytes, each within the bounds there. It
// reserves the bytes of the first n of them in a row with one compare-and-swap: at least one on
// [ring.Acquired], none on any other verdict. Each begins where the one before it ends, which is
// its [AlignedSize] later. The caller fills all of them, and calls Release once.
func (b *Blocks) AcquireBatch(sizes []uint32) (m Reservation, n int, v ring.Verdict) {
	lost := uint32(0)
	for {
		slots.Again(0)
		o := b.open.Load() // pairs with the store that opened the block
		var units, last uint64
		for n = 0; n < len(sizes); n++ {
			size := inUnits(sizes[n])
			if !b.fits(o, units+size) {
				break
			}
			last = units
			units += size
		}
		if n == 0 {
			if sizes[0] < leastSize || sizes[0] > b.MaxFrame() {
				return Reservation{}, 0, ring.NoRoom
			}
			if m, v, ok := b.nextBlock(o, inUnits(sizes[0])); ok {
				if v == ring.Acquired {
					n = 1
				}
				return m, n, v
			}
			continue
		}
		if b.open.CompareAndSwap(o, o+uint64(n)*b.layout.packet+units) {
			m = b.reserved(o, units)
			m.last += uint32(last)
			return m, n, ring.Acquired
		}
		backoff(&lost)
	}
}

// fits reports whether units fit into the open block. Linux leaves at least one
// byte of a block unused.
func (b *Blocks) fits(o uint64, units uint64) bool {
	return o&b.layout.units+units < uint64(b.Geo.BlockSize/unit) // false for the values that say that there is no open block
}

// reserved is the next units of the block of open word o.
func (b *Blocks) reserved(o, units uint64) Reservation {
	at := uint32(o & b.layout.units)
	return Reservation{block: b.layout.block(o), at: at, last: at, units: uint32(units)}
}

// Release completes the packets in m. Everything stored to it before is visible to a
// reader that sees the block's status: the swaps of state order the copies of all
// writers before the status store of the last one.
func (b *Blocks) Release(m Reservation) {
	p := &b.blocks[m.block]
	for {
		slots.Again(0)
		state := p.state.Load()
		done := state + uint64(m.units)
		if last := uint64(m.last) << blockLastAt; last > done&blockLast {
			done = done&^blockLast | last
		}
		if !p.state.CompareAndSwap(state, done) {
			continue
		}
		if done&blockRetired != 0 && b.complete(done, slots.LoadOwn(&p.sealed)) {
			b.publish(m.block, done)
			b.wake()
		}
		return
	}
}

// current is the open block, or the one that has yet to be opened.
func (b *Blocks) current() uint32 { return b.layout.block(b.open.Load()) }

// Free reports whether the block that is ahead blocks after the open one is the
// writers' by its status (__tpacket_v3_has_room).
func (b *Blocks) Free(ahead uint32) bool {
	at := uint64(b.current()) + uint64(ahead)
	return b.Status(uint32(at%uint64(b.Geo.BlockNr))) == tpacket.StatusKernel
}

// RoomFor returns how many of n packets fit if each of them closes a block: how many
// blocks after the open one are free, a lower bound. A ring with a single block and a
// timer has room only while that block is empty.
func (b *Blocks) RoomFor(n int) int {
	if b.Geo.BlockNr == 1 {
		if !b.Free(0) || b.timer != nil && b.layout.packets(b.open.Load()) > 0 {
			return 0
		}
		return min(n, 1)
	}
	for n = min(n, int(b.Geo.BlockNr-1)); n > 0 && !b.Free(uint32(n)); {
		n /= 2
	}
	return n
}

// Readable is packet_poll's rule for EPOLLIN: the block before the open one is
// not KERNEL.
func (b *Blocks) Readable() bool {
	at := b.current()
	if at == 0 {
		at = b.Geo.BlockNr
	}
	return b.Status(at-1) != tpacket.StatusKernel
}

// HandedBack reports whether the reader has handed back a block.
func (b *Blocks) HandedBack() bool {
	l, o := &b.layout, b.open.Load()
	lap, first := o>>l.number>>l.lap, l.block(o) == 0
	switch {
	case lap == 0 && first:
		return false // the first block is open
	case lap > 1, lap == 1 && !(first && o&l.units == l.frozen()):
		return true // the first block was opened again
	}
	return b.blocks[0].state.Load() == 0 && b.Status(0) == tpacket.StatusKernel // the status last: see States
}

// FreezeCount is how often the next block was still the reader's when it was
// needed, since the last call: tp_freeze_q_cnt.
func (b *Blocks) FreezeCount() uint32 {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.freezes
	b.freezes = 0
	return n
}

// Captured is how many packets were reserved. It is final after Close.
func (b *Blocks) Captured() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.taken + b.layout.packets(b.open.Load())
}

// Memory is the ring's shared memory.
func (b *Blocks) Memory() *ringmem.Memory { return b.memory }

// Closed reports whether Close was called.
func (b *Blocks) Closed() bool { return b.closed.Load() }

// Close ends the ring, as [Ring.Close] does. The open block is not retired.
func (b *Blocks) Close() error {
	b.mu.Lock()
	b.open.Or(b.layout.closed()) // no reservation succeeds after it
	b.closed.Store(true)
	if b.timer != nil {
		b.timer.Stop()
	}
	b.mu.Unlock()
	return b.memory.Close()
}
