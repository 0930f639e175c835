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
	memory Memory // keeps it reachable, as long as a Frame is
	block  uint32 // the one to read
	at     uint32 // of its next packet, bytes
	left   uint32 // packets of it still to read; 0: its header has not been read
	own    uint32 // packets of it that release counted; subtracted from held once all are read

	// By block: packets that are neither skipped nor released, or handingBack.
	// Frames may be released by other goroutines.
	held []atomic.Uint32
}

// handingBack is the value of held while the block's status is stored.
const handingBack = 1<<32 - 1

func newBlockReader(m Memory, g tpacket.Geometry) (*blockReader, error) {
	b, err := slots.NewBlocks(m.Bytes(), g)
	if err != nil {
		return nil, err
	}
	return &blockReader{Blocks: b, memory: m, held: make([]atomic.Uint32, g.BlockNr)}, nil
}

// ready reports whether next has a packet. It hands back blocks without any.
func (rd *blockReader) ready() bool {
	for range rd.Geo.BlockNr {
		if rd.left > 0 {
			return true
		}
		if rd.read(rd.block) || !rd.Full(rd.block) {
			return false
		}
		d := rd.Desc(rd.block)
		// No block has room for more packets than this.
		rd.left = min(d.NumPkts, rd.Geo.BlockSize/tpacket.SizeofHeader3)
		rd.at = d.OffsetToFirstPkt
		rd.held[rd.block].Store(rd.left)
		if rd.left == 0 {
			rd.skip()
		}
	}
	return rd.left > 0
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

// skip hands back a block that has no packets.
func (rd *blockReader) skip() {
	rd.SetStatus(rd.block, tpacket.StatusKernel)
	rd.advance()
}

func (rd *blockReader) advance() {
	if rd.own > 0 {
		rd.done(rd.block, rd.own)
		rd.own = 0
	}
	rd.block++
	if rd.block == rd.Geo.BlockNr {
		rd.block = 0
	}
}

func (rd *blockReader) next(f *Frame) bool {
	for rd.left > 0 || rd.ready() {
		size := rd.Geo.BlockSize
		if rd.at%slots.Unit != 0 || rd.at > size-uint32(headers3) {
			// No lawful writer stored this: the rest of the block is lost.
			rd.drop(rd.left)
			continue
		}
		mem := unsafe.Slice((*byte)(unsafe.Add(rd.Block(rd.block), rd.at)), size-rd.at)
		h := (*tpacket.Header3)(unsafe.Pointer(&mem[0]))
		next := h.NextOffset
		mac := min(uint32(h.Mac), uint32(len(mem)))
		snaplen := min(h.Snaplen, uint32(len(mem))-mac)
		f.Data = mem[mac : mac+snaplen : mac+snaplen]
		f.Len, f.Status = int(h.Len), h.Status
		f.Sec, f.Nsec = int64(h.Sec), int64(h.Nsec)
		f.Net = int(min(max(uint32(h.Net), mac)-mac, snaplen))
		f.VLANTCI, f.VLANTPID, f.Hash = uint16(h.VLANTCI), h.VLANTPID, h.RxHash
		f.From = *(*tpacket.SockaddrLL)(unsafe.Pointer(&mem[address3]))
		f.slots, f.slot, f.blocks = nil, rd.block, rd
		rd.left--
		switch {
		case rd.left == 0:
			rd.advance()
		case next == 0 || next > size-rd.at: // fewer packets than the header says
			rd.drop(rd.left)
		default:
			rd.at += next
		}
		return true
	}
	return false
}

// address3 is where a packet in a block has its sockaddr_ll.
var address3 = tpacket.Align(tpacket.SizeofHeader3)

// headers3 is the least size of a packet in a block.
const headers3 = tpacket.SizeofHeader3 + tpacket.SizeofSockaddrLL

// drop skips the last n packets of the block being read.
func (rd *blockReader) drop(n uint32) {
	block := rd.block
	rd.left = 0
	rd.advance()
	rd.done(block, n)
}

// release releases one packet of a block, on the reader's goroutine. Blocks are handed back
// as a whole, so for the block that is being read it only counts.
func (rd *blockReader) release(block uint32) {
	if block == rd.block && rd.left > 0 {
		rd.own++
		return
	}
	rd.done(block, 1)
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
