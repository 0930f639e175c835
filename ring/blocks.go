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
	first  uint32 // where a block's first packet starts, in units
	shift  uint8
	config BlocksConfig
	memory *Memory
	closed atomic.Bool
	timer  *time.Timer // nil: blocks are retired when they are full

	_     [64]byte // writers swap open all the time: nothing else on its line but what they touch with it
	open  word     // the open block and how full it is: see fill
	taken word     // packets acquired so far
	_     [64]byte

	blocks []block

	mu      lock   // guards what follows, and the change from one block to the next
	freezes uint32 // since FreezeCount was asked
	seq     uint64 // of the block opened last
}

// block is what writers know of a block, in private memory.
type block struct {
	state word // its life: see blockOpen
	last  word // where its last packet starts, in units
	end   word // where its packets end, in units: known when it is retired
	_     [40]byte
}

// unit is what places in a block are counted in: V3 aligns packets to 8 bytes
// (V3_ALIGNMENT).
const unit = 8

// A fill is what the open word holds: bit 63 says that the ring is closed; then
// lap<<shift | block; the low half is how many units of the block are taken, or
// one of two values that say that there is no open block.
const (
	fillClosed = 1 << 63
	fillUnits  = 1<<32 - 1
	fillShut   = fillUnits     // the block is yet to be opened: Linux's frozen queue
	fillMoving = fillUnits - 1 // somebody is changing from one block to the next
)

// A block's state: 0 before its first life and after each. In between the low
// half counts the units of packets that are complete, and bits 32 to 59 the
// packets.
const (
	blockOpen      = 1 << 63 // it has been opened
	blockRetired   = 1 << 62 // no more packets go into it
	blockTimeout   = 1 << 61 // the timer retired it
	blockReleasing = 1 << 60 // it is being handed to the reader
	blockPacket    = 1 << 32
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
	b := &Blocks{
		base:   unsafe.Pointer(unsafe.SliceData(m.Bytes())),
		geo:    g,
		first:  uint32(first / unit),
		shift:  uint8(bits.Len32(g.BlockNr - 1)),
		config: c,
		memory: m,
		blocks: make([]block, g.BlockNr),
	}
	b.begin(0)
	b.open.Store(uint64(b.first))
	if c.Retire > 0 {
		b.mu.Lock() // the timer may fire before it has its name
		b.timer = time.AfterFunc(c.Retire, b.tick)
		b.mu.Unlock()
	}
	return b, nil
}

// tick is the retire timer. It goes round whatever happens, as Linux 6.18's does
// (earlier ones start it anew with each block): a block with packets waits one
// period at most.
func (b *Blocks) tick() {
	b.Expire()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed.Load() {
		b.timer.Reset(b.config.Retire)
	}
}

// MaxFrame is the most bytes that a packet can have in a block, its header
// included (max_frame_len).
func (b *Blocks) MaxFrame() uint32 { return b.geo.BlockSize - b.first*unit }

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

// Acquire takes room for a packet of n bytes, header included, n at most
// MaxFrame. On [Acquired] the caller owns the room, has it to fill with no lock
// held, and must call Release; on any other verdict there is none.
func (b *Blocks) Acquire(n uint32) (Room, Verdict) {
	if n > b.MaxFrame() {
		return Room{}, NoRoom
	}
	units := (n + unit - 1) / unit
	lost := uint32(0)
	for {
		again(0)
		o := b.open.Load()
		if o&fillClosed != 0 {
			return Room{}, NoRoom
		}
		if !b.fits(o, units) {
			if room, v, ok := b.turn(units); ok {
				return room, v
			}
			continue
		}
		if b.open.CompareAndSwap(o, o+uint64(units)) {
			b.taken.Add(1)
			return Room{block: b.slot(o >> 32), at: uint32(o & fillUnits), units: units}, Acquired
		}
		backOff(&lost, backOffSlot)
	}
}

// fits says whether there is an open block with room for so many units. Linux
// leaves at least one byte of a block unused.
func (b *Blocks) fits(o uint64, units uint32) bool {
	return o&fillUnits < fillMoving && o&fillUnits+uint64(units) < uint64(b.geo.BlockSize/unit)
}

// turn changes from one block to the next, for a packet that does not fit; not
// ok means that there is room now.
func (b *Blocks) turn(units uint32) (room Room, v Verdict, ok bool) {
	o := b.open.Load()
	if o&fillUnits == fillShut && b.full(b.slot(o>>32)) {
		return Room{}, Full, true // no need for the lock to see that
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	o = b.open.Load()
	switch {
	case o&fillClosed != 0 || b.fits(o, units):
		return Room{}, 0, false
	case o&fillUnits == fillShut:
		if v := b.openable(b.slot(o >> 32)); v != Acquired {
			return Room{}, v, true
		}
		b.begin(b.slot(o >> 32))
		b.open.Store(o&^fillUnits | uint64(b.first))
		return Room{}, 0, false
	}
	if !b.open.CompareAndSwap(o, o|fillMoving) {
		return Room{}, 0, false // a smaller packet went in
	}
	n, v := b.advance(o, 0)
	if v != Acquired {
		b.open.Store(n<<32 | fillShut)
		return Room{}, v, true
	}
	// The packet has the new block's first bytes whatever its length: only here
	// may it take all of them.
	b.open.Store(n<<32 | uint64(b.first+units))
	b.taken.Add(1)
	return Room{block: b.slot(n), at: b.first, units: units}, Acquired, true
}

// advance retires the block of fill o and opens the next one, number n, unless
// that is not to be had. The lock is held, and nobody can reserve.
func (b *Blocks) advance(o uint64, timeout uint64) (n uint64, v Verdict) {
	b.retire(b.slot(o>>32), o&fillUnits, timeout)
	n = b.after(o >> 32)
	v = b.openable(b.slot(n))
	switch v {
	case Acquired:
		b.begin(b.slot(n))
	case Full:
		b.freezes++
	}
	return n, v
}

// Expire is what the retire timer does: it retires the open block if a packet is
// in it, and opens one if the reader has made room since.
func (b *Blocks) Expire() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		again(0)
		o := b.open.Load()
		switch {
		case o&fillClosed != 0 || o&fillUnits == uint64(b.first):
			return
		case o&fillUnits == fillShut:
			if b.openable(b.slot(o>>32)) == Acquired {
				b.begin(b.slot(o >> 32))
				b.open.Store(o&^fillUnits | uint64(b.first))
			}
			return
		}
		if !b.open.CompareAndSwap(o, o|fillMoving) {
			continue
		}
		n, v := b.advance(o, blockTimeout)
		if v == Acquired {
			b.open.Store(n<<32 | uint64(b.first))
		} else {
			b.open.Store(n<<32 | fillShut)
		}
		return
	}
}

// openable says whether the block's former life is over and the reader has
// handed it back. The lock is held.
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
	now := time.Now()
	d := b.desc(i)
	b.seq++
	d.Version, d.OffsetToPriv, d.OffsetToFirstPkt = uint32(tpacket.V3), tpacket.SizeofBlockDesc, b.first*unit
	d.NumPkts, d.BlkLen, d.SeqNum = 0, b.first*unit, b.seq
	d.First = tpacket.Timestamp{Sec: uint32(now.Unix()), Nsec: uint32(now.Nanosecond())}
	b.blocks[i].last.Store(0)
	b.blocks[i].state.Store(blockOpen)
}

// retire ends what goes into a block. Who finds that all its packets are
// complete hands it over: the one who retires it, or its last writer.
func (b *Blocks) retire(i uint32, end uint64, timeout uint64) {
	k := &b.blocks[i]
	k.end.Store(end)
	if state := k.state.Or(blockRetired | timeout); b.complete(state, end) {
		b.publish(i, state|timeout)
	}
}

func (b *Blocks) complete(state, end uint64) bool { return state&fillUnits+uint64(b.first) == end }

// Release says that the packet in m is complete. Everything stored to it before
// is visible to whoever sees the block's status.
func (b *Blocks) Release(m Room) {
	k := &b.blocks[m.block]
	for last := k.last.Load(); last < uint64(m.at); last = k.last.Load() {
		if k.last.CompareAndSwap(last, uint64(m.at)) {
			break
		}
	}
	state := k.state.Add(blockPacket | uint64(m.units))
	if state&blockRetired != 0 && b.complete(state, k.end.Load()) {
		b.publish(m.block, state)
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
	d.NumPkts = uint32(state &^ (blockOpen | blockRetired | blockTimeout | blockReleasing) / blockPacket)
	d.BlkLen = uint32(k.end.Load()) * unit
	if d.NumPkts > 0 {
		last := (*tpacket.Header3)(unsafe.Add(b.block(i), uintptr(k.last.Load())*unit))
		last.NextOffset = 0
		d.Last = tpacket.Timestamp{Sec: last.Sec, Nsec: last.Nsec}
	} else {
		now := time.Now()
		d.Last = tpacket.Timestamp{Sec: uint32(now.Unix()), Nsec: uint32(now.Nanosecond())}
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
	if b.config.Wake != nil {
		b.config.Wake()
	}
}

func (b *Blocks) slot(n uint64) uint32 { return uint32(n & (1<<b.shift - 1)) }

// after is the number that follows n, without the closed bit: laps go around.
func (b *Blocks) after(n uint64) uint64 {
	if b.slot(n)+1 == b.geo.BlockNr {
		return (n>>b.shift + 1) << b.shift & (fillClosed>>32 - 1)
	}
	return n + 1
}

// Free says whether the block that is ahead blocks after the open one is the
// writers', by its status (__tpacket_v3_has_room).
func (b *Blocks) Free(ahead uint32) bool {
	at := uint64(b.slot(b.open.Load()>>32&^(fillClosed>>32))) + uint64(ahead)
	return b.status(uint32(at%uint64(b.geo.BlockNr))) == tpacket.StatusKernel
}

// Readable is packet_poll's rule for EPOLLIN: the block before the open one is
// not KERNEL.
func (b *Blocks) Readable() bool {
	at := b.slot(b.open.Load() >> 32 &^ (fillClosed >> 32))
	if at == 0 {
		at = b.geo.BlockNr
	}
	return b.status(at-1) != tpacket.StatusKernel
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
func (b *Blocks) Captured() uint64 { return b.taken.Load() }

// Memory is the ring's shared memory.
func (b *Blocks) Memory() *Memory { return b.memory }

// Geometry is the ring's shape.
func (b *Blocks) Geometry() tpacket.Geometry { return b.geo }

// Close ends the ring, as [Ring.Close] does. The open block is not retired.
func (b *Blocks) Close() error {
	b.mu.Lock()
	b.open.Or(fillClosed)
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
