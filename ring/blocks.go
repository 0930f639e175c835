package ring

import (
	"fmt"
	"math/bits"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/rxring/rxring/tpacket"
)

// Blocks is a receive ring of blocks that packets are packed into: TPACKET_V3.
// It mirrors struct tpacket_kbdq_core (net/packet/internal.h).
//
// A writer reserves its packet's bytes in the open block with one
// compare-and-swap and copies with no lock held, side by side with others. A
// block is retired when a packet does not fit, or by the timer; it goes to the
// reader when the last writer in it is done, whoever that is. Linux has the one
// who retires it wait for them, with every other writer waiting behind; here
// nobody waits for a copy, and the next block is open meanwhile.
//
// The commit's race has the same shape as with slots: a block that is being
// filled has the status of a free one, so a writer that wraps the ring must not
// go by the status. Each block has a private state, which says whether its last
// life is over; see openable and publish.
//
// All methods may be called concurrently, but a [Room] is its caller's until
// Release.
type Blocks struct {
	base   unsafe.Pointer // of the shared memory
	geo    tpacket.Geometry
	first  uint64 // where a block's first packet starts, in units
	layout fillLayout
	config BlocksConfig
	memory *Memory
	closed atomic.Bool
	timer  *time.Timer // nil: blocks are retired when they are full
	blocks []block

	_    [64]byte // writers swap open all the time: nothing else on its line
	open word     // the open block and what is taken of it: see fillLayout
	_    [64]byte

	contention contention

	mu      lock   // guards what follows, and the change from one block to the next
	taken   uint64 // packets in the blocks before the open one
	freezes uint32 // since FreezeCount was asked
	seq     uint64 // of the block opened last
	empty   int    // periods of the timer that the open block has been empty
}

// block is what writers know of a block, in private memory.
type block struct {
	state  word // see blockRetired
	sealed word // where its packets end, in units, and in the upper half how many they are: known when it is retired
	_      [48]byte
}

// unit is what places in a block are counted in: V3 aligns packets to 8 bytes
// (V3_ALIGNMENT). No packet has less than its header.
const (
	unit      = 8
	leastSize = tpacket.SizeofHeader3
)

// A fillLayout says how the open word is laid out for a ring's shape. From the
// lowest bit: how many units of the block are taken; how many packets that are;
// the number of the block, lap<<shift | block, which loses its highest bits.
//
// All three change together, so a packet is counted in the instant in which it
// gets its room, and who retires a block knows how many packets are to come.
type fillLayout struct {
	units  uint64 // mask; its highest values say that nothing can be reserved
	packet uint64 // one packet
	number uint8  // shift
	lap    uint8  // shift, in a number
	last   uint32 // block of a lap
}

// What the units say when there is no open block to reserve in.
func (l *fillLayout) closed() uint64 { return l.units }     // the ring is closed
func (l *fillLayout) shut() uint64   { return l.units - 1 } // the block is yet to be opened: Linux's frozen queue
func (l *fillLayout) moving() uint64 { return l.units - 2 } // somebody is changing from one block to the next
func (l *fillLayout) parked() uint64 { return l.units - 3 } // the block is open and empty, and the timer does not run

func newFillLayout(g tpacket.Geometry) (l fillLayout, ok bool) {
	units := bits.Len32(g.BlockSize/unit + 4)
	packets := bits.Len32(g.BlockSize / leastSize)
	l = fillLayout{
		units:  1<<units - 1,
		packet: 1 << units,
		number: uint8(units + packets),
		lap:    uint8(bits.Len32(g.BlockNr - 1)),
		last:   g.BlockNr - 1,
	}
	return l, l.number+l.lap <= 64
}

// packets is how many packets fill o counts.
func (l *fillLayout) packets(o uint64) uint64 { return o & (1<<l.number - 1) / l.packet }

// block is the block that fill o is of.
func (l *fillLayout) block(o uint64) uint32 { return uint32(o >> l.number & (1<<l.lap - 1)) }

// begin is a fill of the same block without packets.
func (l *fillLayout) begin(o, units uint64) uint64 { return o>>l.number<<l.number | units }

// next is a fill of the block after that of o, without packets.
func (l *fillLayout) next(o, units uint64) uint64 {
	n := o>>l.number + 1
	if l.block(o) == l.last {
		n = (o>>l.number>>l.lap + 1) << l.lap
	}
	return n<<l.number | units
}

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

// BlocksConfig is what a ring of blocks needs beside its shape.
type BlocksConfig struct {
	SizeofPriv uint32        // bytes of private area in each block, for the reader to use
	Retire     time.Duration // blocks are retired in this time though not full; 0: they are not
	Losing     func() bool   // says whether blocks are to carry TP_STATUS_LOSING; nil: never
	Wake       func()        // is called for every block that goes to the reader, and must not block; nil: nobody
}

// NewBlocks makes a ring of g's shape in m, which must hold g.Size() zeroed
// bytes, and opens its first block. It takes m over.
func NewBlocks(m *Memory, g tpacket.Geometry, c BlocksConfig) (*Blocks, error) {
	if g.Version != tpacket.V3 {
		return nil, fmt.Errorf("ring: version %v has slots, not blocks: want V3", g.Version)
	}
	first := tpacket.BlockPlusPriv(c.SizeofPriv)
	if g.BlockNr == 0 || m.Size() < g.Size() || first >= uint64(g.BlockSize) {
		return nil, fmt.Errorf("ring: %d blocks of %d bytes, %d of them before the first packet, in memory of %d bytes: want at least one block, room for packets, and memory for all",
			g.BlockNr, g.BlockSize, first, m.Size())
	}
	layout, ok := newFillLayout(g)
	if !ok {
		return nil, fmt.Errorf("ring: %d blocks of %d bytes: want fewer blocks, or smaller ones", g.BlockNr, g.BlockSize)
	}
	b := &Blocks{
		base:   m.base(),
		geo:    g,
		first:  first / unit,
		layout: layout,
		config: c,
		memory: m,
		blocks: make([]block, g.BlockNr),
	}
	b.contention.init()
	b.begin(0)
	b.open.Store(b.first)
	b.startTimer()
	return b, nil
}

// MaxFrame is the most bytes that a packet can have in a block, its header
// included (max_frame_len).
func (b *Blocks) MaxFrame() uint32 { return b.geo.BlockSize - uint32(b.first)*unit }

// Room is the bytes of one packet in a block, its header first.
type Room struct {
	block uint32
	at    uint32 // units
	units uint32
}

// Size is the room's length in bytes: what tp_next_offset says.
func (m Room) Size() uint32 { return m.units * unit }

// Bytes is the room itself. The slice stays addressable while b is reachable.
func (b *Blocks) Bytes(m Room) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(b.block(m.block), uintptr(m.at)*unit)), m.Size())
}

// Acquire takes room for a packet of n bytes, its header included: at least
// [tpacket.SizeofHeader3] and at most MaxFrame. On [Acquired] the caller owns the
// room, has it to fill with no lock held, and must call Release; on any other
// verdict there is none.
func (b *Blocks) Acquire(n uint32) (Room, Verdict) {
	if n < leastSize || n > b.MaxFrame() {
		return Room{}, NoRoom
	}
	units := (uint64(n) + unit - 1) / unit
	lost := uint32(0)
	for {
		again(0)
		o := b.open.Load()
		if !b.fits(o, units) {
			if room, v, ok := b.turn(o, units); ok {
				return room, v
			}
			continue
		}
		if b.open.CompareAndSwap(o, o+b.layout.packet+units) {
			return b.room(o, units), Acquired
		}
		b.contention.makeWay(b, &lost)
	}
}

// fits says whether there is an open block with room for so many units. Linux
// leaves at least one byte of a block unused.
func (b *Blocks) fits(o uint64, units uint64) bool {
	return o&b.layout.units+units < uint64(b.geo.BlockSize/unit) // never, when they say that there is none
}

// room is what comes next in fill o.
func (b *Blocks) room(o, units uint64) Room {
	return Room{block: b.layout.block(o), at: uint32(o & b.layout.units), units: uint32(units)}
}

// turn changes from one block to the next, for a packet that does not fit into
// fill o; not ok means that there is room now.
func (b *Blocks) turn(o, units uint64) (room Room, v Verdict, ok bool) {
	if o&b.layout.units == b.layout.shut() {
		// A ring that is full needs no lock to be found so. While the open word
		// stays, nobody opens the block.
		if v := b.openable(b.layout.block(o)); v != Acquired && b.open.Load() == o {
			return Room{}, v, true
		}
	}
	again(1) // o is as good as any
	b.mu.Lock()
	room, v, ok, retired := b.change(units)
	b.mu.Unlock()
	if retired {
		b.wake()
	}
	return room, v, ok
}

// change is turn with the lock held. It also says whether the reader got a
// block.
func (b *Blocks) change(units uint64) (room Room, v Verdict, ok, retired bool) {
	l := &b.layout
	o := b.open.Load()
	switch {
	case o&l.units == l.closed():
		return Room{}, NoRoom, true, false
	case o&l.units == l.shut():
		v := b.thaw(o)
		return Room{}, v, v != Acquired, false
	case o&l.units == l.parked():
		b.unpark(o)
		return Room{}, 0, false, false
	case b.fits(o, units) || !b.open.CompareAndSwap(o, o&^l.units|l.moving()):
		return Room{}, 0, false, false // others were faster
	}
	v, retired = b.advance(o, 0)
	if v != Acquired {
		b.open.Store(l.next(o, l.shut()))
		return Room{}, v, true, retired
	}
	// The packet has the new block's first bytes whatever its length: only here
	// may it take all of them.
	fresh := l.next(o, b.first)
	b.open.Store(fresh + l.packet + units)
	return b.room(fresh, units), Acquired, true, retired
}

// thaw opens the block that fill o waits for, if it is to be had. The lock is
// held.
func (b *Blocks) thaw(o uint64) Verdict {
	v := b.openable(b.layout.block(o))
	if v == Acquired {
		b.begin(b.layout.block(o))
		b.arm() // before a packet is in the block
		b.open.Store(b.layout.begin(o, b.first))
	}
	return v
}

// advance retires the block of fill o and makes the next one ready, unless that
// is not to be had. The lock is held, and nobody can reserve.
func (b *Blocks) advance(o uint64, timeout uint64) (v Verdict, retired bool) {
	l := &b.layout
	b.empty = 0
	b.taken += l.packets(o)
	retired = b.retire(l.block(o), l.packets(o)<<32|o&l.units, timeout)
	next := l.block(l.next(o, 0))
	v = b.openable(next)
	switch v {
	case Acquired:
		b.begin(next)
	case Full:
		b.freezes++
	}
	return v, retired
}

// openable says whether the block's former life is over and the reader has
// handed it back. Only who holds the lock may rely on it. It is never asked of the
// block that is open.
func (b *Blocks) openable(i uint32) Verdict {
	for wait := 0; ; wait++ {
		state := b.blocks[i].state.Load() // first: pairs with the last store of publish
		switch {
		case b.full(i):
			return Full
		case state == 0:
			return Acquired
		case state&blockReleasing == 0:
			return Owned
		case wait == waitBound:
			return Releasing
		}
		pause()
	}
}

// full is Linux's test for a block that the reader has (prb_curr_blk_in_use).
func (b *Blocks) full(i uint32) bool { return b.status(i)&tpacket.StatusUser != 0 }

// begin opens a block, as prb_open_block does. Its private area is left as the
// reader has it. The lock is held.
func (b *Blocks) begin(i uint32) {
	at := now()
	d := b.desc(i)
	b.seq++
	d.Version, d.OffsetToPriv, d.OffsetToFirstPkt = uint32(tpacket.V3), tpacket.SizeofBlockDesc, uint32(b.first)*unit
	d.NumPkts, d.BlkLen, d.SeqNum = 0, uint32(b.first)*unit, b.seq
	d.First = tpacket.Timestamp{Sec: uint32(at.Unix()), Nsec: uint32(at.Nanosecond())}
}

// retire ends what goes into a block. Who finds that all its packets are
// complete hands it over: the one who retires it, which it then says, or its
// last writer.
func (b *Blocks) retire(i uint32, sealed uint64, timeout uint64) bool {
	k := &b.blocks[i]
	k.sealed.Store(sealed)
	state := k.state.Or(blockRetired | timeout)
	if !b.complete(state, sealed) {
		return false
	}
	b.publish(i, state|timeout)
	return true
}

// complete says whether all units before the end are those of packets that are
// complete.
func (b *Blocks) complete(state, sealed uint64) bool {
	return state&blockUnits+b.first == uint64(uint32(sealed))
}

// Release says that the packet in m is complete. Everything stored to it before
// is visible to whoever sees the block's status.
func (b *Blocks) Release(m Room) {
	k := &b.blocks[m.block]
	for {
		again(0)
		state := k.state.Load()
		done := state + uint64(m.units)
		if last := uint64(m.at) << blockLastAt; last > done&blockLast {
			done = done&^blockLast | last
		}
		if !k.state.CompareAndSwap(state, done) {
			continue
		}
		if done&blockRetired != 0 && b.complete(done, loadOwn(&k.sealed)) {
			b.publish(m.block, done)
			b.wake()
		}
		return
	}
}

// publish hands a block to the reader, as prb_close_block does. The one caller
// is the last who knows the block: all its packets are complete.
//
// The order is that of a slot's release: say that it comes, then the status,
// then that the block's life is over. A writer that finds the life over and
// looks at the status after that sees this one, or what the reader made of it.
func (b *Blocks) publish(i uint32, state uint64) {
	k := &b.blocks[i]
	d := b.desc(i)
	sealed := loadOwn(&k.sealed)
	d.NumPkts, d.BlkLen = uint32(sealed>>32), uint32(sealed)*unit
	if d.NumPkts > 0 {
		last := (*tpacket.Header3)(unsafe.Add(b.block(i), uintptr(state&blockLast>>blockLastAt)*unit))
		last.NextOffset = 0
		d.Last = tpacket.Timestamp{Sec: last.Sec, Nsec: last.Nsec}
	} else {
		at := now()
		d.Last = tpacket.Timestamp{Sec: uint32(at.Unix()), Nsec: uint32(at.Nanosecond())}
	}
	status := uint32(tpacket.StatusUser)
	if state&blockTimeout != 0 {
		status |= tpacket.StatusBlkTmo
	}
	if b.config.Losing != nil && b.config.Losing() {
		status |= tpacket.StatusLosing
	}
	k.state.Store(state | blockReleasing)
	b.setStatus(i, status)
	k.state.Store(0) // pairs with the load in openable
}

// wake comes after publish, with no lock held: those who sleep have theirs.
func (b *Blocks) wake() {
	if b.config.Wake != nil {
		b.config.Wake()
	}
}

// current is the open block, or the one that is yet to be opened.
func (b *Blocks) current() uint32 { return b.layout.block(b.open.Load()) }

// Free says whether the block that is ahead blocks after the open one is the
// writers', by its status (__tpacket_v3_has_room).
func (b *Blocks) Free(ahead uint32) bool {
	at := uint64(b.current()) + uint64(ahead)
	return b.status(uint32(at%uint64(b.geo.BlockNr))) == tpacket.StatusKernel
}

// Room says for how many packets, n at most, there is room if each closes a block: how
// many blocks after the open one are free, though maybe not all of them. If there is one
// block only, which has a timer, it must be empty.
func (b *Blocks) Room(n int) int {
	if b.geo.BlockNr == 1 {
		if !b.Free(0) || b.timer != nil && b.layout.packets(b.open.Load()) > 0 {
			return 0
		}
		return min(n, 1)
	}
	for n = min(n, int(b.geo.BlockNr-1)); n > 0 && !b.Free(uint32(n)); {
		n /= 2
	}
	return n
}

// Readable is packet_poll's rule for EPOLLIN: the block before the open one is
// not KERNEL.
func (b *Blocks) Readable() bool {
	at := b.current()
	if at == 0 {
		at = b.geo.BlockNr
	}
	return b.status(at-1) != tpacket.StatusKernel
}

// HandedBack reports whether the reader has handed back a block.
func (b *Blocks) HandedBack() bool {
	l, o := &b.layout, b.open.Load()
	lap, first := o>>l.number>>l.lap, l.block(o) == 0
	switch {
	case lap == 0 && first:
		return false // the first block is open
	case lap > 1, lap == 1 && !(first && o&l.units == l.shut()):
		return true // the first block was opened again
	}
	return b.blocks[0].state.Load() == 0 && b.status(0) == tpacket.StatusKernel // the status last: see States
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

// Captured is how many packets have got room. It is final after Close.
func (b *Blocks) Captured() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.taken + b.layout.packets(b.open.Load())
}

// progress counts units, and those that blocks have left.
func (b *Blocks) progress() uint64 {
	l, o, units := &b.layout, b.open.Load(), uint64(b.geo.BlockSize/unit)
	blocks := o>>l.number>>l.lap*uint64(b.geo.BlockNr) + uint64(l.block(o))
	return blocks*units + min(o&l.units, units)
}

// Memory is the ring's shared memory.
func (b *Blocks) Memory() *Memory { return b.memory }

// Geometry is the ring's shape.
func (b *Blocks) Geometry() tpacket.Geometry { return b.geo }

// Close ends the ring, as [Ring.Close] does. The open block is not retired.
func (b *Blocks) Close() error {
	b.mu.Lock()
	b.open.Or(b.layout.closed()) // nobody's swap succeeds after it
	b.closed.Store(true)
	if b.timer != nil {
		b.timer.Stop()
	}
	b.mu.Unlock()
	return b.memory.Close()
}

func (b *Blocks) block(i uint32) unsafe.Pointer {
	return unsafe.Add(b.base, uintptr(i)*uintptr(b.geo.BlockSize))
}

// desc is a block's header. Its status is shared: only status and setStatus
// touch it.
func (b *Blocks) desc(i uint32) *tpacket.BlockDesc { return (*tpacket.BlockDesc)(b.block(i)) }

// status is one load of block i's status word, a load-acquire.
func (b *Blocks) status(i uint32) uint32 {
	if exploring {
		stepBlockLoad(b, i)
	}
	return atomic.LoadUint32(&b.desc(i).Status)
}

// setStatus is one store of block i's status word, after everything stored to
// the block before it and before everything loaded after it: see Notify.
func (b *Blocks) setStatus(i, status uint32) {
	if exploring {
		stepBlockStore(b, i, status)
	}
	atomic.StoreUint32(&b.desc(i).Status, status)
}
