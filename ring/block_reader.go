package ring

import (
	"runtime"
	"sync/atomic"
	"unsafe"

	"github.com/rxring/rxring/internal/slots"
	"github.com/rxring/rxring/tpacket"
)

// blockReader is a Reader's part for rings of blocks. A count or an offset that leads
// out of its block ends the block.
type blockReader struct {
	slots.Blocks
	memory Memory  // keeps it reachable, as long as a Frame is
	block  uint32  // the one to read
	left   uint32  // packets of it still to read; 0: its header has not been read
	frames uint32  // frames of it that were returned, without those that Advance released
	at     uintptr // offset of its next packet in the ring, at most last
	last   uintptr // the largest offset at which a packet's headers lie in the block

	// By block: while it is being read, reading less the frames that have been released; then
	// the frames still to be released; handingBack for a moment; 0 otherwise. Any goroutine may
	// release a frame.
	held []atomic.Uint32
}

// Values of held.
const (
	reading     = 1 << 31   // when the block's first packet is read; more than it has packets
	handingBack = 1<<32 - 1 // while the block's status is stored
)

func newBlockReader(m Memory, g tpacket.Geometry) (*blockReader, error) {
	b, err := slots.NewBlocks(m.Bytes(), g)
	if err != nil {
		return nil, err
	}
	return &blockReader{Blocks: b, memory: m, held: make([]atomic.Uint32, g.BlockNr)}, nil
}

// ready reports whether there is a packet to read. It hands back blocks without any.
func (rd *blockReader) ready() bool {
	for range rd.Geo.BlockNr {
		if rd.left > 0 {
			return true
		}
		if rd.read(rd.block) || !rd.Reading(rd.block) {
			return false
		}
		d := rd.Desc(rd.block)
		start := uintptr(rd.block) * uintptr(rd.Geo.BlockSize)
		rd.last = start + uintptr(rd.Geo.BlockSize) - unsafe.Sizeof(headers3{})
		rd.left = d.NumPkts
		rd.moveTo(start, d.OffsetToFirstPkt)
		rd.held[rd.block].Store(reading)
		if rd.left == 0 {
			rd.leave()
		}
	}
	return rd.left > 0
}

// moveTo sets the offset of the next packet, by bytes after from. If no packet can be there,
// the rest of the block is skipped: no lawful writer stored this.
func (rd *blockReader) moveTo(from uintptr, by uint32) {
	if by == 0 || by%slots.Unit != 0 || uintptr(by) > rd.last-from {
		rd.left = 0
		return
	}
	rd.at = from + uintptr(by)
}

// read reports whether the block was read a lap ago and has not been handed back.
// While it is being handed back, its status may be that of its next life, for which
// no wake-up follows: read waits for that moment to pass.
func (rd *blockReader) read(block uint32) bool {
	for {
		switch rd.held[block].Load() { // before the status: see done
		case 0:
			return false
		case handingBack:
			runtime.Gosched()
		default:
			return true
		}
	}
}

// leave moves on to the next block. The one that was read is handed back with the last of
// its frames, or at once.
func (rd *blockReader) leave() {
	block, n := rd.block, reading-rd.frames
	rd.frames = 0
	rd.block++
	if rd.block == rd.Geo.BlockNr {
		rd.block = 0
	}
	rd.done(block, n)
}

// enter makes f a frame of the block with the next packet, and counts it. It returns false if
// there is no packet.
func (rd *blockReader) enter(f *Frame) bool {
	if rd.left == 0 && !rd.ready() {
		return false
	}
	f.slots, f.blocks, f.slot = nil, rd, rd.block
	rd.frames++
	return true
}

// done releases n packets of the block, and hands it back with the last of them. The
// status is stored before held, so that the reader does not mistake the block for a
// new one in between.
func (rd *blockReader) done(block, n uint32) {
	held := &rd.held[block]
	for {
		h := held.Load()
		if h != n {
			if held.CompareAndSwap(h, h-n) {
				return
			}
			continue
		}
		held.Store(handingBack) // these are the last
		rd.SetStatus(block, tpacket.StatusKernel)
		held.Store(0)
		return
	}
}
