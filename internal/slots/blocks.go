package slots

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/rxring/rxring/tpacket"
)

// Blocks is the memory of a ring of blocks (TPACKET_V3). Its methods may be
// called concurrently. The caller keeps the memory reachable.
type Blocks struct {
	base unsafe.Pointer // of the shared memory
	Geo  tpacket.Geometry
}

// Unit is the alignment of packets in a block, in bytes (V3_ALIGNMENT).
const Unit = 8

// NewBlocks returns the blocks of a ring of g's shape in mem, of g.Size() bytes.
func NewBlocks(mem []byte, g tpacket.Geometry) (Blocks, error) {
	if g.Version != tpacket.V3 {
		return Blocks{}, fmt.Errorf("ring: version %v has slots, not blocks: want V3", g.Version)
	}
	if err := checkSize(len(mem), g, g.BlockNr); err != nil {
		return Blocks{}, err
	}
	if g.BlockSize < tpacket.SizeofBlockDesc {
		return Blocks{}, fmt.Errorf("ring: blocks of %d bytes: want room for a header of %d", g.BlockSize, tpacket.SizeofBlockDesc)
	}
	return Blocks{base: unsafe.Pointer(unsafe.SliceData(mem)), Geo: g}, nil
}

// In returns blocks of the same shape in mem, of at least as many bytes.
func (b *Blocks) In(mem []byte) Blocks {
	return Blocks{base: unsafe.Pointer(unsafe.SliceData(mem)), Geo: b.Geo}
}

// Base is the address of the memory.
func (b *Blocks) Base() unsafe.Pointer { return b.base }

// Geometry is the ring's shape.
func (b *Blocks) Geometry() tpacket.Geometry { return b.Geo }

// Block is the address of block i.
func (b *Blocks) Block(i uint32) unsafe.Pointer {
	return unsafe.Add(b.base, uintptr(i)*uintptr(b.Geo.BlockSize))
}

// Desc is block i's header. Its status is shared: only Status and SetStatus may
// touch it.
func (b *Blocks) Desc(i uint32) *tpacket.BlockDesc { return (*tpacket.BlockDesc)(b.Block(i)) }

// Status loads block i's status word once, with acquire order: it pairs with
// SetStatus on the other side.
func (b *Blocks) Status(i uint32) uint32 {
	if Exploring {
		stepBlockLoad(b, i)
	}
	return atomic.LoadUint32(&b.Desc(i).Status)
}

// SetStatus stores block i's status word: after everything stored to the block
// before, and before everything that the caller loads afterwards (see package
// notify). It pairs with Status on the other side.
func (b *Blocks) SetStatus(i, status uint32) {
	if Exploring {
		stepBlockStore(i, status)
	}
	atomic.StoreUint32(&b.Desc(i).Status, status)
}

// Reading reports whether the reader has block i (prb_curr_blk_in_use).
func (b *Blocks) Reading(i uint32) bool { return b.Status(i)&tpacket.StatusUser != 0 }
